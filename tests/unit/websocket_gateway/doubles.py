"""Stand-ins for sockets and owners: they write down what they are told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from chat4all_websocket_gateway.connection import Connection, Flusher
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.wire import payload_of, text_frame


@dataclass
class Person:
    """Whose socket it is."""

    user_id: str


class Transport:
    """Takes everything at once."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """What the flusher writes."""
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0


class Socket:
    """As much of a connection as the fan-out touches."""

    def __init__(self, user_id: str = "u") -> None:
        self.user = Person(user_id)
        self.pending: list[bytes] = []
        self.muted = False
        self.paused = False
        self.outstanding = 0
        self.closed_with: int | None = None
        self.loop = asyncio.get_running_loop()
        self.away = False
        self.session_id = ""
        self.waiting: list[Any] = []
        self.transport = Transport()

    @property
    def it(self) -> Connection:
        """Itself, for code that wants a connection."""
        return cast(Connection, self)

    def write(self, frame: bytes) -> None:
        """Keep it."""
        if not self.muted:
            self.pending.append(frame)

    def flush(self) -> None:
        """Nothing is held back."""

    def when_writable(self, resume: Any) -> None:
        """Remember whom to call."""
        self.waiting.append(resume)

    def begin_close(self, code: int, reason: str) -> None:
        """Remember the code."""
        self.muted = True
        self.closed_with = code

    def frames(self) -> list[dict[str, Any]]:
        """Everything written, taken apart again as a client would."""
        found: list[dict[str, Any]] = []
        data = b"".join(self.transport.written + self.pending)
        while data:
            size = data[1]
            head = 2 if size < 126 else 4 if size == 126 else 10
            length = size if size < 126 else int.from_bytes(data[2:head], "big")
            found.append(orjson.loads(payload_of(data[: head + length])))
            data = data[head + length :]
        return found

    def numbers(self) -> list[int]:
        """The numbers of the events among them."""
        return [frame["sequence_number"] for frame in self.frames() if frame["type"] == "event"]


@dataclass
class Owner:
    """As much of the feeds' owner as one feed needs."""

    awaited: dict[bytes, list[object]] = field(default_factory=dict)
    stored_numbers: list[int] = field(default_factory=list)
    found_by: list[str] = field(default_factory=list)
    removals: list[tuple[str, int]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def stored(self, feed: Feed, entry: Entry) -> None:
        """An awaited entry came."""
        self.stored_numbers.append(entry.sequence_number)

    def behind(self, feed: Feed, found_by: str) -> None:
        """A fill is wanted."""
        feed.filling = True
        self.found_by.append(found_by)

    def removed(self, feed: Feed, user_id: str, sequence_number: int) -> None:
        """Somebody goes."""
        self.removals.append((user_id, sequence_number))
        feed.live = {connection for connection in feed.live if connection.user and connection.user.user_id != user_id}

    def removed_long_ago(self, feed: Feed, user_id: str) -> None:
        """Somebody may be gone."""
        self.doubts.append(user_id)


def frame_of(number: int, **data: Any) -> bytes:
    """The frame of one entry."""
    return orjson.dumps({"type": "event", "sequence_number": number, "data": data})


def line(number: int, kind: str = "e", **data: Any) -> bytes:
    """As a publisher writes it."""
    return f"{kind}\t{number}\tsender\tm{number}\t".encode() + frame_of(number, **data)


def entry(number: int, **data: Any) -> Entry:
    """As the log gives it."""
    return Entry(number, bool(data), b"sender", b"m%d" % number, text_frame(frame_of(number, **data)))


def feed(owner: Owner, last: int = 0, held: int = 100) -> Feed:
    """A feed with a position."""
    made = Feed("conversation", "somebody", cast(Any, owner), Flusher(1024 * 1024), held)
    if last >= 0:
        made.position(last)
    return made
