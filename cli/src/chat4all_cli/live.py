"""The live connection as the contract describes it: reconnect with jitter, resume by cursor, resend by the same message id.

What it promises its user: each entry of a conversation once, in order, without a hole, whatever happens to the connection; a
message handed to `send()` goes on being sent until the server says stored or refuses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import uuid_utils
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from chat4all_cli.rest import ApiError, Json, RestClient

SUBPROTOCOL = Subprotocol("chat4all.v1.json")
_WELCOME_SECONDS = 10.0
_RESEND_SECONDS = 10.0


class LiveRefused(Exception):
    """The server said stop: sign in again or give up; `reason` says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{message} ({reason})")
        self.reason = reason


@dataclass(slots=True)
class Outgoing:
    """A message on its way. `accepted` and `stored` end with the server's frame, or with LiveRefused."""

    message_id: str
    conversation_id: str
    frame: Json
    accepted: asyncio.Future[Json]
    stored: asyncio.Future[Json]


@dataclass(slots=True)
class Observer:
    """What the user of a connection wants to hear; each is called on the loop and must not block."""

    # A numbered entry in order, once; True when it was missed and came later.
    event: Callable[[Json, bool], None] = lambda frame, replayed: None
    # The same before repeats and holes are dealt with: what was really on the wire.
    wire: Callable[[Json, bool], None] = lambda frame, replayed: None
    # Before the hello of a new connection, with its cursors; and when everything missed has come.
    opening: Callable[[dict[str, int]], None] = lambda cursors: None
    attached: Callable[[], None] = lambda: None
    transient: Callable[[Json], None] = lambda frame: None
    connected: Callable[[Json], None] = lambda welcome: None
    disconnected: Callable[[str], None] = lambda why: None
    resumed: Callable[[Json], None] = lambda frame: None
    reset: Callable[[Json], None] = lambda frame: None
    # History read over REST to close a hole: conversation, entries after this number, the entries.
    paged: Callable[[str, int, list[Json]], None] = lambda conversation_id, after, entries: None
    sending: Callable[[Outgoing], None] = lambda message: None
    answered: Callable[[Outgoing, Json], None] = lambda message, frame: None


