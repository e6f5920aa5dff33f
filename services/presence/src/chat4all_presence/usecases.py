"""What the presence service does."""

from __future__ import annotations

from collections.abc import Sequence

from chat4all_presence.domain.model import Heartbeat, Presence, State
from chat4all_presence.domain.policy import check_device, check_heartbeats, check_user_ids
from chat4all_presence.repository import ChangePublisher, PresenceRepository
from chat4all_runtime.identity import Caller


class GetPresence:
    """Presence of users of the caller's own tenant; keys are per tenant, so nobody else's can be read."""

    def __init__(self, presences: PresenceRepository) -> None:
        self._presences = presences

    async def __call__(self, caller: Caller, user_ids: Sequence[str]) -> list[Presence]:
        """In the order asked; somebody never heard of is offline without a last-seen time."""
        check_user_ids(user_ids)
        return await self._presences.get(caller.tenant_id, user_ids)


class UpdatePresence:
    """The caller says how one of their own devices is."""

    def __init__(self, presences: PresenceRepository) -> None:
        self._presences = presences

    async def __call__(self, caller: Caller, device_id: str, state: State) -> Presence:
        """The caller's presence after it; the device is the session when none is named."""
        device_id = device_id or caller.session_id
        check_device("device_id", device_id)
        return await self._presences.record_and_get(Heartbeat(caller.tenant_id, caller.user_id, device_id, state))


class RecordHeartbeats:
    """A gateway keeps its devices alive. Safe to repeat."""

    def __init__(self, presences: PresenceRepository) -> None:
        self._presences = presences

    async def __call__(self, heartbeats: Sequence[Heartbeat]) -> None:
        """All or none."""
        check_heartbeats(heartbeats)
        await self._presences.record(heartbeats)


class AnnounceChanges:
    """Tells changes at least once: claimed, told, confirmed. What a dying process had claimed is claimed again by another."""

    def __init__(self, presences: PresenceRepository, publisher: ChangePublisher) -> None:
        self._presences = presences
        self._publisher = publisher

    async def __call__(self) -> bool:
        """One step; whether there is more to do at once."""
        claim = await self._presences.claim()
        if claim.changes:
            await self._presences.confirm(await self._publisher.publish(claim.changes))
        return claim.more
