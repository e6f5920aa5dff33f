"""Real gRPC servers with the real contracts, a key set over HTTP and a WebSocket listener, for a real Envoy to stand before.

They run on one event loop in a thread of their own, so that tests on any loop, or on none, can use them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from websockets.asyncio.server import ServerConnection, serve

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2
from chat4all.conversation.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from chat4all.file.v1 import file_service_pb2, file_service_pb2_grpc
from chat4all.message.v1 import message_pb2, message_service_pb2, message_service_pb2_grpc
from chat4all.presence.v1 import presence_service_pb2, presence_service_pb2_grpc
from chat4all_runtime.errors import Code, DomainError, unavailable
from chat4all_runtime.grpc_errors import to_status

ISSUER = "https://auth.chat4all.local"
AUDIENCE = "chat4all-api"

SERVICES = [
    auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
    conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    message_service_pb2.DESCRIPTOR.services_by_name["MessageService"],
    presence_service_pb2.DESCRIPTOR.services_by_name["PresenceService"],
    file_service_pb2.DESCRIPTOR.services_by_name["FileService"],
]


class Tokens:
    """Signs access tokens with a key that the key set publishes."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.foreign_key = Ed25519PrivateKey.generate()

    def jwks(self) -> dict[str, Any]:
        """The public half."""
        public = jwt.get_algorithm_by_name("EdDSA").to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "k1", "alg": "EdDSA", "use": "sig"}]}

    def claims(self, user_id: str, **changes: Any) -> dict[str, Any]:
        """What a good token says; `None` leaves a claim out."""
        now = int(time.time())
        good = {
            "sub": user_id, "tenant_id": "default", "sid": "s1", "scope": "user", "iss": ISSUER, "aud": AUDIENCE,
            "iat": now, "exp": now + 600, "jti": "j1",
        }  # fmt: skip
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def mint(self, user_id: str = "u1", *, key: Any = None, kid: str = "k1", **changes: Any) -> str:
        """A token, good unless told otherwise."""
        return jwt.encode(self.claims(user_id, **changes), key or self.key, algorithm="EdDSA", headers={"kid": kid})


