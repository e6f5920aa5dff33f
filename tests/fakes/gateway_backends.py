"""What the websocket gateway talks to, played by a test over real gRPC, HTTP and Redis: services, keys and the router's publishing.

The log of each conversation is a list; `append` numbers an entry and publishes it as the router does. Knobs break things on
purpose: `publish` off loses what Redis carries, `away` makes a service unavailable, `accept_only` leaves numbering to the test.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import grpc
import jwt
import orjson
import redis.asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chat4all.conversation.v1 import conversation_service_pb2 as conversation_pb
from chat4all.conversation.v1 import conversation_service_pb2_grpc as conversation_grpc
from chat4all.message.v1 import message_pb2
from chat4all.message.v1 import message_service_pb2 as message_pb
from chat4all.message.v1 import message_service_pb2_grpc as message_grpc
from chat4all.presence.v1 import presence_service_pb2 as presence_pb
from chat4all.presence.v1 import presence_service_pb2_grpc as presence_grpc
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.grpc_errors import to_status
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings

SECRET = "a secret of the tests that is long enough"
ISSUER = "https://auth.chat4all.local"
AUDIENCE = "chat4all-api"
TENANT = "default"


@dataclass
class Logged:
    """One entry of a log."""

    sequence_number: int
    kind: str
    sender: str
    message_id: str
    frame: bytes

    @property
    def line(self) -> bytes:
        """As it is published."""
        return f"{self.kind}\t{self.sequence_number}\t{self.sender}\t{self.message_id}\t".encode() + self.frame


@dataclass
class Log:
    """One conversation."""

    members: set[str]
    entries: list[Logged] = field(default_factory=list)


class GatewayBackends:
    """All peers of one gateway, from `__aenter__` to `__aexit__`, in the running loop."""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.logs: dict[str, Log] = {}
        self.publish = True
        self.accept_only = False
        self.away: set[str] = set()
        # Calls of a service that are still to be refused as too many.
        self.busy: dict[str, int] = {}
        self.refuse: dict[str, DomainError] = {}
        self.submit_delay_seconds = 0.0
        self.submitted: list[list[str]] = []
        self.accepted: dict[str, message_pb.Submission] = {}
        self.marks: dict[tuple[str, str], tuple[int, int]] = {}
        self.mark_calls = 0
        self.page_calls = 0
        self.position_calls = 0
        self.presences: dict[tuple[str, str], list[int]] = {}
        self.heartbeat_calls = 0
        self._key = Ed25519PrivateKey.generate()
        self._services = ServiceTokens(InternalSettings(secret=SECRET), "tests")

    async def __aenter__(self) -> GatewayBackends:
        self.redis = redis.asyncio.Redis.from_url(self.redis_url)
        self._server = grpc.aio.server()
        message_grpc.add_MessageServiceServicer_to_server(_Messages(self), self._server)  # type: ignore[abstract]  # plays the internal methods only
        conversation_grpc.add_ConversationServiceServicer_to_server(_Conversations(self), self._server)  # type: ignore[abstract]
        presence_grpc.add_PresenceServiceServicer_to_server(_Presences(self), self._server)  # type: ignore[abstract]
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        app = web.Application()
        app.router.add_get("/keys", self._keys)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.jwks_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/keys"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._server.stop(0.2)
        await self._runner.cleanup()
        await self.redis.aclose()

    def environment(self) -> dict[str, str]:
        """What the gateway's process is told."""
        return {
            "CHAT4ALL_REDIS__URL": self.redis_url,
            "CHAT4ALL_INTERNAL__SECRET": SECRET,
            "CHAT4ALL_TOKENS__JWKS_URL": self.jwks_url,
            "CHAT4ALL_TOKENS__LEEWAY_SECONDS": "0",
            "CHAT4ALL_CONVERSATION__TARGET": self.target,
            "CHAT4ALL_MESSAGE__TARGET": self.target,
            "CHAT4ALL_PRESENCE__TARGET": self.target,
        }

    # Tokens

    async def _keys(self, _: web.Request) -> web.Response:
        public = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).decode().rstrip("=")
        key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k1", "x": public}
        return web.json_response({"keys": [key]})

    def token(self, user_id: str, *, seconds: float = 900, session_id: str = "", **change: Any) -> str:
        """An access token as the auth service makes them."""
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "tenant_id": TENANT,
            "sid": session_id or new_id(),
            "iat": int(now),
            "exp": now + seconds,
            "jti": new_id(),
            **change,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": "k1"})

    # Conversations

    def conversation(self, *members: str) -> str:
        """A new conversation with these users."""
        conversation_id = new_id()
        self.logs[conversation_id] = Log(set(members))
        return conversation_id

    def entry(
        self, conversation_id: str, sender: str, message_id: str = "", event_type: str = "message.stored", **data: Any
    ) -> Logged:
        """Number one entry and put it into the log, without telling anybody."""
        log = self.logs[conversation_id]
        number = len(log.entries) + 1
        message_id = message_id or new_id()
        frame = {
            "type": "event",
            "event_id": new_id(),
            "event_type": event_type,
            "conversation_id": conversation_id,
            "sequence_number": number,
            "time": datetime.now(UTC).isoformat(),
            "data": {"message_id": message_id, "from_user_id": sender, **data},
        }
        kind = "r" if event_type == "conversation.member_removed" else "e"
        logged = Logged(number, kind, sender, message_id, orjson.dumps(frame))
        log.entries.append(logged)
        return logged

    async def append(self, conversation_id: str, sender: str, message_id: str = "", **data: Any) -> Logged:
        """Number one entry and publish it."""
        logged = self.entry(conversation_id, sender, message_id, **data)
        await self.tell(conversation_id, logged)
        return logged

    async def tell(self, conversation_id: str, *entries: Logged) -> None:
        """Publish entries together, unless publishes are lost."""
        if self.publish:
            await self.redis.publish(f"conversation:{conversation_id}:events", b"\n".join(entry.line for entry in entries))

    async def remove(self, conversation_id: str, user_id: str, by: str) -> Logged:
        """Remove a member: the list first, the log's entry after it, the user's own channel last."""
        self.logs[conversation_id].members.discard(user_id)
        logged = await self.append(conversation_id, by, event_type="conversation.member_removed", removed_user_id=user_id)
        frame = {
            "type": "event",
            "event_id": new_id(),
            "event_type": "conversation.member_removed",
            "conversation_id": conversation_id,
        }
        await self.tell_user(user_id, "x", conversation_id, frame)
        return logged

    async def tell_user(self, user_id: str, kind: str, subject: str, frame: dict[str, Any]) -> None:
        """Publish a line on a user's channel."""
        line = f"{kind}\t0\t\t{subject}\t".encode() + orjson.dumps(frame)
        await self.redis.publish(f"user:{user_id}:events", line)

    async def check(self, context: Any, service: str) -> None:
        """Refuse strangers, and everybody while the service plays dead."""
        metadata = {item[0]: item[1] for item in context.invocation_metadata()}
        try:
            self._services.verify(str(metadata.get("x-service-token", "")))
        except DomainError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message)
        if self.busy.get(service, 0) > 0:
            self.busy[service] -= 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        if service in self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "playing dead")


