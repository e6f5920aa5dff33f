"""What every gRPC server of ours promises, with either implementation of HTTP/2 below it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from chat4all.presence.v1 import presence_service_pb2 as pb
from chat4all.presence.v1 import presence_service_pb2_grpc
from chat4all_runtime import grpc_server
from chat4all_runtime.errors import invalid
from chat4all_runtime.grpc_errors import from_rpc_error
from chat4all_runtime.grpc_server import Access, Authenticator, GrpcServer
from chat4all_runtime.health import Health
from chat4all_runtime.identity import ServiceTokens, TokenVerifier
from chat4all_runtime.settings import GrpcSettings, InternalSettings, TokenSettings

SERVICE = pb.DESCRIPTOR.services_by_name["PresenceService"]
KINDS = ("grpcio", "native")


class Servicer(presence_service_pb2_grpc.PresenceServiceServicer):
    """Answers while `gate` is open; a heartbeat of the user `broken` is our fault, of `bad` the caller's."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Semaphore(0)

    async def RecordHeartbeats(self, request: pb.RecordHeartbeatsRequest, context: Any) -> pb.RecordHeartbeatsResponse:
        """One call."""
        self.arrived.release()
        await self.gate.wait()
        for beat in request.heartbeats:
            if beat.user_id == "broken":
                raise KeyError("ours")
            if beat.user_id == "bad":
                raise invalid("user_id", "USER_ID_INVALID", "No such id.")
        return pb.RecordHeartbeatsResponse()


class NoKeys:
    """Nobody is a user here."""

    async def key(self, kid: str) -> Any | None:
        """No key."""
        return None


@asynccontextmanager
async def serving(
    kind: str, more_options: Sequence[tuple[str, int]] = (), **settings: Any
) -> AsyncIterator[tuple[Servicer, grpc.aio.Channel, tuple[tuple[str, str], ...]]]:
    """A server, a channel to it, and metadata that let a caller in."""
    servicer = Servicer()
    services = ServiceTokens(InternalSettings(secret=SecretStr("s" * 32)), "tests")
    async with (
        GrpcServer(
            GrpcSettings(server=kind, **settings),
            area="presence",
            service=SERVICE,
            access={method.name: Access.INTERNAL for method in SERVICE.methods},
            authenticator=Authenticator(TokenVerifier(TokenSettings(jwks_url="http://127.0.0.1:1"), NoKeys()), services),
            register=lambda server: presence_service_pb2_grpc.add_PresenceServiceServicer_to_server(servicer, server),
            process_health=Health(),
        ) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1), *more_options]) as channel,
    ):
        yield servicer, channel, (("x-service-token", services.mint()),)


