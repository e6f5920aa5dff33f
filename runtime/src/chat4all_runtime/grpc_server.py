"""The gRPC server of a service: one factory, one interceptor, an orderly end.

The interceptor does, in this order and without an object per call where it can be helped: refuse when overloaded, authenticate,
set the deadline, run the method, turn errors into `google.rpc.Status`, count. A method that is not in the access table keeps the
server from starting: access is denied by default.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind

from chat4all_runtime import metrics, tracing
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.grpc_errors import to_status
from chat4all_runtime.health import Health
from chat4all_runtime.identity import Caller, ServiceTokens, TokenVerifier, set_current_caller, unauthenticated
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import GrpcSettings

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_PENDING = 100_000
# Our channels ping every 20 s, also when idle. gRPC's own limit is one ping in five minutes: beyond it, it closes the connection
# (ENHANCE_YOUR_CALM), and a call made at that moment is UNAVAILABLE.
_MIN_PING_INTERVAL_MS = 5000
_FOR_EVER_SECONDS = 1e8


def _make_server(kind: str) -> Callable[..., Any]:
    """Both kinds take the same servicers, interceptors and options."""
    if kind == "native":
        # Loaded only where it is asked for; `from pygrpc_native import aio` recurses without end in 0.5.0.
        from pygrpc_native.aio import server

        return server
    return grpc.aio.server


class Access(Enum):
    """Who may call a method at all; what they may do with it is the use case's matter."""

    OPEN = "open"
    USER = "user"
    INTERNAL = "internal"
    USER_OR_INTERNAL = "user_or_internal"


