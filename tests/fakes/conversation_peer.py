"""The conversation service as its peers see it: who is in which conversation."""

from __future__ import annotations

import threading

import grpc
from fakes.peer_server import PeerServer, require_service_token

from chat4all.conversation.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_runtime import page_token
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings


class FakeConversations(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Conversations that a test makes and changes; counts the calls. While `gate` is cleared, answers wait."""

    def __init__(self, internal: InternalSettings) -> None:
        self._internal = internal
        self._members: dict[str, list[str]] = {}
        self._tenants: dict[str, str] = {}
        self._archived: set[str] = set()
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.server = PeerServer(
            lambda server: conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(self, server)
        )

    def add(self, *user_ids: str, tenant_id: str = "default") -> str:
        """A new conversation's id."""
        conversation_id = new_id()
        self._members[conversation_id] = list(user_ids)
        self._tenants[conversation_id] = tenant_id
        return conversation_id

    def join(self, conversation_id: str, user_id: str) -> None:
        """One more member."""
        self._members[conversation_id] = [*self._members[conversation_id], user_id]

    def leave(self, conversation_id: str, user_id: str) -> None:
        """One member less."""
        self._members[conversation_id] = [member for member in self._members[conversation_id] if member != user_id]

    def archive(self, conversation_id: str) -> None:
        """No new messages."""
        self._archived.add(conversation_id)

    def ListMembers(
        self, request: conversation_service_pb2.ListMembersRequest, context: grpc.ServicerContext
    ) -> conversation_service_pb2.ListMembersResponse:
        """A page of members, 1,000 at most, for internal callers."""
        require_service_token(context, self._internal)
        self.calls += 1
        members = self._members.get(request.conversation_id)
        self.gate.wait(10)
        if members is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such conversation")
        size = page_token.page_size(request.page_size, maximum=1000)
        position = page_token.decode(request.page_token, int)
        start = int(position[0]) if position else 0
        end = start + size
        return conversation_service_pb2.ListMembersResponse(
            members=[conversation_pb2.Member(user_id=user_id) for user_id in members[start:end]],
            next_page_token=page_token.encode(end) if end < len(members) else "",
            tenant_id=self._tenants[request.conversation_id],
            archived=request.conversation_id in self._archived,
        )
