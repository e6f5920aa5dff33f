"""All feeds of this gateway: subscribed while somebody here is in the conversation, filled and checked.

Feeds deliver on their own; this module looks after their edges: subscribing, finding the first position, filling holes, checking
positions. Who is in a conversation is the matter of `memberships.py`.

Concurrency: state changes only in synchronous code on the loop's thread. Fills are tasks kept in `_tasks`; they end with `run()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway import metrics
from chat4all_websocket_gateway.backends import Page
from chat4all_websocket_gateway.connection import Flusher
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.positions import Positions, ReadPositions
from chat4all_websocket_gateway.redis_subscriber import Handler
from chat4all_websocket_gateway.replay import ReadPage, Replays
from chat4all_websocket_gateway.settings import FanoutSettings
from chat4all_websocket_gateway.tasks import Tasks

log = structlog.get_logger()

_CONFIRM_SECONDS = 2.0
# A publish is normally on its way when the store already shows its entry; only what stays away is a hole.
_IN_TRANSIT_SECONDS = 0.3
_MAX_FILLS = 16


class Subscriber(Protocol):
    """The live connection to Redis, as far as it is used here."""

    connected: bool

    def subscribe(self, channel: bytes, handler: Handler) -> None:
        """Call `handler` with what is published."""

    def unsubscribe(self, channel: bytes) -> None:
        """No more."""

    async def barrier(self, timeout_seconds: float) -> bool:
        """Wait until subscriptions asked for are in force."""


class Removals(Protocol):
    """Who is told of removals that feeds see."""

    def removed(self, feed: Feed, user_id: str, sequence_number: int) -> None:
        """The entry that was just delivered ended this membership."""

    def removed_long_ago(self, feed: Feed, user_id: str) -> None:
        """A removal came again or late; perhaps they were added again since."""


Stored = Callable[[Feed, Entry], None]


class Feeds:
    """See the module. `removals` is set before the first feed is opened.

    Args:
        awaited: message ids somebody here waits to see stored; `stored` is called for those.
    """

    removals: Removals

    def __init__(
        self,
        settings: FanoutSettings,
        subscriber: Subscriber,
        flusher: Flusher,
        read_page: ReadPage,
        read_positions: ReadPositions,
        awaited: dict[bytes, list[Any]],
        stored: Stored,
    ) -> None:
        self._settings = settings
        self._subscriber = subscriber
        self._flusher = flusher
        self._read_page = read_page
        self.awaited = awaited
        self._stored = stored
        self.positions = Positions(read_positions, self._position_came)
        self.replays = Replays(read_page, settings.max_replay_entries, settings.page_entries, self.drop_if_unused)
        self._feeds: dict[str, Feed] = {}
        self._fills = asyncio.Semaphore(_MAX_FILLS)
        self._tasks = Tasks()

    def open(self, conversation_id: str, user_id: str) -> Feed:
        """The conversation's feed, subscribed from now on; the caller counts itself into `members`."""
        feed = self._feeds.get(conversation_id)
        if feed is None:
            feed = Feed(conversation_id, user_id, self, self._flusher, self._settings.held_entries)
            self._feeds[conversation_id] = feed
            self._subscriber.subscribe(feed.channel, feed.receive)
            metrics.feeds.set(len(self._feeds))
        return feed

    def drop_if_unused(self, feed: Feed) -> None:
        """Unsubscribe a feed that nobody here is in or on the way to."""
        if feed.members or feed.joining or feed.closed:
            return
        feed.closed = True
        del self._feeds[feed.conversation_id]
        self._subscriber.unsubscribe(feed.channel)
        metrics.feeds.set(len(self._feeds))

    async def confirm(self) -> None:
        """Wait until subscriptions asked for before are in force. While Redis is away the position check carries the feeds."""
        await self._subscriber.barrier(_CONFIRM_SECONDS)

    async def ready(self, feeds: list[Feed], *, confirm: bool) -> None:
        """Wait until each feed was told a position that is read from now on. Put a timeout around it.

        Args:
            feeds: what is to be ready.
            confirm: whether some of them are new, so that their subscription must be in force before.
        """
        if confirm:
            await self.confirm()
        if feeds:
            await self.positions.fresh(feeds)

    # What feeds say (FeedOwner)

    def stored(self, feed: Feed, entry: Entry) -> None:
        """An entry somebody waits for is in the log."""
        self._stored(feed, entry)

    def behind(self, feed: Feed, found_by: str) -> None:
        """Fetch what is missing."""
        if not feed.filling and not feed.closed:
            feed.filling = True
            metrics.gap_fills.labels(found_by).inc()
            self._tasks.start(self._fill(feed))

    def removed(self, feed: Feed, user_id: str, sequence_number: int) -> None:
        """Take the removed out, now that they were shown the entry."""
        self.removals.removed(feed, user_id, sequence_number)

    def removed_long_ago(self, feed: Feed, user_id: str) -> None:
        """Ask who is right."""
        self.removals.removed_long_ago(feed, user_id)

    async def _fill(self, feed: Feed) -> None:
        wait = 0.05
        try:
            async with self._fills:
                while feed.is_behind and not feed.closed:
                    try:
                        page = await self._read_page(feed.conversation_id, feed.last, self._settings.page_entries)
                    except DomainError as error:
                        log.warning("gap_not_filled", conversation_id=feed.conversation_id, reason=error.reason)
                        page = Page([], 0)
                    if feed.fill(page.entries):
                        wait = 0.05
                    else:
                        await asyncio.sleep(wait)
                        wait = min(wait * 2, 1.0)
        finally:
            feed.filling = False

    def _position_came(self, feed: Feed, last: int) -> None:
        feed.position(last)
        if feed.is_behind and not feed.filling:
            if self._subscriber.connected:
                asyncio.get_running_loop().call_later(_IN_TRANSIT_SECONDS, self._fill_if_still_behind, feed)
            else:
                self.behind(feed, "position")

    def _fill_if_still_behind(self, feed: Feed) -> None:
        if feed.is_behind:
            self.behind(feed, "position")

    # What is checked again and again

    def restored(self) -> None:
        """Redis was away: every feed may be behind."""
        self.positions.request(feed for feed in self._feeds.values() if feed.last >= 0)

    def suspect(self, conversation_id: str) -> None:
        """Compare this feed with the log, soon."""
        feed = self._feeds.get(conversation_id)
        if feed is not None and feed.last >= 0:
            self.positions.request([feed])

    async def run(self, stop: asyncio.Event) -> None:
        """Look after everything until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.positions.run(stop))
                tasks.create_task(self._check_positions(stop))
                for _ in range(self._settings.replay_workers):
                    tasks.create_task(self.replays.run(stop))
        finally:
            self._tasks.cancel()

    async def _check_positions(self, stop: asyncio.Event) -> None:
        """Ask for every feed once in the period, a slice at a time so that the load is even."""
        slices = 10
        turn = 0
        while not stop.is_set():
            connected = self._subscriber.connected
            period = self._settings.position_check_seconds if connected else self._settings.position_check_seconds_without_redis
            await asyncio.sleep(period / slices)
            feeds = list(self._feeds.values())
            # New feeds get their first position only after their subscription is confirmed.
            self.positions.request(feed for feed in feeds[turn::slices] if feed.last >= 0)
            turn = (turn + 1) % slices
