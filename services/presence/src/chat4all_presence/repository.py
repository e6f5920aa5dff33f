"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chat4all_presence.domain.model import Change, Heartbeat, Presence


@dataclass(frozen=True, slots=True)
class Claim:
    """Changes to tell now. `more` when it is worth asking again at once."""

    changes: list[Change]
    more: bool


class PresenceRepository(Protocol):
    """Where presence is kept. Each method raises `DomainError` UNAVAILABLE while the store is away."""

    async def record(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Keep devices alive, or let them go. What concerns one person happens at one moment; repeating it changes nothing."""
        ...

    async def record_and_get(self, heartbeat: Heartbeat) -> Presence:
        """The same for one device, and what is then known of its user."""
        ...

    async def get(self, tenant_id: str, user_ids: Sequence[str]) -> list[Presence]:
        """What is known of users of one tenant, in the order asked; nobody is unknown, only never seen."""
        ...

    async def claim(self) -> Claim:
        """Let devices end whose time has come, and take changes that are due; no other process gets them for a while."""
        ...

    async def confirm(self, changes: Sequence[Change]) -> None:
        """These were told; one that is never confirmed is claimed again later."""
        ...


class ChangePublisher(Protocol):
    """Tells the world."""

    async def publish(self, changes: Sequence[Change]) -> list[Change]:
        """Tell the changes; returns those that are certain to have been taken, which may be none."""
        ...
