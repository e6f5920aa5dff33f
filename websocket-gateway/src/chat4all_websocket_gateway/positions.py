"""Where the logs of many conversations end, asked in batches by one task.

Serves three needs: where a new feed begins, what a returning client must be brought to, and the regular check that bounds how
long a publish that Redis lost can go unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway.feed import Feed

log = structlog.get_logger()

_BATCH = 200
_RETRY_SECONDS = 0.5

ReadPositions = Callable[[Sequence[tuple[str, str, int]]], Awaitable[list[int]]]


class Positions:
    """Asks for positions in batches of at most 200, one call at a time, so that what waits is asked for once.

    Args:
        read: conversation id, user id, number after which nothing is counted → last number of each.
        arrived: told of each position, in the order of the answers.
    """

    def __init__(self, read: ReadPositions, arrived: Callable[[Feed, int], None]) -> None:
        self._read = read
        self._arrived = arrived
        # Bounded by the number of feeds: a feed waits once, however often it is asked for.
        self._wanted: dict[Feed, list[asyncio.Future[None]]] = {}
        self._wake = asyncio.Event()

    def request(self, feeds: Iterable[Feed]) -> None:
        """Ask soon; the answer comes by `arrived`."""
        for feed in feeds:
            self._wanted.setdefault(feed, [])
        self._wake.set()

    async def fresh(self, feeds: Iterable[Feed]) -> None:
        """Wait until each feed was told a position that was read after this call began. Put a timeout around it."""
        waiting = []
        for feed in feeds:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wanted.setdefault(feed, []).append(future)
            waiting.append(future)
        if waiting:
            self._wake.set()
            await asyncio.gather(*waiting)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop (by cancelling)."""
        while not stop.is_set():
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                batch = {feed: self._wanted.pop(feed) for feed in list(self._wanted)[:_BATCH]}
                await self._ask(batch)

    async def _ask(self, batch: dict[Feed, list[asyncio.Future[None]]]) -> None:
        feeds = [feed for feed in batch if not feed.closed]
        try:
            ends = await self._read([(feed.conversation_id, feed.somebody, max(feed.last, 0)) for feed in feeds])
        except DomainError as error:
            log.warning("positions_not_read", reason=error.reason, feeds=len(feeds))
            for feed, futures in batch.items():
                self._wanted.setdefault(feed, []).extend(future for future in futures if not future.done())
            await asyncio.sleep(_RETRY_SECONDS)
            return
        for feed, end in zip(feeds, ends, strict=True):
            self._arrived(feed, end)
        for futures in batch.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)
