"""Membership, asked of the conversation service with the caller's own token: what they may not see, we do not see."""

from __future__ import annotations

import grpc

from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_file.domain.errors import conversation_not_found
from chat4all_runtime.errors import Code
from chat4all_runtime.grpc_channel import user_metadata
from chat4all_runtime.grpc_errors import from_rpc_error

_TIMEOUT_SECONDS = 3.0


class GrpcMemberships:
    """Asks `ListMembers` for one row: members get it, others get NOT_FOUND."""

    def __init__(self, stub: conversation_service_pb2_grpc.ConversationServiceAsyncStub) -> None:
        self._stub = stub

    async def require(self, access_token: str, conversation_id: str) -> None:
        """Return when the bearer is a member."""
        request = conversation_service_pb2.ListMembersRequest(conversation_id=conversation_id, page_size=1)
        try:
            await self._stub.ListMembers(request, metadata=user_metadata(access_token), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            problem = from_rpc_error(error, "conversation")
            raise (conversation_not_found(conversation_id) if problem.code is Code.NOT_FOUND else problem) from error