class _Messages(message_grpc.MessageServiceServicer):
    def __init__(self, backends: GatewayBackends) -> None:
        self._backends = backends

    async def SubmitMessages(self, request: message_pb.SubmitMessagesRequest, context: Any) -> message_pb.SubmitMessagesResponse:
        backends = self._backends
        await backends.check(context, "message")
        backends.submitted.append([item.request.message_id for item in request.submissions])
        if backends.submit_delay_seconds:
            await asyncio.sleep(backends.submit_delay_seconds)
        results = []
        fresh: dict[str, list[Logged]] = {}
        for item in request.submissions:
            results.append(self._submit(item, fresh))
        # Published as by a router: after the call was answered, once per conversation.
        for conversation_id, entries in fresh.items():
            await backends.tell(conversation_id, *entries)
        return message_pb.SubmitMessagesResponse(results=results)

    def _submit(self, item: message_pb.Submission, fresh: dict[str, list[Logged]]) -> message_pb.SendMessageResult:
        backends = self._backends
        message_id, conversation_id = item.request.message_id, item.request.conversation_id
        log = backends.logs.get(conversation_id)
        error = backends.refuse.get(item.request.content.text)
        if error is None and (log is None or item.sender_user_id not in log.members):
            error = DomainError(Code.NOT_FOUND, "CONVERSATION_NOT_FOUND", "No such conversation.")
        if error is not None or log is None:
            assert error is not None
            return message_pb.SendMessageResult(message_id=message_id, error=to_status(error, "message"))
        state = message_pb2.MESSAGE_STATE_ACCEPTED
        message = message_pb2.Message(message_id=message_id, conversation_id=conversation_id)
        known = next((entry for entry in log.entries if entry.message_id == message_id), None)
        if known is not None:
            state = message_pb2.MESSAGE_STATE_STORED
            message.sequence_number = known.sequence_number
        elif message_id not in backends.accepted:
            backends.accepted[message_id] = item
            if not backends.accept_only:
                content = {"type": item.request.content.type, "text": item.request.content.text}
                entry = backends.entry(conversation_id, item.sender_user_id, message_id, content=content)
                fresh.setdefault(conversation_id, []).append(entry)
        return message_pb.SendMessageResult(message_id=message_id, message=message, state=state)

    async def ListMessages(self, request: message_pb.ListMessagesRequest, context: Any) -> message_pb.ListMessagesResponse:
        backends = self._backends
        await backends.check(context, "message")
        backends.page_calls += 1
        entries = backends.logs[request.conversation_id].entries
        page = entries[request.after_sequence_number : request.after_sequence_number + request.page_size]
        frames = [
            message_pb.LogFrame(
                sequence_number=entry.sequence_number,
                kind=entry.kind,
                from_user_id=entry.sender,
                message_id=entry.message_id,
                frame=entry.frame,
            )
            for entry in page
        ]
        return message_pb.ListMessagesResponse(frames=frames, last_sequence_number=len(entries))

    async def SummarizeConversations(
        self, request: message_pb.SummarizeConversationsRequest, context: Any
    ) -> message_pb.SummarizeConversationsResponse:
        backends = self._backends
        await backends.check(context, "message")
        backends.position_calls += 1
        assert len(request.items) <= 200
        summaries = [
            message_pb.ConversationSummary(
                conversation_id=item.conversation_id, last_sequence_number=len(backends.logs[item.conversation_id].entries)
            )
            for item in request.items
        ]
        return message_pb.SummarizeConversationsResponse(summaries=summaries)


