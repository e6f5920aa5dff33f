"""What presence is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum


class State(IntEnum):
    """Whether somebody is there; the smaller number is the better state. The numbers are those of the contract."""

    ONLINE = 1
    AWAY = 2
    OFFLINE = 3


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One device heard of. OFFLINE means that it said goodbye."""

    tenant_id: str
    user_id: str
    device_id: str
    state: State


@dataclass(frozen=True, slots=True)
class Device:
    """One live device."""

    device_id: str
    state: State


@dataclass(frozen=True, slots=True)
class Presence:
    """One person over all live devices; `last_seen` is None when nothing is known."""

    user_id: str
    state: State
    last_seen: datetime | None
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Somebody's overall state is no longer the one last told.

    Args:
        previous_state: what was last told.
        changed_at: when the present state began, whole milliseconds.
    """

    tenant_id: str
    user_id: str
    state: State
    previous_state: State
    changed_at: datetime
    last_seen: datetime | None


def overall(devices: tuple[Device, ...]) -> State:
    """The best state of the live devices; OFFLINE when there is none."""
    return min((device.state for device in devices), default=State.OFFLINE)
