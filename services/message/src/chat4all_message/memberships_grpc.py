"""Who is in a conversation, asked of the conversation service as one of our own processes, 1,000 members a page."""

from __future__ import annotations

import asyncio
import sys

import grpc
import structlog

from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_message.domain.errors import conversation_not_found
from chat4all_message.domain.model import Membership
from chat4all_runtime.errors import Code, DomainError, unavailable
from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.grpc_errors import from_rpc_error

log = structlog.get_logger()

_PAGE = 1000
# What a caller of ours can act on; any other answer means that we asked wrongly.
_PASSED_ON = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)


def peer_refusal(error: grpc.RpcError, peer: str) -> DomainError:
    """What a failed question to another of our services means to our own caller."""
    refused = from_rpc_error(error, peer)
    if refused.code in _PASSED_ON:
        return refused
    log.error("peer_refused", peer=peer, code=refused.code.name, reason=refused.reason)
    return unavailable(peer)


class GrpcMembershipSource:
    """Loads memberships page by page; `timeout_seconds` is for the whole of one."""

    def __init__(self, channel: ServiceChannel, timeout_seconds: float) -> None:
        self._channel = channel
        self._stub = conversation_service_pb2_grpc.ConversationServiceStub(channel.channel)
        self._timeout_seconds = timeout_seconds

    async def load(self, conversation_id: str) -> Membership:
        """Everybody in it.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; UNAVAILABLE or DEADLINE_EXCEEDED when it cannot be asked.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        members: set[str] = set()
        token = ""
        while True:
            request = conversation_service_pb2.ListMembersRequest(
                conversation_id=conversation_id, page_size=_PAGE, page_token=token
            )
            try:
                # Waits for the connection: a conversation service that is just restarting costs a moment, not an error.
                page = await self._stub.ListMembers(
                    request,
                    metadata=self._channel.metadata(),
                    timeout=max(0.0, deadline - loop.time()),
                    wait_for_ready=True,
                )
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise conversation_not_found(conversation_id) from error
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise unavailable("conversation") from error
                raise peer_refusal(error, "conversation") from error
            # Interned: one copy of an id, however many conversations the person is in.
            members.update(sys.intern(member.user_id) for member in page.members)
            token = page.next_page_token
            if not token:
                return Membership(page.tenant_id, frozenset(members), page.archived)