class Backends:
    """Everything behind the edge. `calls` holds (method, metadata, request) of each call that arrived.

    Methods in `frozen` never answer; those in `refusals` answer with the error.
    """

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.calls: list[tuple[str, dict[str, str], Any]] = []
        self.refusals: dict[str, DomainError] = {}
        self.frozen: set[str] = set()
        self.grpc_port = 0
        self.http_port = 0
        self.websocket_port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Backends:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def last(self, method: str) -> tuple[dict[str, str], Any]:
        """Metadata and request of the newest call of that method."""
        return next((metadata, request) for name, metadata, request in reversed(self.calls) if name == method)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 * 1024 * 1024)])
        _register(self, server)
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        for service in SERVICES:
            await checks.set(service.full_name, health_pb2.HealthCheckResponse.SERVING)
        self.grpc_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        runner = web.AppRunner(self._http(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.http_port = runner.addresses[0][1]
        async with serve(_echo, "127.0.0.1", 0, subprotocols=["chat4all.v1.json"]) as sockets:  # type: ignore[list-item]
            self.websocket_port = next(iter(sockets.sockets)).getsockname()[1]
            self._ready.set()
            await self._stop.wait()
        await runner.cleanup()
        await server.stop(0)

    def _http(self) -> web.Application:
        async def keys(_: web.Request) -> web.Response:
            return web.json_response(self.tokens.jwks())

        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", keys)
        return app

    def answer(self, method: str, respond: Callable[[Any], Any]) -> Callable[..., Awaitable[Any]]:
        """A servicer method that records, then refuses as `refusals` says, then responds."""

        async def call(_: Any, request: Any, context: Any) -> Any:
            self.calls.append((method, {key: str(value) for key, value in context.invocation_metadata()}, request))
            if method in self.frozen:
                await asyncio.Event().wait()
            if method in self.refusals:
                await context.abort_with_status(rpc_status.to_status(to_status(self.refusals[method], "test")))
            return respond(request)

        return call


async def _echo(socket: ServerConnection) -> None:
    async for frame in socket:
        await socket.send(frame)


def _register(backends: Backends, server: grpc.aio.Server) -> None:
    def servicer(base: type, **methods: Callable[[Any], Any]) -> Any:
        members = {name: backends.answer(name, respond) for name, respond in methods.items()}
        return type("Servicer", (base,), members)()

    user = user_pb2.User
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(
        servicer(
            auth_service_pb2_grpc.AuthServiceServicer,
            Register=lambda request: user(user_id="new", username=request.username, display_name=request.display_name),
            Login=lambda _: auth_service_pb2.LoginResponse(access_token="a", refresh_token="r", expires_in=900),
            RefreshToken=lambda _: auth_service_pb2.RefreshTokenResponse(access_token="a"),
            GetCurrentUser=lambda _: user(user_id="the caller"),
            UpdateCurrentUser=lambda request: request.user,
            GetUser=lambda request: user(user_id=request.user_id),
            ListUsers=lambda request: auth_service_pb2.ListUsersResponse(next_page_token=f"{request.query}|{request.page_size}"),
            VerifyToken=lambda _: auth_service_pb2.VerifyTokenResponse(user_id="internal"),
        ),
        server,
    )
    conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(
        servicer(
            conversation_service_pb2_grpc.ConversationServiceServicer,
            CreateConversation=lambda request: conversation_pb2.Conversation(conversation_id="c1", type=request.type),
            GetConversation=lambda request: conversation_pb2.Conversation(conversation_id=request.conversation_id),
            UpdateConversation=lambda request: request.conversation,
            RemoveMember=lambda _: conversation_service_pb2.RemoveMemberResponse(),
        ),
        server,
    )
    message_service_pb2_grpc.add_MessageServiceServicer_to_server(
        servicer(
            message_service_pb2_grpc.MessageServiceServicer,
            SendMessage=_sent,
            SendMessageBatch=lambda request: message_service_pb2.SendMessageBatchResponse(
                results=[message_service_pb2.SendMessageResult(message_id=item.message_id) for item in request.messages]
            ),
            ListMessages=lambda request: message_service_pb2.ListMessagesResponse(
                last_sequence_number=request.after_sequence_number
            ),
        ),
        server,
    )
    presence_service_pb2_grpc.add_PresenceServiceServicer_to_server(
        servicer(
            presence_service_pb2_grpc.PresenceServiceServicer,
            GetPresence=lambda request: presence_service_pb2.GetPresenceResponse(
                presences=[presence_service_pb2.Presence(user_id=user_id) for user_id in request.user_ids]
            ),
        ),
        server,
    )
    file_service_pb2_grpc.add_FileServiceServicer_to_server(
        servicer(
            file_service_pb2_grpc.FileServiceServicer,
            CreateUpload=lambda request: file_service_pb2.Upload(file_id="f1", part_size_bytes=request.size_bytes, part_count=1),
            CompleteUpload=lambda request: file_service_pb2.File(file_id=request.file_id, state="FILE_STATE_READY"),
            GetFile=lambda request: file_service_pb2.File(file_id=request.file_id),
        ),
        server,
    )


def _sent(request: message_service_pb2.SendMessageRequest) -> message_service_pb2.SendMessageResponse:
    message = message_pb2.Message(
        message_id=request.message_id,
        conversation_id=request.conversation_id,
        sequence_number=7,
        content=request.content,
    )
    message.create_time.GetCurrentTime()
    return message_service_pb2.SendMessageResponse(message=message, state=message_pb2.MESSAGE_STATE_STORED)


def not_found() -> DomainError:
    """As the conversation service refuses."""
    metadata = {"conversation_id": "c9"}
    return DomainError(Code.NOT_FOUND, "CONVERSATION_NOT_FOUND", "There is no 100 % such conversation: ção.", metadata=metadata)


def store_away() -> DomainError:
    """As any service refuses while its store is away."""
    return unavailable("kafka", retry_after=timedelta(seconds=1))
