"""The message service as its peers see it: what the log of a conversation holds."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
from fakes.peer_server import PeerServer, require_service_token

from chat4all.message.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings


class FakeMessages(message_service_pb2_grpc.MessageServiceServicer):
    """Logs that a test fills; answers summaries of them and counts the calls."""

    def __init__(self, internal: InternalSettings) -> None:
        self._internal = internal
        self._logs: dict[str, list[message_pb2.Message]] = {}
        self.calls = 0
        self.server = PeerServer(lambda server: message_service_pb2_grpc.add_MessageServiceServicer_to_server(self, server))

    def append(self, conversation_id: str, from_user_id: str, text: str = "hello") -> message_pb2.Message:
        """Store a message under the next number."""
        entries = self._logs.setdefault(conversation_id, [])
        message = message_pb2.Message(
            message_id=new_id(),
            conversation_id=conversation_id,
            sequence_number=len(entries) + 1,
            from_user_id=from_user_id,
            content=message_pb2.MessageContent(type="text", text=text),
            kind="message",
            state=message_pb2.MESSAGE_STATE_STORED,
        )
        message.create_time.FromDatetime(datetime.now(UTC))
        entries.append(message)
        return message

    def SummarizeConversations(
        self, request: message_service_pb2.SummarizeConversationsRequest, context: grpc.ServicerContext
    ) -> message_service_pb2.SummarizeConversationsResponse:
        """Newest message and unread count of each, in the order asked."""
        require_service_token(context, self._internal)
        self.calls += 1
        if len(request.items) > 200:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "at most 200")
        summaries = []
        for item in request.items:
            entries = self._logs.get(item.conversation_id, [])
            unread = [
                entry
                for entry in entries
                if entry.sequence_number > item.read_sequence_number and entry.from_user_id != item.user_id
            ]
            last = entries[-1] if entries else None
            summaries.append(
                message_service_pb2.ConversationSummary(
                    conversation_id=item.conversation_id,
                    last_sequence_number=len(entries),
                    last_message=last,
                    unread_count=len(unread),
                    last_activity_time=last.create_time if last is not None else None,
                )
            )
        return message_service_pb2.SummarizeConversationsResponse(summaries=summaries)
