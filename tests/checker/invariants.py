"""The list of invariants: the checker is this list and nothing else.

Each function takes the observations of a run and the rules, and yields violations; its docstring is the promise.
Adding one means: write it in the `check_*` module of its subject, name it here, and give it a mutant in `proof`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .check_access import members_only, no_phantom, one_tenant, refused_is_invisible, senders_are_members
from .check_log import (
    acknowledged_is_stored,
    content_intact,
    no_holes,
    once_in_time_series,
    one_message_per_place,
    one_place_per_message,
    seen_is_stored,
    stored_is_read_by_members,
)
from .check_order import pages_in_order, real_time_order, sender_order
from .check_progress import marks_never_fall, run_is_meaningful, unknown_resolves
from .check_resume import reset_is_needed, resume_is_exact
from .check_sessions import session_steps, settled_session_saw_all, shown_once_per_session
from .observations import Observations
from .verdicts import Rules, Violation

Invariant = Callable[[Observations, Rules], Iterator[Violation]]

INVARIANTS: tuple[Invariant, ...] = (
    acknowledged_is_stored,
    seen_is_stored,
    stored_is_read_by_members,
    settled_session_saw_all,
    once_in_time_series,
    one_place_per_message,
    one_message_per_place,
    shown_once_per_session,
    no_holes,
    session_steps,
    pages_in_order,
    sender_order,
    real_time_order,
    resume_is_exact,
    reset_is_needed,
    no_phantom,
    refused_is_invisible,
    members_only,
    senders_are_members,
    one_tenant,
    content_intact,
    marks_never_fall,
    unknown_resolves,
    run_is_meaningful,
)