class Authenticator:
    """Finds the caller in a call's metadata."""

    def __init__(self, tokens: TokenVerifier, services: ServiceTokens) -> None:
        self._tokens = tokens
        self._services = services

    async def caller(self, metadata: Mapping[str, str], access: Access) -> Caller:
        """The caller, checked against the method's access.

        Raises:
            DomainError: UNAUTHENTICATED without a valid token, PERMISSION_DENIED when a user calls an internal method.
        """
        if access is Access.OPEN:
            return Caller()
        service_token = metadata.get("x-service-token")
        if service_token is not None and access is not Access.USER:
            return self._services.verify(service_token)
        if access is Access.INTERNAL:
            raise DomainError(Code.PERMISSION_DENIED, "INTERNAL_METHOD", "This method is for internal callers only.")
        authorization = metadata.get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("TOKEN_MISSING", "Send `authorization: Bearer <access token>`.")
        return await self._tokens.verify(token.strip())


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(self, area: str, access: Mapping[str, Access], authenticator: Authenticator, settings: GrpcSettings) -> None:
        self._area = area
        self._access = access
        self._authenticator = authenticator
        self._default_deadline_seconds = settings.default_deadline_seconds
        self._max_in_flight = settings.max_in_flight
        self._wrapped: dict[str, Any] = {}
        self.in_flight = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        wrapped = self._wrapped.get(details.method)
        if wrapped is None:
            handler = await continuation(details)
            if handler is None or handler.unary_unary is None or details.method.startswith("/grpc."):
                return handler  # unknown methods, health and reflection answer for themselves
            wrapped = self._wrap(details.method, handler)
            self._wrapped[details.method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        behaviour = handler.unary_unary
        access = self._access[method.rsplit("/", 1)[1]]
        observe: dict[str, Callable[[float], None]] = {}

        def count(code: str, seconds: float) -> None:
            record = observe.get(code)
            if record is None:
                record = observe[code] = metrics.grpc_server_seconds.labels(method, code).observe
            record(seconds)

        def parse(data: bytes) -> Any | None:
            try:
                return handler.request_deserializer(data)
            except DecodeError:
                return None  # gRPC itself would answer UNKNOWN and tell about our insides

        async def call(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            self.in_flight += 1
            code = "OK"
            try:
                if self.in_flight > self._max_in_flight:
                    raise _too_busy()
                metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
                set_current_caller(await self._authenticator.caller(metadata, access))
                if request is None:
                    raise DomainError(
                        Code.INVALID_ARGUMENT, "REQUEST_NOT_READABLE", "The request is not valid protobuf or UTF-8."
                    )
                if tracing.enabled():
                    with tracing.span(method[1:], SpanKind.SERVER, metadata):
                        return await self._bounded(behaviour, request, context)
                return await self._bounded(behaviour, request, context)
            except DomainError as error:
                code = error.code.name
                await self._refuse(context, method, error)
            except TimeoutError:
                code = "DEADLINE_EXCEEDED"
                await self._refuse(context, method, _too_late())
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                code = "ABORTED"
                raise
            except Exception:
                code = "INTERNAL"
                incident = new_id()
                log.exception("call_failed", method=method, incident_id=incident)
                await self._refuse(context, method, _our_fault(incident))
            finally:
                self.in_flight -= 1
                count(code, time.perf_counter() - started)

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=parse, response_serializer=handler.response_serializer
        )

    async def _bounded(self, behaviour: Any, request: Any, context: Any) -> Any:
        if seconds_left(context) is not None:
            return await behaviour(request, context)  # gRPC itself cancels the call at the caller's deadline
        async with asyncio.timeout(self._default_deadline_seconds):
            return await behaviour(request, context)

    async def _refuse(self, context: Any, method: str, error: DomainError) -> None:
        log.info("call_refused", method=method, code=error.code.name, reason=error.reason)
        status = rpc_status.to_status(to_status(error, self._area))
        if error.retry_after is not None:
            # Becomes the HTTP header of the same name at the edge.
            seconds = max(1, math.ceil(error.retry_after.total_seconds()))
            status = status._replace(trailing_metadata=(*status.trailing_metadata, ("retry-after", str(seconds))))
        await context.abort_with_status(status)


def seconds_left(context: Any) -> float | None:
    """Seconds until the caller's deadline, None when the call brought none (which the native server tells as a huge number)."""
    left = context.time_remaining()
    return None if left is None or left > _FOR_EVER_SECONDS else float(left)


def _our_fault(incident: str) -> DomainError:
    message = f"Something went wrong on our side; quote {incident}."
    return DomainError(Code.INTERNAL, "INTERNAL", message, metadata={"incident_id": incident})


def _too_busy() -> DomainError:
    message = "Too many calls are under way here; slow down and try again."
    return DomainError(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", message, retry_after=timedelta(seconds=1))


def _too_late() -> DomainError:
    return DomainError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "Not done in time; try again.")


class GrpcServer:
    """Serves from `__aenter__` to `__aexit__`. `port` tells the real port when 0 was asked for.

    Args:
        area: `message` gives error domain `message.chat4all`.
        service: full name, such as `chat4all.message.v1.MessageService`; its health follows `health`.
        methods: name of every method of the service → who may call it.
        register: adds the servicer, such as `lambda server: add_MessageServiceServicer_to_server(servicer, server)`.

    Raises:
        ValueError: on construction, when the access table and the service's methods differ, or a method is a stream, which nobody
            would check.
        RuntimeError: on entering, when the port is taken.
    """

    def __init__(
        self,
        settings: GrpcSettings,
        *,
        area: str,
        service: Any,
        access: Mapping[str, Access],
        authenticator: Authenticator,
        register: Callable[[grpc.aio.Server], None],
        process_health: Health,
    ) -> None:
        names = {method.name for method in service.methods}
        if names != set(access):
            raise ValueError(f"access table of {service.full_name} differs from its methods: {sorted(names ^ set(access))}")
        if streams := [method.name for method in service.methods if method.client_streaming or method.server_streaming]:
            raise ValueError(f"the interceptor checks unary calls only; {service.full_name} has streams: {streams}")
        self._settings = settings
        self._service_name = service.full_name
        self._process_health = process_health
        self._interceptor = _Interceptor(area, access, authenticator, settings)
        self._register = register
        self._health = health.aio.HealthServicer()
        self.port = settings.port

    async def __aenter__(self) -> GrpcServer:
        # Bound to this loop on creation, so it is made here and not in the constructor.
        self._server = _make_server(self._settings.server)(
            interceptors=[self._interceptor],
            options=[
                ("grpc.so_reuseport", 1),
                # By default gRPC ends calls beyond 1,000 that nobody has looked at with a bare CANCELLED; here each is looked
                # at, and refused by `max_in_flight` with a reason.
                ("grpc.server.max_pending_requests", _MAX_PENDING),
                ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_PENDING),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
            ],
        )
        self._register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.reflection:
            reflection.enable_server_reflection([self._service_name, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.port = self._server.add_insecure_port(f"{self._settings.host}:{self._settings.port}")
        await self._server.start()
        await self._health.set(self._service_name, health_pb2.HealthCheckResponse.SERVING)
        log.info("grpc_listening", service=self._service_name, port=self.port)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process_health.draining()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.grace_seconds)
