"""Bad input straight to the gRPC servers, past the edge: the same refusals, for the edge is not trusted to be the only door."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from e2e.conftest import Copy
from e2e.test_bad_input_rest import forged, tampered, unsigned

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from chat4all.file.v1 import file_service_pb2, file_service_pb2_grpc
from chat4all.message.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc
from chat4all.presence.v1 import presence_service_pb2, presence_service_pb2_grpc
from chat4all_cli.rest import RestClient
from chat4all_runtime.grpc_errors import from_rpc_error
from chat4all_runtime.ids import new_id

Code = grpc.StatusCode


def content(**fields: Any) -> message_pb2.MessageContent:
    """Content with these fields."""
    return message_pb2.MessageContent(**({"type": "text", "text": "x"} | fields))


def send(
    conversation_id: str | None = None, message_id: str | None = None, content_: message_pb2.MessageContent | None = None
) -> message_service_pb2.SendMessageRequest:
    """A good request to nobody's conversation, changed."""
    return message_service_pb2.SendMessageRequest(
        conversation_id=new_id() if conversation_id is None else conversation_id,
        message_id=new_id() if message_id is None else message_id,
        content=content_ or content(),
    )


# service, method, request, code, reason
CASES: list[tuple[str, str, str, Any, grpc.StatusCode, str]] = [
    ("foreign conversation", "message", "SendMessage", send(), Code.NOT_FOUND, "CONVERSATION_NOT_FOUND"),
    ("no id", "message", "SendMessage", send(message_id=""), Code.INVALID_ARGUMENT, "MESSAGE_ID_INVALID"),
    ("no conversation", "message", "SendMessage", send(conversation_id=""), Code.INVALID_ARGUMENT, "CONVERSATION_ID_INVALID"),
    ("too long", "message", "SendMessage", send(content_=content(text="x" * 10_001)), Code.INVALID_ARGUMENT, "MESSAGE_TOO_LONG"),
    ("control character", "message", "SendMessage", send(content_=content(text="a\x07")), Code.INVALID_ARGUMENT, "TEXT_CONTROL_CHARACTER"),
    ("system content", "message", "SendMessage", send(content_=content(type="system")), Code.INVALID_ARGUMENT, "CONTENT_TYPE_RESERVED"),
    ("empty batch", "message", "SendMessageBatch", message_service_pb2.SendMessageBatchRequest(conversation_id=new_id()),
     Code.INVALID_ARGUMENT, ""),
    ("batch of 201", "message", "SendMessageBatch",
     message_service_pb2.SendMessageBatchRequest(conversation_id=new_id(), messages=[send()] * 201), Code.INVALID_ARGUMENT, ""),
    ("internal method", "message", "SubmitMessages", message_service_pb2.SubmitMessagesRequest(), Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal summaries", "message", "SummarizeConversations", message_service_pb2.SummarizeConversationsRequest(),
     Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal marks", "conversation", "RecordMarks", conversation_service_pb2.RecordMarksRequest(),
     Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal memberships", "conversation", "ListMemberships", conversation_service_pb2.ListMembershipsRequest(),
     Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal users", "auth", "BatchGetUsers", auth_service_pb2.BatchGetUsersRequest(), Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal heartbeats", "presence", "RecordHeartbeats", presence_service_pb2.RecordHeartbeatsRequest(),
     Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("internal attachments", "file", "CheckAttachments", file_service_pb2.CheckAttachmentsRequest(),
     Code.PERMISSION_DENIED, "INTERNAL_METHOD"),
    ("foreign members", "conversation", "ListMembers", conversation_service_pb2.ListMembersRequest(conversation_id=new_id()),
     Code.NOT_FOUND, "CONVERSATION_NOT_FOUND"),
    ("id of another shape", "conversation", "GetConversation", conversation_service_pb2.GetConversationRequest(conversation_id="' or 1=1"),
     Code.INVALID_ARGUMENT, "CONVERSATION_ID_INVALID"),
    ("too many users", "presence", "GetPresence", presence_service_pb2.GetPresenceRequest(user_ids=[new_id()] * 201),
     Code.INVALID_ARGUMENT, ""),
    ("foreign file", "file", "GetFile", file_service_pb2.GetFileRequest(file_id=new_id()), Code.NOT_FOUND, "FILE_NOT_FOUND"),
    ("unknown user", "auth", "GetUser", auth_service_pb2.GetUserRequest(user_id=new_id()), Code.NOT_FOUND, "USER_NOT_FOUND"),
]  # fmt: skip

STUBS: dict[str, Any] = {
    "auth": auth_service_pb2_grpc.AuthServiceStub,
    "conversation": conversation_service_pb2_grpc.ConversationServiceStub,
    "message": message_service_pb2_grpc.MessageServiceStub,
    "presence": presence_service_pb2_grpc.PresenceServiceStub,
    "file": file_service_pb2_grpc.FileServiceStub,
}


async def call(
    copy: Copy, service: str, method: str, request: Any, metadata: tuple[tuple[str, str], ...]
) -> grpc.aio.AioRpcError:
    """The refusal of one call."""
    target = f"127.0.0.1:{copy.stack.ports.port(f'{service}-grpc')}"
    async with grpc.aio.insecure_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(STUBS[service](channel), method)(request, metadata=metadata, timeout=10)
    return caught.value


@pytest.mark.parametrize(("name", "service", "method", "request_", "code", "reason"), CASES, ids=[case[0] for case in CASES])
async def test_each_is_refused(
    name: str, service: str, method: str, request_: Any, code: grpc.StatusCode, reason: str, copy: Copy, people: list[RestClient]
) -> None:
    """One row of the table."""
    token = await people[0].access_token()
    error = await call(copy, service, method, request_, (("authorization", f"Bearer {token}"),))
    assert error.code() is code, error.details()
    found = from_rpc_error(error, service).reason
    assert found == (reason or found)
    assert found not in ("", "UNKNOWN")


@pytest.mark.parametrize("kind", ["missing", "forged", "tampered", "unsigned", "service token of a stranger"])
@pytest.mark.parametrize("service", ["message", "conversation", "file", "presence", "auth"])
async def test_each_token_is_refused(service: str, kind: str, copy: Copy, people: list[RestClient]) -> None:
    """The services check the token themselves."""
    good = await people[0].access_token()
    metadata: dict[str, tuple[tuple[str, str], ...]] = {
        "missing": (),
        "forged": (("authorization", f"Bearer {forged()}"),),
        "tampered": (("authorization", f"Bearer {tampered(good)}"),),
        "unsigned": (("authorization", f"Bearer {unsigned(good)}"),),
        "service token of a stranger": (("x-service-token", forged()),),
    }
    method, request = {
        "message": ("ListMessages", message_service_pb2.ListMessagesRequest(conversation_id=new_id())),
        "conversation": ("ListMembers", conversation_service_pb2.ListMembersRequest(conversation_id=new_id())),
        "file": ("GetFile", file_service_pb2.GetFileRequest(file_id=new_id())),
        "presence": ("GetPresence", presence_service_pb2.GetPresenceRequest(user_ids=[new_id()])),
        "auth": ("GetCurrentUser", auth_service_pb2.GetCurrentUserRequest()),
    }[service]
    error = await call(copy, service, method, request, metadata[kind])
    assert error.code() is Code.UNAUTHENTICATED, error.details()
