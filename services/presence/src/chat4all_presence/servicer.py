"""The gRPC edge: request → use case → response."""

from __future__ import annotations

from typing import Any

from chat4all.presence.v1 import presence_service_pb2 as pb
from chat4all.presence.v1 import presence_service_pb2_grpc
from chat4all_presence.domain.model import Heartbeat, Presence
from chat4all_presence.domain.policy import check_state
from chat4all_presence.usecases import GetPresence, RecordHeartbeats, UpdatePresence
from chat4all_runtime.grpc_server import Access
from chat4all_runtime.identity import current_caller

ACCESS = {
    "GetPresence": Access.USER,
    "UpdatePresence": Access.USER,
    "RecordHeartbeats": Access.INTERNAL,
}


class PresenceServicer(presence_service_pb2_grpc.PresenceServiceServicer):
    """Implements `chat4all.presence.v1.PresenceService`."""

    def __init__(self, get: GetPresence, update: UpdatePresence, record: RecordHeartbeats) -> None:
        self._get = get
        self._update = update
        self._record = record

    async def GetPresence(self, request: pb.GetPresenceRequest, context: Any) -> pb.GetPresenceResponse:
        """Presence of up to 200 users of the caller's tenant."""
        presences = await self._get(current_caller(), request.user_ids)
        return pb.GetPresenceResponse(presences=[_to_proto(presence) for presence in presences])

    async def UpdatePresence(self, request: pb.UpdatePresenceRequest, context: Any) -> pb.Presence:
        """Sets the state of one of the caller's devices."""
        state = check_state("state", request.state)
        return _to_proto(await self._update(current_caller(), request.device_id, state))

    async def RecordHeartbeats(self, request: pb.RecordHeartbeatsRequest, context: Any) -> pb.RecordHeartbeatsResponse:
        """Keeps many devices alive at once."""
        heartbeats = [
            Heartbeat(item.tenant_id, item.user_id, item.device_id, check_state(f"heartbeats[{index}].state", item.state))
            for index, item in enumerate(request.heartbeats)
        ]
        await self._record(heartbeats)
        return pb.RecordHeartbeatsResponse()


def _to_proto(presence: Presence) -> pb.Presence:
    answer = pb.Presence(
        user_id=presence.user_id,
        state=f"PRESENCE_STATE_{presence.state.name}",
        devices=[
            pb.DevicePresence(device_id=device.device_id, state=f"PRESENCE_STATE_{device.state.name}")
            for device in presence.devices
        ],
    )
    if presence.last_seen is not None:
        answer.last_seen_time.FromDatetime(presence.last_seen)
    return answer
