"""One socket: what `websockets` gives, made small, with synchronous reading and shared, coalesced writing.

Reading: frames are handled where they arrive, in `process_event`, without a queue or a task of their own. Nothing there may
await; what must wait is handed to somebody else. Back-pressure towards a client that floods is pausing to read.

Writing: whole frames that were built once are appended to `pending`, and the `Flusher` writes them with one
`transport.write` per loop tick. Pings, pongs and close frames still come from `websockets` and go to the same transport; both
sides only ever write whole frames, so they cannot tear each other. Frames pending when the socket closes go out before its
close frame.

Everything runs on the loop's thread. A connection is muted from the moment it begins to close.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from chat4all_websocket_gateway import closes, metrics
from chat4all_websocket_gateway.wire import PING

if TYPE_CHECKING:
    from chat4all_websocket_gateway.users import User

log = structlog.get_logger()

# One logger for all sockets: websockets makes an adapter per connection, which costs memory and names no one we know.
WIRE_LOG = logging.getLogger("chat4all.websocket")
_FORGOTTEN = Request("/", Headers())


class Phase(IntEnum):
    """Where a socket is in its life."""

    HANDSHAKE = 0
    WAITING_FOR_HELLO = 1
    GREETING = 2
    OPEN = 3


class Owner(Protocol):
    """Who is told what happens to sockets. Nothing here may raise or await."""

    def received(self, connection: Connection, payload: bytes) -> None:
        """A text message came in."""

    def received_binary(self, connection: Connection) -> None:
        """A binary message came in."""

    def closing(self, connection: Connection) -> None:
        """The closing handshake began, from either side."""

    def flooding(self, connection: Connection) -> None:
        """Too many frames came in within this second; reading is paused until `resume_reading()`."""

    def lost(self, connection: Connection) -> None:
        """The transport is gone. Called once for each socket that was opened."""


class Flusher:
    """Writes what connections have pending, once per loop tick.

    Whoever appends to an empty `pending` itself (the fan-out loop does) adds the connection to `dirty` and calls `schedule()`.
    """

    __slots__ = ("_limit", "_loop", "_scheduled", "dirty")

    def __init__(self, write_buffer_bytes: int) -> None:
        self._limit = write_buffer_bytes
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self.dirty: list[Connection] = []

    def schedule(self) -> None:
        """Flush at the end of this tick."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        dirty, self.dirty = self.dirty, []
        limit = self._limit
        # Sockets of one conversation have the same things pending: they share one joined buffer.
        before: list[bytes] = []
        data = b""
        for connection in dirty:
            pending = connection.pending
            if not pending:
                continue
            connection.pending = []
            if connection.muted:
                continue
            if pending != before:
                data = pending[0] if len(pending) == 1 else b"".join(pending)
                before = pending
            transport = connection.transport
            if transport.get_write_buffer_size() > limit:
                connection.begin_close(closes.TOO_SLOW, "too slow")
            else:
                transport.write(data)


class _NoMessages:
    """Stands where `websockets` keeps its queue of messages, which is never used here."""

    def close(self) -> None:
        """Nothing to end."""


_NO_MESSAGES: Any = _NoMessages()