def heartbeat(user_id: str = "") -> pb.RecordHeartbeatsRequest:
    """A request with one heartbeat."""
    return pb.RecordHeartbeatsRequest(heartbeats=[pb.Heartbeat(user_id=user_id)])


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_beyond_the_limit_are_refused_with_a_reason(kind: str) -> None:
    """The fourth of three is told to come back; those under way are not disturbed."""
    async with serving(kind, max_in_flight=3) as (servicer, channel, metadata):
        stub = presence_service_pb2_grpc.PresenceServiceStub(channel)
        servicer.gate.clear()
        under_way = [asyncio.ensure_future(_answer(stub, metadata)) for _ in range(3)]
        for _ in range(3):
            await asyncio.wait_for(servicer.arrived.acquire(), 10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RecordHeartbeats(heartbeat(), metadata=metadata, timeout=10)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = from_rpc_error(refused.value, "presence")
        assert (told.reason, told.retry_after) == ("TOO_MANY_CALLS", timedelta(seconds=1))
        servicer.gate.set()
        assert await asyncio.gather(*under_way) == ["OK"] * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_burst_has_no_nameless_refusals(kind: str) -> None:
    """Of 5,000 calls at once each is answered or told to come back; gRPC itself would cancel those beyond 1,000."""
    async with serving(kind) as (_, channel, metadata):
        stub = presence_service_pb2_grpc.PresenceServiceStub(channel)
        outcomes = Counter(await asyncio.gather(*(_answer(stub, metadata) for _ in range(5000))))
        assert set(outcomes) <= {"OK", "RESOURCE_EXHAUSTED"}
        assert outcomes["OK"] >= 1000


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_have_their_shape(kind: str) -> None:
    """A refusal, a defect, a stranger, an unreadable request: each a status with a reason, none tells about our insides."""
    async with serving(kind) as (_, channel, metadata):
        stub = presence_service_pb2_grpc.PresenceServiceStub(channel)
        raw = channel.unary_unary("/chat4all.presence.v1.PresenceService/RecordHeartbeats")
        cases: list[tuple[Any, str, str]] = [
            (stub.RecordHeartbeats(heartbeat("bad"), metadata=metadata, timeout=10), "INVALID_ARGUMENT", "USER_ID_INVALID"),
            (stub.RecordHeartbeats(heartbeat("broken"), metadata=metadata, timeout=10), "INTERNAL", "INTERNAL"),
            (stub.RecordHeartbeats(heartbeat(), timeout=10), "PERMISSION_DENIED", "INTERNAL_METHOD"),
            (raw(b"\xff\xff", metadata=metadata, timeout=10), "INVALID_ARGUMENT", "REQUEST_NOT_READABLE"),
        ]
        for call, code, reason in cases:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert (error.value.code().name, from_rpc_error(error.value, "presence").reason) == (code, reason)
            assert "KeyError" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deadline_ends_a_call(kind: str) -> None:
    """The caller's own, and ours for callers that bring none."""
    async with serving(kind, default_deadline_seconds=0.2) as (servicer, channel, metadata):
        stub = presence_service_pb2_grpc.PresenceServiceStub(channel)
        servicer.gate.clear()
        for timeout in (0.2, None):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.RecordHeartbeats(heartbeat(), metadata=metadata, timeout=timeout)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("kind", KINDS)
async def test_an_idle_channel_is_left_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings of an idle channel are no offence: its connection is still the same one afterwards."""
    monkeypatch.setattr(grpc_server, "_MIN_PING_INTERVAL_MS", 100)
    options = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with serving(kind, options) as (_, channel, metadata):
        stub = presence_service_pb2_grpc.PresenceServiceStub(channel)
        await stub.RecordHeartbeats(heartbeat(), metadata=metadata, timeout=10)
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        with pytest.raises(TimeoutError):  # four pings; the third too many closes a connection
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 4.5)


@pytest.mark.parametrize("kind", KINDS)
async def test_health_and_reflection_answer(kind: str) -> None:
    """Both are open to everybody."""
    async with serving(kind) as (_, channel, _):
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE.full_name), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for response in reflection.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10
        ):
            names = {service.name for service in response.list_services_response.service}
        assert SERVICE.full_name in names


@pytest.mark.parametrize(
    ("service", "access", "named"),
    [
        (SERVICE, {}, "RecordHeartbeats"),
        (reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"], {"ServerReflectionInfo": Access.USER}, "streams"),
    ],
)
def test_what_nobody_would_check_is_not_served(service: Any, access: dict[str, Access], named: str) -> None:
    """A method without a row in the access table, or a stream, keeps the server from being made."""
    services = ServiceTokens(InternalSettings(secret=SecretStr("s" * 32)), "tests")
    with pytest.raises(ValueError, match=named):
        GrpcServer(
            GrpcSettings(),
            area="presence",
            service=service,
            access=access,
            authenticator=Authenticator(TokenVerifier(TokenSettings(jwks_url="http://127.0.0.1:1"), NoKeys()), services),
            register=lambda server: None,
            process_health=Health(),
        )


async def _answer(stub: Any, metadata: Any) -> str:
    try:
        await stub.RecordHeartbeats(heartbeat(), metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"
