"""Replays end exactly at the feed's position, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fakes.waiting import eventually
from unit.websocket_gateway.doubles import Owner, Socket, entry, feed, line

from chat4all_runtime.errors import unavailable
from chat4all_websocket_gateway.backends import Page
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.replay import Replays


class Log:
    """The store's side; `reading` is called before each page is given."""

    def __init__(self, count: int) -> None:
        self.entries = [entry(number) for number in range(1, count + 1)]
        self.reading: Callable[[], None] = lambda: None
        self.failures = 0

    async def read(self, conversation_id: str, after: int, size: int) -> Page:
        """One page."""
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise unavailable("message")
        page = list(self.entries[after : after + size])
        last = len(self.entries)
        self.reading()
        return Page(page, last)

    def add(self) -> Entry:
        """One more entry."""
        self.entries.append(entry(len(self.entries) + 1))
        return self.entries[-1]


@asynccontextmanager
async def working(replays: Replays) -> AsyncIterator[None]:
    """Run one worker."""
    worker = asyncio.create_task(replays.run(asyncio.Event()))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.wait({worker})


async def answered(socket: Socket) -> None:
    """Wait for the answer to the cursor."""
    await eventually(lambda: any(frame["type"] in ("resumed", "reset") for frame in socket.frames()))


def replays_of(log: Log, limit: int = 100, page: int = 7) -> Replays:
    """Small pages, so that several are needed."""
    return Replays(log.read, limit, page, lambda _: None)


async def test_pages_then_resumed_then_live() -> None:
    """All pages in order, `resumed` after them, live entries after it."""
    log, socket = Log(40), Socket()
    it, replays = feed(Owner(), last=40), replays_of(log)
    async with working(replays):
        replays.join(socket.it, it, 10)
        assert replays.is_joining(socket.it, it)
        await answered(socket)
    it.receive(line(41))
    frames = socket.frames()
    assert socket.numbers() == list(range(11, 42))
    assert frames[-2]["type"] == "resumed"
    assert (frames[-2]["from_sequence_number"], frames[-2]["to_sequence_number"]) == (11, 40)


async def test_busy_conversation() -> None:
    """Entries delivered while pages are read are remembered, so the replay arrives however busy it is."""
    log, socket, bystander = Log(30), Socket(), Socket()
    it, replays = feed(Owner(), last=30), replays_of(log)
    it.live.add(bystander.it)

    def more() -> None:
        for _ in range(5):
            it.receive(line(log.add().sequence_number))

    log.reading = more
    async with working(replays):
        replays.join(socket.it, it, 0)
        await answered(socket)
    it.receive(line(log.add().sequence_number))
    assert socket.numbers() == list(range(1, it.last + 1))
    assert bystander.numbers() == list(range(31, it.last + 1))


async def test_pages_beyond_the_feed_fill_it() -> None:
    """The store knows more than Redis told: everybody gets it, once."""
    log, socket, bystander = Log(20), Socket(), Socket()
    it, replays = feed(Owner(), last=15), replays_of(log, page=50)
    it.live.add(bystander.it)
    it.position(20)
    async with working(replays):
        replays.join(socket.it, it, 3)
        await answered(socket)
    it.receive(line(20) + b"\n" + line(21))
    assert socket.numbers() == list(range(4, 22))
    assert bystander.numbers() == list(range(16, 22))


async def test_limits() -> None:
    """Exactly the limit is replayed, one more is not, and nothing of it is shown."""
    log = Log(150)
    it, replays = feed(Owner(), last=150), replays_of(log)
    at_limit, over, ahead = Socket(), Socket(), Socket()
    async with working(replays):
        replays.join(at_limit.it, it, 50)
        replays.join(over.it, it, 49)
        replays.join(ahead.it, it, 151, "s")
        await answered(at_limit)
    assert at_limit.numbers() == list(range(51, 151))
    assert [(frame["type"], frame["reason"]) for frame in over.frames()] == [("reset", "TOO_MUCH_MISSED")]
    assert [(frame["reason"], frame["ref"]) for frame in ahead.frames()] == [("CURSOR_AHEAD", "s")]
    assert {over.it, ahead.it} <= it.live


async def test_a_reset_tells_the_end_known_at_the_hello() -> None:
    """While the feed is behind, the reset waits, so that its number is not older than what others were told."""
    log, socket = Log(150), Socket()
    it, replays = feed(Owner(), last=140), replays_of(log)
    it.position(150)
    async with working(replays):
        replays.join(socket.it, it, 1)
        await asyncio.sleep(0.02)
        assert socket.frames() == []
        it.fill(log.entries[140:])
        await answered(socket)
    assert socket.frames()[0]["last_sequence_number"] == 150


async def test_cursor_at_the_known_end_waits_for_the_feed() -> None:
    """The client has everything, the feed has not: the feed's fill must not show it twice."""
    log, socket = Log(12), Socket()
    it, replays = feed(Owner(), last=10), replays_of(log)
    it.position(12)
    async with working(replays):
        replays.join(socket.it, it, 12)
        it.fill(log.entries[10:])
        await answered(socket)
    assert socket.numbers() == []
    assert (socket.frames()[0]["from_sequence_number"], socket.frames()[0]["to_sequence_number"]) == (13, 12)


async def test_outages_are_waited_out() -> None:
    """A store that is away for a moment delays the replay, no more."""
    log, socket = Log(5), Socket()
    log.failures = 2
    it, replays = feed(Owner(), last=5), replays_of(log)
    async with working(replays):
        replays.join(socket.it, it, 0)
        await answered(socket)
    assert socket.numbers() == [1, 2, 3, 4, 5]


async def test_a_full_write_buffer_parks_the_replay() -> None:
    """Nothing is read for a socket that cannot take it; it goes on when the buffer drains; a lost socket leaves nothing."""
    log, socket, lost = Log(30), Socket(), Socket()
    left: list[Feed] = []
    it = feed(Owner(), last=30)
    replays = Replays(log.read, 100, 7, left.append)
    socket.paused = lost.paused = True
    async with working(replays):
        replays.join(socket.it, it, 0)
        replays.join(lost.it, it, 0)
        await eventually(lambda: bool(socket.waiting and lost.waiting))
        assert socket.numbers() == []
        replays.forget_all(lost.it)
        socket.paused = False
        socket.waiting.pop()()
        await answered(socket)
    assert socket.numbers() == list(range(1, 31))
    assert (it.joining, left) == (0, [it, it])


async def test_removed_on_the_way() -> None:
    """The replay of somebody who is removed meanwhile ends with the entry of the removal."""
    log, socket = Log(30), Socket()
    it, replays = feed(Owner(), last=30), replays_of(log)
    async with working(replays):
        replays.join(socket.it, it, 0)
        replays.cut(socket.it, it, 20)
        await answered(socket)
    assert socket.numbers() == list(range(1, 21))
    assert socket.frames()[-1]["to_sequence_number"] == 20
    assert socket.it not in it.live