class Connection(ServerConnection):
    """A socket and what the gateway knows about it."""

    # Own attributes live in slots: the base class alone fills a shared-key dictionary, a thirtieth key would unshare it.
    __slots__ = (
        "_fragments",
        "_frame_limit",
        "_frames_in_second",
        "_owner",
        "_resumers",
        "_second",
        "away",
        "device_id",
        "early",
        "error_window_ends",
        "errors",
        "expires_at",
        "flusher",
        "last_heard",
        "muted",
        "opened_at",
        "outstanding",
        "pending",
        "phase",
        "pinged",
        "session_id",
        "tokens",
        "tokens_at",
        "typed_at",
        "user",
        "watching",
    )

    def __init__(self, owner: Owner, flusher: Flusher, frames_per_second: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner = owner
        self.flusher = flusher
        self.phase = Phase.HANDSHAKE
        self.muted = False
        self.pending: list[bytes] = []
        self.last_heard = self.loop.time()
        self.opened_at = self.last_heard
        self.pinged = False
        self._fragments: bytearray | None = None
        self._second = 0
        self._frames_in_second = 0
        self._frame_limit = frames_per_second
        self._resumers: list[Callable[[], None]] | None = None
        self.user: User | None = None
        self.session_id = ""
        self.device_id = ""
        self.expires_at = 0.0
        self.away = False
        self.outstanding = 0
        self.tokens = -1.0
        self.tokens_at = 0.0
        self.errors = 0
        self.error_window_ends = 0.0
        # Allocated when first needed: most sockets never type, watch or send before their welcome.
        self.typed_at: dict[str, float] | None = None
        self.watching: frozenset[str] = frozenset()
        self.early: list[bytes] | None = None

    def opened(self) -> None:
        """The opening handshake is done; let go of what only it needed (about 3 KiB for each socket)."""
        self.phase = Phase.WAITING_FOR_HELLO
        self.opened_at = self.last_heard = self.loop.time()
        self.request = _FORGOTTEN
        self.response = None
        self.recv_messages = _NO_MESSAGES
        self.drain_waiters = []  # type: ignore[assignment]  # only append and remove are used; an empty deque is 624 bytes
        self.logger = self.protocol.logger = WIRE_LOG
        del self.request_rcvd

    @property
    def owner(self) -> User:
        """Who is signed in here.

        Raises:
            LookupError: nobody is yet; only frames of signed-in sockets get where this is asked.
        """
        if self.user is None:
            raise LookupError("nobody is signed in on this socket")
        return self.user

    # Writing

    def write(self, frame: bytes) -> None:
        """Send whole frames at the end of this tick; nothing once the socket is closing."""
        if self.muted:
            return
        if not self.pending:
            self.flusher.dirty.append(self)
            self.flusher.schedule()
        self.pending.append(frame)

    def flush(self) -> None:
        """Hand what is pending to the transport now, so that `paused` tells the truth."""
        if self.pending and not self.muted:
            pending, self.pending = self.pending, []
            self.transport.write(b"".join(pending))

    def ping(self) -> None:  # type: ignore[override]  # nobody waits for pongs one by one
        """Ask for a sign of life."""
        self.pinged = True
        if not self.muted:
            self.transport.write(PING)

    def begin_close(self, code: int, reason: str) -> None:
        """Send what is pending and the close frame; the owner sees to it that the transport ends. Safe to call twice."""
        if self.muted:
            return
        self.muted = True
        metrics.closes.labels(str(code)).inc()
        if self.pending:
            pending, self.pending = self.pending, []
            self.transport.write(b"".join(pending))
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()
        self.resume_reading()
        self._owner.closing(self)

    def when_writable(self, resume: Callable[[], None]) -> None:
        """Call back once the write buffer has drained, or never when the socket is lost first. Only while `paused`."""
        if self._resumers is None:
            self._resumers = []
        self._resumers.append(resume)

    def resume_writing(self) -> None:
        """Called by the transport when its buffer is below the low-water mark."""
        super().resume_writing()
        resumers, self._resumers = self._resumers, None
        for resume in resumers or ():
            resume()

    # Reading

    def resume_reading(self) -> None:
        """Read again after a flood."""
        if not self.transport.is_closing() and not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self.last_heard = self.loop.time()
        self.pinged = False
        super().data_received(data)
        if self.phase is not Phase.HANDSHAKE and not self.muted and self.protocol.state is not State.OPEN:
            # The client said goodbye, or broke the protocol so badly that websockets closes.
            self.muted = True
            self._owner.closing(self)
        elif self._frames_in_second > self._frame_limit and not self.muted:
            self._frames_in_second = 0
            self.transport.pause_reading()
            self._owner.flooding(self)

    def process_event(self, event: Any) -> None:
        """Called for each frame, in order."""
        if self.phase is Phase.HANDSHAKE:
            super().process_event(event)
            return
        if self.muted:
            return
        try:
            self._process(event)
        except Exception:
            # A defect of ours must not take the process or other sockets along.
            log.exception("frame_handling_failed")
            self.begin_close(closes.INTERNAL_ERROR, "internal error")

    def _process(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT:
            self._count()
            if frame.fin:
                self._owner.received(self, bytes(frame.data))
            else:
                self._fragments = bytearray(frame.data)
        elif opcode is Opcode.CONT and self._fragments is not None:
            self._count()
            # websockets bounds the whole message by max_size, so this does not grow beyond it.
            self._fragments += frame.data
            if frame.fin:
                payload, self._fragments = bytes(self._fragments), None
                self._owner.received(self, payload)
        elif opcode is Opcode.BINARY:
            self._owner.received_binary(self)
        elif opcode is Opcode.PING:
            self._count()

    def _count(self) -> None:
        second = int(self.last_heard)
        if second != self._second:
            self._second = second
            self._frames_in_second = 0
        self._frames_in_second += 1

    def eof_received(self) -> None:
        """Called by the transport: the client will send no more."""
        super().eof_received()
        self.muted = True

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the transport."""
        opened = self.phase is not Phase.HANDSHAKE
        self.muted = True
        self.pending = []
        self._resumers = None
        super().connection_lost(error)
        if opened:
            self._owner.lost(self)