class _Conversations(conversation_grpc.ConversationServiceServicer):
    def __init__(self, backends: GatewayBackends) -> None:
        self._backends = backends

    async def ListMemberships(
        self, request: conversation_pb.ListMembershipsRequest, context: Any
    ) -> conversation_pb.ListMembershipsResponse:
        backends = self._backends
        await backends.check(context, "conversation")
        assert request.tenant_id == TENANT
        found = sorted(name for name, log in backends.logs.items() if request.user_id in log.members)
        start = int(request.page_token or "0")
        page = found[start : start + request.page_size]
        following = str(start + len(page)) if start + len(page) < len(found) else ""
        return conversation_pb.ListMembershipsResponse(conversation_ids=page, next_page_token=following)

    async def RecordMarks(self, request: conversation_pb.RecordMarksRequest, context: Any) -> conversation_pb.RecordMarksResponse:
        backends = self._backends
        await backends.check(context, "conversation")
        backends.mark_calls += 1
        for mark in request.marks:
            key = (mark.conversation_id, mark.user_id)
            before = backends.marks.get(key, (0, 0))
            backends.marks[key] = (
                max(before[0], mark.delivered_sequence_number),
                max(before[1], mark.read_sequence_number),
            )
        return conversation_pb.RecordMarksResponse(changed_count=len(request.marks))


class _Presences(presence_grpc.PresenceServiceServicer):
    def __init__(self, backends: GatewayBackends) -> None:
        self._backends = backends

    async def RecordHeartbeats(
        self, request: presence_pb.RecordHeartbeatsRequest, context: Any
    ) -> presence_pb.RecordHeartbeatsResponse:
        backends = self._backends
        await backends.check(context, "presence")
        backends.heartbeat_calls += 1
        for heartbeat in request.heartbeats:
            backends.presences.setdefault((heartbeat.user_id, heartbeat.device_id), []).append(heartbeat.state)
        return presence_pb.RecordHeartbeatsResponse()
