"""Samples for tests of presence."""

from __future__ import annotations

from datetime import UTC, datetime

from chat4all_presence.domain.model import Change, State
from chat4all_runtime.ids import new_id

MOMENT = datetime(2026, 11, 24, 20, 15, 30, 123000, tzinfo=UTC)


def change(**changes: object) -> Change:
    """Somebody came."""
    good: dict[str, object] = {
        "tenant_id": "acme", "user_id": new_id(), "state": State.ONLINE, "previous_state": State.OFFLINE,
        "changed_at": MOMENT, "last_seen": MOMENT,
    }  # fmt: skip
    return Change(**{**good, **changes})  # type: ignore[arg-type]  # keyword names are checked by the class
