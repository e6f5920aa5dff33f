"""Calls to our own services: one channel each, a deadline on each call, errors as `DomainError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import grpc

from chat4all.conversation.v1 import conversation_service_pb2 as conversation_pb
from chat4all.conversation.v1.conversation_service_pb2_grpc import ConversationServiceStub
from chat4all.message.v1 import message_service_pb2 as message_pb
from chat4all.message.v1.message_service_pb2_grpc import MessageServiceStub
from chat4all.presence.v1 import presence_service_pb2 as presence_pb
from chat4all.presence.v1.presence_service_pb2_grpc import PresenceServiceStub
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.grpc_errors import from_rpc_error
from chat4all_websocket_gateway.feed import Entry
from chat4all_websocket_gateway.wire import text_frame

_READ_SECONDS = 5.0
_WRITE_SECONDS = 3.0
_MEMBERSHIPS_PER_PAGE = 1000
# Nobody is in so many conversations; a list that does not end must not fill the memory.
_MAX_MEMBERSHIPS = 20_000

TRY_LATER = frozenset((Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED))


class Page(NamedTuple):
    """Entries after a number, and where the log ended when it was read."""

    entries: list[Entry]
    last: int


class Messages:
    """The message service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = MessageServiceStub(channel.channel)
        self._metadata = channel.metadata

    async def submit(
        self, submissions: Sequence[message_pb.Submission], timeout_seconds: float
    ) -> Sequence[message_pb.SendMessageResult]:
        """Send for many people at once; one result each, in the same order.

        Raises:
            DomainError: the whole call failed; UNAVAILABLE and DEADLINE_EXCEEDED leave open whether it took effect.
        """
        request = message_pb.SubmitMessagesRequest(submissions=submissions)
        try:
            response = await self._stub.SubmitMessages(request, timeout=timeout_seconds, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, "message") from error
        return response.results

    async def entries(self, conversation_id: str, after: int, size: int) -> Page:
        """Up to `size` entries after a number, ascending, with fewer when they are too large for one answer.

        Raises:
            DomainError: the message service is away or refused.
        """
        while True:
            request = message_pb.ListMessagesRequest(conversation_id=conversation_id, after_sequence_number=after, page_size=size)
            try:
                response = await self._stub.ListMessages(request, timeout=_READ_SECONDS, metadata=self._metadata())
                break
            except grpc.RpcError as error:
                # A page of large entries can exceed gRPC's message size.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or size == 1:
                    raise from_rpc_error(error, "message") from error
                size = max(1, size // 8)
        entries = [
            Entry(
                frame.sequence_number,
                frame.kind == "r",
                frame.from_user_id.encode(),
                frame.message_id.encode(),
                text_frame(frame.frame),
            )
            for frame in response.frames
        ]
        return Page(entries, response.last_sequence_number)

    async def positions(self, conversations: Sequence[tuple[str, str, int]]) -> list[int]:
        """The highest sequence number of each conversation.

        Args:
            conversations: at most 200: conversation id, a member's user id, and a number after which nothing need be counted.

        Raises:
            DomainError: the message service is away.
        """
        items = [
            message_pb.SummaryRequest(conversation_id=conversation_id, user_id=user_id, read_sequence_number=after)
            for conversation_id, user_id, after in conversations
        ]
        request = message_pb.SummarizeConversationsRequest(items=items)
        try:
            response = await self._stub.SummarizeConversations(request, timeout=_READ_SECONDS, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, "message") from error
        known = {summary.conversation_id: summary.last_sequence_number for summary in response.summaries}
        return [known.get(conversation_id, 0) for conversation_id, _, _ in conversations]


class Conversations:
    """The conversation service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = ConversationServiceStub(channel.channel)
        self._metadata = channel.metadata

    async def memberships(self, user_id: str, tenant_id: str) -> set[str]:
        """The ids of all conversations the user is in, read page by page.

        Raises:
            DomainError: the conversation service is away, or there are more than 20,000.
        """
        found: set[str] = set()
        token = ""
        while True:
            request = conversation_pb.ListMembershipsRequest(
                user_id=user_id, tenant_id=tenant_id, page_size=_MEMBERSHIPS_PER_PAGE, page_token=token
            )
            try:
                response = await self._stub.ListMemberships(request, timeout=_READ_SECONDS, metadata=self._metadata())
            except grpc.RpcError as error:
                raise from_rpc_error(error, "conversation") from error
            found.update(response.conversation_ids)
            token = response.next_page_token
            if not token:
                return found
            if len(found) > _MAX_MEMBERSHIPS:
                raise DomainError(
                    Code.FAILED_PRECONDITION, "TOO_MANY_CONVERSATIONS", "More conversations than a socket can follow."
                )

    async def record_marks(self, marks: Sequence[conversation_pb.Mark]) -> None:
        """Move up to 1,000 marks forward.

        Raises:
            DomainError: the conversation service is away.
        """
        request = conversation_pb.RecordMarksRequest(marks=marks)
        try:
            await self._stub.RecordMarks(request, timeout=_WRITE_SECONDS, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, "conversation") from error


class Presences:
    """The presence service."""

    def __init__(self, channel: ServiceChannel) -> None:
        self._stub = PresenceServiceStub(channel.channel)
        self._metadata = channel.metadata

    async def record(self, heartbeats: Sequence[presence_pb.Heartbeat]) -> None:
        """Report up to 1,000 devices.

        Raises:
            DomainError: the presence service is away.
        """
        request = presence_pb.RecordHeartbeatsRequest(heartbeats=heartbeats)
        try:
            await self._stub.RecordHeartbeats(request, timeout=_WRITE_SECONDS, metadata=self._metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, "presence") from error
