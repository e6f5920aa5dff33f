"""The words in which the checker speaks: classes of violations, one violation, and the rules a run is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .records import Record


class ViolationClass(StrEnum):
    """What a violation means to the people in the conversation."""

    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out_of_order"
    HOLE = "hole"
    FOREIGN = "foreign"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise with the ids concerned.

    Attributes:
        invariant: filled in by `check`: the name of the function that found it.
        violation_class: what it means.
        detail: one sentence with the numbers.
        evidence: labels (`writer#index`) of the records that contradict each other, oldest knowledge first.
    """

    violation_class: ViolationClass
    detail: str
    conversation_id: str = ""
    message_id: str = ""
    sequence_number: int = 0
    user_id: str = ""
    session_id: str = ""
    evidence: tuple[str, ...] = ()
    invariant: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which witnesses a run must have, and its limits.

    A witness that is required but absent is a violation: a run without a store dump must not pass by having nothing to
    compare.

    Attributes:
        store: the message store was dumped.
        time_series: the time series was dumped.
        drain: every current member read all history at the end, each by a fresh session.
        settled: sessions that stayed to the end were closed with `settled`.
        resume_limit: missed entries up to which a reset is not needed.
        resolve_within_seconds: time an unknown outcome has to become known after the last fault healed.
        leave_grace_seconds: how long after an acknowledged leave a send may still be accepted by a stale membership
            cache.
    """

    store: bool = True
    time_series: bool = True
    drain: bool = True
    settled: bool = True
    resume_limit: int = 1000
    resolve_within_seconds: float = 60.0
    leave_grace_seconds: float = 5.0


def labels(*records: Record) -> tuple[str, ...]:
    """Return the labels of records, for `Violation.evidence`."""
    return tuple(record.label for record in records)
