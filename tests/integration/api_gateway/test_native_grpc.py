"""gRPC and gRPC-Web through the same port."""

from __future__ import annotations

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from integration.api_gateway.backends import Backends, not_found
from integration.api_gateway.conftest import Edge

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc


async def test_annotated_methods_are_served(edge: Edge, backends: Backends) -> None:
    """A partner with stubs calls the public methods with a token, and gets errors with their details."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        metadata = (("authorization", f"Bearer {backends.tokens.mint()}"), ("x-service-token", "posing"))
        user = await stub.GetCurrentUser(auth_service_pb2.GetCurrentUserRequest(), metadata=metadata, timeout=5)
        assert user.user_id == "the caller"
        assert "x-service-token" not in backends.last("GetCurrentUser")[0]
        assert (await stub.Login(auth_service_pb2.LoginRequest(), timeout=5)).expires_in == 900
        backends.refusals["GetConversation"] = not_found()
        conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await conversations.GetConversation(conversation_service_pb2.GetConversationRequest(), metadata=metadata, timeout=5)
        status = rpc_status.from_call(refused.value)
        assert status is not None
        assert status.details


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"aud": "other"}, grpc.StatusCode.UNAUTHENTICATED), ({"exp": 1}, grpc.StatusCode.UNAUTHENTICATED)],
)
async def test_refusals_stay_plain(edge: Edge, backends: Backends, changes: dict[str, object], code: grpc.StatusCode) -> None:
    """The edge's own refusal of a gRPC call has a gRPC code and a sentence, not JSON in the message."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        metadata = (("authorization", f"Bearer {backends.tokens.mint(**changes)}"),)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetCurrentUser(auth_service_pb2.GetCurrentUserRequest(), metadata=metadata, timeout=5)
    assert refused.value.code() is code
    assert "{" not in (refused.value.details() or "")


async def test_internal_methods_have_no_route(edge: Edge, backends: Backends) -> None:
    """Methods without an annotation, health and reflection of the services cannot be reached from outside, with a token neither."""
    metadata = (("authorization", f"Bearer {backends.tokens.mint()}"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        stub = auth_service_pb2_grpc.AuthServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.VerifyToken(auth_service_pb2.VerifyTokenRequest(), metadata=metadata, timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert backends.calls == []


def test_grpc_web_is_served(edge: Edge, backends: Backends) -> None:
    """A browser with gRPC-Web stubs gets message and trailers in one HTTP/1.1 body; a refusal is gRPC-Web too."""
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    path = "/chat4all.auth.v1.AuthService/GetCurrentUser"
    answer = edge.post(path, backends.tokens.mint(), content=b"\0\0\0\0\0", headers=headers)
    assert answer.status_code == 200
    assert b"the caller" in answer.content
    assert b"grpc-status:0" in answer.content
    refused: httpx.Response = edge.post(path, content=b"\0\0\0\0\0", headers=headers)
    assert refused.headers["grpc-status"] == "16"
