"""What a client's frames do: the rules of the protocol, one method for each frame type.

Called synchronously for each frame (`Owner`). Only a hello, a refresh and a sync have to wait for somebody; they run as tasks
of this object, one hello for each socket. Everything else is done or handed on before the next frame is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog

from chat4all.message.v1.message_service_pb2 import SendMessageRequest, Submission
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.identity import Caller, TokenVerifier
from chat4all_runtime.ids import new_id
from chat4all_websocket_gateway import answers, closes, frames, metrics
from chat4all_websocket_gateway.backends import TRY_LATER
from chat4all_websocket_gateway.connection import Connection, Phase
from chat4all_websocket_gateway.connections import Connections
from chat4all_websocket_gateway.content import to_content
from chat4all_websocket_gateway.feed import Feed
from chat4all_websocket_gateway.limits import take
from chat4all_websocket_gateway.marks import Marks
from chat4all_websocket_gateway.memberships import Memberships
from chat4all_websocket_gateway.presence import Presence, Watchers
from chat4all_websocket_gateway.sending import Sending
from chat4all_websocket_gateway.settings import FanoutSettings, WebsocketSettings
from chat4all_websocket_gateway.tasks import Tasks

log = structlog.get_logger()

MAX_FRAME_BYTES = 64 * 1024
_TYPING_SECONDS = 2.0
_MAX_TYPED = 50
# A mark may be ahead of what this gateway has seen by what is on its way, not by more.
_MARK_AHEAD = 1000

Publish = Callable[[bytes, bytes], bool]


class Gateway:
    """See the module."""

    def __init__(
        self,
        settings: WebsocketSettings,
        fanout: FanoutSettings,
        tokens: TokenVerifier,
        connections: Connections,
        memberships: Memberships,
        sending: Sending,
        marks: Marks,
        presence: Presence,
        watchers: Watchers,
        publish: Publish,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._connections = connections
        self._memberships = memberships
        self._sending = sending
        self._marks = marks
        self._presence = presence
        self._watchers = watchers
        self._publish = publish
        self._tasks = Tasks()
        self._limits = {
            "max_frame_bytes": MAX_FRAME_BYTES,
            "max_outstanding_sends": settings.max_outstanding_sends,
            "sends_per_second": settings.sends_per_second,
            "send_burst": settings.send_burst,
            "max_replay_entries": fanout.max_replay_entries,
            "max_watched_users": frames.MAX_WATCHED,
        }
        self._handlers: dict[type[Any], Callable[[Connection, Any], None]] = {
            frames.Hello: self._hello_again,
            frames.Send: self._send,
            frames.Mark: self._mark,
            frames.Typing: self._typing,
            frames.Presence: self._presence_frame,
            frames.Sync: self._sync,
            frames.Refresh: self._refresh,
            frames.Ping: self._ping,
        }
        self._counts = {kind: metrics.frames.labels(kind.__name__.lower()).inc for kind in self._handlers}

    # The life of a socket (Owner)

    async def serve(self, connection: Connection) -> None:
        """The handler of one connection: nothing to do but to wait; frames are handled where they arrive."""
        connection.opened()
        self._connections.add(connection)
        await connection.wait_closed()

    def closing(self, connection: Connection) -> None:
        """See that the closing ends."""
        self._connections.closing(connection)

    def flooding(self, connection: Connection) -> None:
        """Read again a little later."""
        self._connections.flooding(connection)

    def lost(self, connection: Connection) -> None:
        """Forget the socket."""
        self._connections.remove(connection)
        if connection.user is not None:
            self._watchers.watch(connection, frozenset())
            self._presence.left(connection)
            self._memberships.detach(connection)

    def received_binary(self, connection: Connection) -> None:
        """This subprotocol is text only."""
        metrics.frame_errors.labels("BINARY_FRAME").inc()
        connection.write(answers.error("BINARY_FRAME", "Frames are text; binary ones are not part of this protocol."))
        connection.begin_close(closes.BINARY_FRAME, "binary frame")

    def received(self, connection: Connection, payload: bytes) -> None:
        """Do what one text frame asks for."""
        if connection.phase is Phase.GREETING:
            # In the order they came, once the hello is answered. What one read from the kernel can hold is the bound:
            # reading is paused meanwhile.
            if connection.early is None:
                connection.early = []
            connection.early.append(payload)
            return
        try:
            frame = frames.parse(payload)
            self._counts[type(frame)]()
            if connection.phase is Phase.OPEN:
                self._handlers[type(frame)](connection, frame)
            elif isinstance(frame, frames.Hello):
                connection.phase = Phase.GREETING
                connection.transport.pause_reading()
                self._tasks.start(self._greet(connection, frame))
            else:
                self._refuse_before_hello(connection)
        except frames.FrameError as error:
            self._faulty(connection, error)
            if connection.phase is Phase.WAITING_FOR_HELLO:
                connection.begin_close(closes.NOT_SIGNED_IN, "hello required")

    def _refuse_before_hello(self, connection: Connection) -> None:
        connection.write(answers.error("HELLO_REQUIRED", "The first frame must be a hello."))
        connection.begin_close(closes.NOT_SIGNED_IN, "hello required")

    def _faulty(self, connection: Connection, error: frames.FrameError) -> None:
        """Answer a faulty frame, and stop a client that sends too many of them."""
        metrics.frame_errors.labels(error.reason).inc()
        metadata = None if error.field is None else {"field": error.field}
        connection.write(answers.error(error.reason, error.message, ref=error.ref, metadata=metadata))
        now = connection.loop.time()
        if now > connection.error_window_ends:
            connection.error_window_ends = now + 60.0
            connection.errors = 0
        connection.errors += 1
        if connection.errors >= self._settings.protocol_errors_per_minute:
            connection.write(answers.error("TOO_MANY_ERRORS", "Too many faulty frames within a minute."))
            connection.begin_close(closes.TOO_MANY_ERRORS, "too many faulty frames")

    # Signing in

    async def _greet(self, connection: Connection, hello: frames.Hello) -> None:
        try:
            async with asyncio.timeout(self._settings.attach_timeout_seconds):
                caller = await self._tokens.verify(hello.token)
                user = self._memberships.hold(caller.user_id, caller.tenant_id)
                try:
                    if len(user.connections) >= self._settings.max_sockets_per_user:
                        self._refuse_hello(connection, closes.TOO_MANY_SOCKETS, _too_many_sockets(len(user.connections)))
                        return
                    await self._memberships.follow(user, hello.cursors)
                    if not connection.muted:
                        self._welcome(connection, caller, hello)
                finally:
                    self._memberships.let_go(user)
        except DomainError as error:
            code = closes.NOT_SIGNED_IN if error.code is Code.UNAUTHENTICATED else closes.TRY_AGAIN
            self._refuse_hello(connection, code, error)
        except TimeoutError:
            away = DomainError(Code.UNAVAILABLE, "ATTACH_TIMEOUT", "The conversations could not be read in time; connect again.")
            self._refuse_hello(connection, closes.TRY_AGAIN, away)

    def _refuse_hello(self, connection: Connection, code: int, error: DomainError) -> None:
        retry_after = None if error.retry_after is None else error.retry_after.total_seconds()
        if code == closes.TRY_AGAIN and retry_after is None and error.code in TRY_LATER:
            retry_after = 1.0
        connection.write(answers.error(error.reason, error.message, metadata=error.metadata, retry_after_seconds=retry_after))
        connection.begin_close(code, error.reason.lower().replace("_", " "))

    def _welcome(self, connection: Connection, caller: Caller, hello: frames.Hello) -> None:
        """From here on the socket is live. No await: nothing can come between the welcome and the feeds."""
        user = self._memberships.hold(caller.user_id, caller.tenant_id)
        connection.phase = Phase.OPEN
        connection.session_id = caller.session_id
        connection.device_id = hello.device_id or caller.session_id
        connection.expires_at = caller.expires_at
        connection.write(answers.welcome(caller.session_id, caller.user_id, self._settings.heartbeat_seconds, self._limits))
        for conversation_id in self._memberships.attach(connection, user, hello.cursors):
            self._not_a_member(connection, conversation_id, None)
        self._memberships.let_go(user)
        self._presence.came(connection)
        connection.resume_reading()
        early, connection.early = connection.early, None
        for payload in early or ():
            if not connection.muted:
                self.received(connection, payload)

    def _hello_again(self, connection: Connection, frame: frames.Hello) -> None:
        connection.write(answers.error("HELLO_REPEATED", "This socket is signed in already."))
        connection.begin_close(closes.HELLO_REPEATED, "hello repeated")

    def _refresh(self, connection: Connection, frame: frames.Refresh) -> None:
        self._tasks.start(self._take_new_token(connection, frame.token))

    async def _take_new_token(self, connection: Connection, token: str) -> None:
        try:
            async with asyncio.timeout(self._settings.attach_timeout_seconds):
                caller = await self._tokens.verify(token)
        except TimeoutError:
            connection.write(answers.error("AUTH_UNAVAILABLE", "The token could not be checked in time.", retry_after_seconds=1))
            return
        except DomainError as error:
            connection.write(answers.refusal(error))  # the old token is good until it ends
            return
        user = connection.user
        if user is None or connection.muted:
            return
        if (caller.user_id, caller.tenant_id) != (user.user_id, user.tenant_id):
            connection.write(answers.error("TOKEN_INVALID", "The token belongs to somebody else."))
            connection.begin_close(closes.OTHER_USER, "token of another user")
            return
        connection.session_id = caller.session_id
        connection.expires_at = max(connection.expires_at, caller.expires_at)

    # Frames of a signed-in socket

    def _send(self, connection: Connection, frame: frames.Send) -> None:
        user = connection.owner
        wait = take(connection, connection.loop.time(), self._settings.sends_per_second, self._settings.send_burst)
        if wait:
            self._slow_down(connection, "RATE_LIMITED", "Too many sends.", wait, frame.ref, frame.message_id)
            return
        if connection.outstanding >= self._settings.max_outstanding_sends:
            self._slow_down(
                connection, "TOO_MANY_OUTSTANDING", "Too many sends are not accepted yet.", 1.0, frame.ref, frame.message_id
            )
            return
        try:
            content = to_content(frame.content)
        except frames.FrameError as error:
            error.ref = frame.ref
            raise
        request = SendMessageRequest(
            conversation_id=frame.conversation_id,
            message_id=frame.message_id,
            content=content,
            reply_to_message_id=frame.reply_to_message_id,
            thread_id=frame.thread_id,
        )
        refused = self._sending.offer(
            connection, frame.ref, Submission(tenant_id=user.tenant_id, sender_user_id=user.user_id, request=request)
        )
        if refused is not None:
            connection.write(answers.refusal(refused, ref=frame.ref, message_id=frame.message_id))

    def _slow_down(
        self, connection: Connection, reason: str, message: str, wait: float, ref: str | None, message_id: str
    ) -> None:
        metrics.sends.labels("refused").inc()
        connection.write(answers.error(reason, message, ref=ref, metadata={"message_id": message_id}, retry_after_seconds=wait))

    def _feed(self, connection: Connection, conversation_id: str, ref: str | None = None) -> Feed | None:
        feed = connection.owner.feeds.get(conversation_id)
        if feed is None:
            self._not_a_member(connection, conversation_id, ref)
        return feed

    def _not_a_member(self, connection: Connection, conversation_id: str, ref: str | None) -> None:
        connection.write(
            answers.error(
                "CONVERSATION_NOT_FOUND",
                "There is no such conversation, or you are not in it.",
                ref=ref,
                metadata={"conversation_id": conversation_id},
            )
        )

    def _mark(self, connection: Connection, frame: frames.Mark) -> None:
        feed = self._feed(connection, frame.conversation_id)
        if feed is None:
            return
        if frame.sequence_number > max(feed.last, 0) + _MARK_AHEAD:
            raise frames.FrameError("FIELD_INVALID", "sequence_number is beyond the end of the log.", field="sequence_number")
        if not self._marks.add(frame.conversation_id, connection.owner.user_id, frame.sequence_number, read=frame.read):
            connection.write(answers.error("CONVERSATION_UNAVAILABLE", "Marks cannot be stored now.", retry_after_seconds=5))

    def _typing(self, connection: Connection, frame: frames.Typing) -> None:
        feed = self._feed(connection, frame.conversation_id)
        if feed is None:
            return
        now = connection.loop.time()
        typed_at = connection.typed_at
        if typed_at is None:
            typed_at = connection.typed_at = {}
        if now - typed_at.get(frame.conversation_id, -_TYPING_SECONDS) < _TYPING_SECONDS:
            return  # one every two seconds is enough to show that somebody writes
        if len(typed_at) >= _MAX_TYPED:
            typed_at.clear()
        typed_at[frame.conversation_id] = now
        event = {
            "type": "event",
            "event_id": new_id(),
            "event_type": "typing",
            "conversation_id": frame.conversation_id,
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "data": {"user_id": connection.owner.user_id, "state": frame.state},
        }
        line = b"t\t0\t%b\ttyping\t%b" % (connection.owner.user_id.encode(), orjson.dumps(event))
        self._publish(feed.channel, line)  # lost while Redis is away; it would be stale later

    def _presence_frame(self, connection: Connection, frame: frames.Presence) -> None:
        if frame.away is not None:
            self._presence.changed(connection, away=frame.away)
        if frame.watch is not None:
            self._watchers.watch(connection, frame.watch)

    def _sync(self, connection: Connection, frame: frames.Sync) -> None:
        feed = self._feed(connection, frame.conversation_id, frame.ref)
        if feed is None:
            return
        wait = take(connection, connection.loop.time(), self._settings.sends_per_second, self._settings.send_burst)
        if wait:
            connection.write(answers.error("RATE_LIMITED", "Too many syncs.", ref=frame.ref, retry_after_seconds=wait))
            return
        self._tasks.start(self._sync_when_ready(connection, feed, frame))

    async def _sync_when_ready(self, connection: Connection, feed: Feed, frame: frames.Sync) -> None:
        try:
            async with asyncio.timeout(self._settings.attach_timeout_seconds):
                await self._memberships.sync(connection, feed, frame.after_sequence_number, frame.ref)
        except TimeoutError:
            connection.write(
                answers.error("MESSAGE_UNAVAILABLE", "The log cannot be read now.", ref=frame.ref, retry_after_seconds=1)
            )

    def _ping(self, connection: Connection, frame: frames.Ping) -> None:
        connection.write(answers.pong(frame.ref))

    def stop(self) -> None:
        """End what still runs for sockets that are gone."""
        self._tasks.cancel()


def _too_many_sockets(count: int) -> DomainError:
    return DomainError(
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_SOCKETS",
        "You have too many connections here; close one first.",
        metadata={"sockets": str(count)},
        retry_after=timedelta(seconds=30),
    )