@dataclass
class LiveClient:
    """One device's live connection. Run `run()` as a task; `cursors` holds how far each conversation has been seen.

    A conversation in `cursors` is resumed from there; one that is not is followed from its next entry on.
    """

    rest: RestClient
    url: str
    device_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    cursors: dict[str, int] = field(default_factory=dict)
    observer: Observer = field(default_factory=Observer)
    client_name: str = "chat4all-cli"

    def __post_init__(self) -> None:
        self._outbox: OrderedDict[str, Outgoing] = OrderedDict()
        self._socket: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._replaying: set[str] = set()
        self._waiting: dict[str, list[Json]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reconnect_after = 0.0
        self.connections = 0
        self.repeats = 0

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises:
            LiveRefused: the server closed with a code of 4100 or above.
        """
        failures = 0
        while True:
            why = "closed"
            try:
                token = await self.rest.access_token()
                async with connect(
                    self.url,
                    subprotocols=[SUBPROTOCOL],
                    compression=None,
                    max_size=2**20,
                    open_timeout=5,
                    close_timeout=1,
                    ping_interval=20,
                ) as socket:
                    await self._converse(socket, token)
                failures = 0
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                why = f"{code} {closed.rcvd.reason if closed.rcvd else ''}".strip()
                if 4100 <= code < 4300:
                    raise LiveRefused(str(code), f"The server closed the connection: {why}") from closed
                failures = 0 if self._ready.is_set() else failures + 1
            except (OSError, TimeoutError, InvalidHandshake, ApiError) as error:
                if isinstance(error, ApiError) and error.status == 401:
                    raise LiveRefused(error.reason, error.message) from error
                why = type(error).__name__
                failures += 1
            finally:
                was_ready = self._ready.is_set()
                self._socket = None
                self._ready.clear()
            if was_ready:
                self.observer.disconnected(why)
            wait = self._reconnect_after or min(0.1 * 2**failures, 3.0) * random.uniform(0.3, 1.0)  # noqa: S311
            self._reconnect_after = 0.0
            await asyncio.sleep(wait)

    async def _converse(self, socket: ClientConnection, token: str) -> None:
        # Conversations with a cursor are buffered by the server until it has said `resumed` or `reset`.
        self._replaying = set(self.cursors)
        self._waiting.clear()
        self.observer.opening(dict(self.cursors))
        hello = {"type": "hello", "token": token, "device_id": self.device_id, "cursors": self.cursors,
                 "client": {"name": self.client_name, "version": "1"}}  # fmt: skip
        await socket.send(orjson.dumps(hello), text=True)
        welcome = orjson.loads(await asyncio.wait_for(socket.recv(), _WELCOME_SECONDS))
        if welcome.get("type") != "welcome":
            # An error comes before the close, and the close code says whether to come back or to stop: `run` reads it.
            await asyncio.wait_for(socket.recv(), _WELCOME_SECONDS)
            raise TimeoutError("no welcome")
        self._socket = socket
        self._ready.set()
        self.connections += 1
        self.observer.connected(welcome)
        self._maybe_attached()
        for message in list(self._outbox.values()):
            await self._transmit(message)
        renewal = asyncio.create_task(self._renew(socket))
        try:
            async for data in socket:
                self._take(orjson.loads(data))
        finally:
            renewal.cancel()

    async def _renew(self, socket: ClientConnection) -> None:
        """Show the new token before the old one ends."""
        shown = self.rest.tokens.access_token if self.rest.tokens else ""
        while True:
            await asyncio.sleep(15)
            with contextlib.suppress(ApiError):  # tried again in 15 s; the server closes with 4101 if it stays away
                token = await self.rest.access_token()
                if token != shown:
                    await socket.send(orjson.dumps({"type": "refresh", "token": token}), text=True)
                    shown = token

    def _take(self, frame: Json) -> None:
        kind = frame.get("type")
        if kind == "event":
            self._take_event(frame)
        elif kind == "sent":
            self._take_sent(frame)
        elif kind == "resumed":
            self._replaying.discard(frame["conversation_id"])
            self.observer.resumed(frame)
            self._maybe_attached()
        elif kind == "reset":
            self.observer.reset(frame)
            self._waiting.setdefault(frame["conversation_id"], [])  # what comes live waits for the pages
            self.spawn(self._page(frame["conversation_id"], frame["last_sequence_number"]))
        elif kind == "error":
            self._take_error(frame)
        elif kind == "drain":
            self._reconnect_after = frame["reconnect_after_ms"] / 1000

    def _take_event(self, frame: Json) -> None:
        number = frame.get("sequence_number", 0)
        conversation_id = frame.get("conversation_id", "")
        if not number:
            self.observer.transient(frame)
            return
        replayed = conversation_id in self._replaying
        self.observer.wire(frame, replayed)
        if conversation_id in self._waiting:
            self._waiting[conversation_id].append(frame)
            return
        self._show(conversation_id, number, frame, replayed)

    def _maybe_attached(self) -> None:
        if not self._replaying:
            self.observer.attached()

    def _show(self, conversation_id: str, number: int, frame: Json, replayed: bool) -> None:
        last = self.cursors.get(conversation_id)
        if last is not None and number <= last:
            self.repeats += 1
            return
        if last is not None and number > last + 1:
            # Never show later entries over a hole: hold them, and ask for what is missing.
            self._waiting[conversation_id] = [frame]
            self.spawn(self._page(conversation_id, number))
            return
        self.cursors[conversation_id] = number
        self._settle(frame)
        self.observer.event(frame, replayed)

    async def _page(self, conversation_id: str, upto: int) -> None:
        """Read history over REST up to a number, then what came live meanwhile."""
        self._waiting.setdefault(conversation_id, [])
        while True:
            try:
                after = self.cursors.get(conversation_id, 0)
                entries = await self.rest.history(conversation_id, after, upto)
                self.observer.paged(conversation_id, after, entries)
                break
            except ApiError as error:
                if error.status not in (0, 429, 502, 503, 504):
                    self._waiting.pop(conversation_id, None)
                    return  # no longer a member: nothing more to see here
        for entry in entries:
            frame = event_of(entry)
            if entry["sequence_number"] == self.cursors.get(conversation_id, 0) + 1:
                self.cursors[conversation_id] = entry["sequence_number"]
                self._settle(frame)
                self.observer.event(frame, True)
        self._replaying.discard(conversation_id)
        for frame in self._waiting.pop(conversation_id, []):
            self._show(conversation_id, frame["sequence_number"], frame, True)
        self._maybe_attached()

    def _settle(self, frame: Json) -> None:
        """Seeing one's own message in the log says stored, even when the answer to the send was lost."""
        message = self._outbox.pop(frame["data"].get("message_id", ""), None)
        if message is not None:
            said = {
                "type": "sent",
                "message_id": message.message_id,
                "state": "stored",
                "sequence_number": frame["sequence_number"],
            }
            self.observer.answered(message, said)
            _finish(message.accepted, said)
            _finish(message.stored, said)

    def _take_sent(self, frame: Json) -> None:
        message = self._outbox.get(frame["message_id"])
        if message is None:
            return
        self.observer.answered(message, frame)
        _finish(message.accepted, frame)
        if frame["state"] == "stored":
            self._outbox.pop(frame["message_id"], None)
            _finish(message.stored, frame)

    def _take_error(self, frame: Json) -> None:
        message = self._outbox.get(str(frame.get("ref", "")))
        if message is None:
            return
        wait = frame.get("retry_after_seconds")
        if wait is not None:
            self.spawn(self._again(message, float(wait)))
            return
        self._outbox.pop(message.message_id, None)
        refusal = LiveRefused(str(frame["reason"]), str(frame["message"]))
        self.observer.answered(message, frame)
        for future in (message.accepted, message.stored):
            if not future.done():
                future.set_exception(refusal)
                future.exception()  # a caller may wait for one of the two only

    async def _again(self, message: Outgoing, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(1.0, 1.3))  # noqa: S311
        if message.message_id in self._outbox and self._ready.is_set():
            await self._transmit(message)

    async def send(self, conversation_id: str, content: Json, message_id: str | None = None) -> Outgoing:
        """Put a message on its way and return at once; await `accepted` or `stored` of what is returned."""
        message_id = message_id or str(uuid_utils.uuid7())
        loop = asyncio.get_running_loop()
        frame = {
            "type": "send",
            "ref": message_id,
            "conversation_id": conversation_id,
            "message_id": message_id,
            "content": content,
        }
        message = Outgoing(message_id, conversation_id, frame, loop.create_future(), loop.create_future())
        self._outbox[message_id] = message
        if self._ready.is_set():
            await self._transmit(message)
        self.spawn(self._watch(message))
        return message

    async def _watch(self, message: Outgoing) -> None:
        """Send again what has had no answer for long: the answer may be lost although the connection lives."""
        while message.message_id in self._outbox:
            with contextlib.suppress(TimeoutError, LiveRefused):
                await asyncio.wait_for(asyncio.shield(message.stored), _RESEND_SECONDS * random.uniform(1.0, 1.2))  # noqa: S311
                return
            if message.message_id in self._outbox and self._ready.is_set():
                await self._transmit(message)

    async def _transmit(self, message: Outgoing) -> None:
        self.observer.sending(message)
        await self._write(message.frame)

    async def _write(self, frame: Json) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):  # run() sees it too, reconnects and resends the outbox
                await self._socket.send(orjson.dumps(frame), text=True)

    async def mark(self, kind: str, conversation_id: str, sequence_number: int) -> None:
        """Say how far one got; `kind` is `ack` (on this device) or `read` (by the person)."""
        await self._write({"type": kind, "conversation_id": conversation_id, "sequence_number": sequence_number})

    async def typing(self, conversation_id: str, state: str) -> None:
        """Tell the others that one is writing (`started`) or not any more (`stopped`)."""
        await self._write({"type": "typing", "conversation_id": conversation_id, "state": state})

    async def ready(self) -> None:
        """Wait for a working connection."""
        await self._ready.wait()

    async def settled(self, timeout_seconds: float) -> bool:
        """Wait until everything sent is stored or refused; False when some is not in time."""
        waiting = {message.stored for message in self._outbox.values()}
        if not waiting:
            return True
        _, pending = await asyncio.wait(waiting, timeout=timeout_seconds)
        return not pending

    def unsettled(self) -> int:
        """Messages not yet known to be stored."""
        return len(self._outbox)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside the connection and keep hold of it until it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _finish(future: asyncio.Future[Json], value: Json) -> None:
    if not future.done():
        future.set_result(value)


_EVENT_TYPES = {
    "member_added": "conversation.member_added",
    "member_removed": "conversation.member_removed",
    "conversation_updated": "conversation.updated",
}


def event_of(entry: Json) -> Json:
    """A history entry as the event that carried it."""
    content: Any = {name: value for name, value in entry["content"].items() if value is not None}
    return {
        "type": "event",
        "event_id": entry["message_id"],
        "event_type": _EVENT_TYPES.get(entry["kind"], "message.stored"),
        "conversation_id": entry["conversation_id"],
        "sequence_number": entry["sequence_number"],
        "time": entry["create_time"],
        "data": {
            "message_id": entry["message_id"],
            "from_user_id": entry["from_user_id"],
            "content": content,
            "kind": entry["kind"],
        },
    }
