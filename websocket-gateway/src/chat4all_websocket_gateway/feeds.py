"""All feeds and users of this gateway: who follows what, what is subscribed, what is filled and checked.

A conversation is followed while somebody here is in it. Feeds deliver on their own; this module looks after their edges:
subscribing, finding the first position, filling holes, checking positions and memberships, taking people out.

Concurrency: state changes only in synchronous code on the loop's thread. Tasks started here (fills, late attachments) are kept
in `_tasks` and end with `run()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

import orjson
import structlog

from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway import answers, closes, metrics
from chat4all_websocket_gateway.backends import TRY_LATER, Page
from chat4all_websocket_gateway.connection import Connection, Flusher, Phase
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.positions import Positions, ReadPositions
from chat4all_websocket_gateway.redis_subscriber import Handler
from chat4all_websocket_gateway.replay import ReadPage, Replays
from chat4all_websocket_gateway.settings import FanoutSettings
from chat4all_websocket_gateway.users import User
from chat4all_websocket_gateway.wire import payload_of, text_frame

log = structlog.get_logger()

_CONFIRM_SECONDS = 2.0
# A publish is normally on its way when the store already shows its entry; only what stays away is a hole.
_IN_TRANSIT_SECONDS = 0.3
_MAX_FILLS = 16
# A hello waits this long at most before its last try to list memberships.
_LISTING_PATIENCE_SECONDS = 1.0
# How far back the entry of somebody's adding is looked for, and how long a removal told on the user's channel may take to pass.
_ADDED_WITHIN_ENTRIES = 100
_REMOVAL_SECONDS = 10.0

ListMemberships = Callable[[str, str], Awaitable[set[str]]]


class Subscriber(Protocol):
    """The live connection to Redis, as far as it is used here."""

    connected: bool

    def subscribe(self, channel: bytes, handler: Handler) -> None:
        """Call `handler` with what is published."""

    def unsubscribe(self, channel: bytes) -> None:
        """No more."""

    async def barrier(self, timeout_seconds: float) -> bool:
        """Wait until subscriptions asked for are in force."""


Stored = Callable[[Feed, Entry], None]


class Feeds:
    """See the module.

    Args:
        awaited: message ids somebody here waits to see stored; `stored` is called for those.
    """

    def __init__(
        self,
        settings: FanoutSettings,
        subscriber: Subscriber,
        flusher: Flusher,
        read_page: ReadPage,
        read_positions: ReadPositions,
        memberships: ListMemberships,
        awaited: dict[bytes, list[Any]],
        stored: Stored,
    ) -> None:
        self._settings = settings
        self._subscriber = subscriber
        self._flusher = flusher
        self._read_page = read_page
        self._memberships = memberships
        self.awaited = awaited
        self._stored = stored
        self.positions = Positions(read_positions, self._position_came)
        self.replays = Replays(read_page, settings.max_replay_entries, settings.page_entries, self._drop_if_unused)
        self._feeds: dict[str, Feed] = {}
        self._users: dict[str, User] = {}
        # Users to list again, in the order of asking; bounded by the number of users.
        self._doubtful: dict[User, None] = {}
        self._doubt = asyncio.Event()
        self._fills = asyncio.Semaphore(_MAX_FILLS)
        self._tasks: set[asyncio.Task[None]] = set()

    # Who is here

    def hold(self, user_id: str, tenant_id: str) -> User:
        """The user, kept and subscribed until `let_go()`."""
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = User(user_id, tenant_id)
            known = user
            self._subscriber.subscribe(user.channel, lambda payload: self._receive_for_user(known, payload))
        user.holds += 1
        return user

    def let_go(self, user: User) -> None:
        """One hold less; without holds and sockets the user is forgotten."""
        user.holds -= 1
        self._forget_if_gone(user)

    def detach(self, connection: Connection) -> None:
        """The socket is gone."""
        user = connection.user
        if user is None:
            return
        self.replays.forget_all(connection)
        for feed in user.feeds.values():
            feed.live.discard(connection)
        if connection in user.connections:
            user.connections.remove(connection)
        self._forget_if_gone(user)

    def _forget_if_gone(self, user: User) -> None:
        if user.holds or user.connections or self._users.get(user.user_id) is not user:
            return
        del self._users[user.user_id]
        self._doubtful.pop(user, None)
        self._subscriber.unsubscribe(user.channel)
        for feed in user.feeds.values():
            feed.members -= 1
            self._drop_if_unused(feed)
        user.feeds.clear()

    async def follow(self, user: User, cursors: Iterable[str]) -> None:
        """List the user's conversations and make their feeds ready: subscribed, with a position.

        Feeds of `cursors` get a position that is read anew. Put a timeout around it.

        Raises:
            DomainError: the conversation service is away.
        """
        await self._subscriber.barrier(_CONFIRM_SECONDS)
        listed = await self._list_until_steady(user)
        for conversation_id in user.feeds.keys() - listed:
            self._unlink(user, conversation_id)
        for conversation_id in listed - user.feeds.keys():
            self._link(user, conversation_id)
        asked = set(cursors)
        await self._ready(
            [feed for feed in user.feeds.values() if feed.last < 0 or feed.conversation_id in asked],
            confirm=any(feed.last < 0 for feed in user.feeds.values()),
        )

    async def _list_until_steady(self, user: User) -> set[str]:
        wait = 0.05
        while True:
            version = user.version
            try:
                listed = await self._memberships(user.user_id, user.tenant_id)
            except DomainError as error:
                if error.code not in TRY_LATER or wait > _LISTING_PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(wait)
                wait *= 2
                continue
            if user.version == version:
                return listed  # nothing was told while the list was read, so it is the newest word

    async def _ready(self, feeds: list[Feed], *, confirm: bool) -> None:
        if confirm:
            # While Redis is away the position check carries the feed.
            await self._subscriber.barrier(_CONFIRM_SECONDS)
        if feeds:
            await self.positions.fresh(feeds)

    def attach(self, connection: Connection, user: User, cursors: dict[str, int]) -> list[str]:
        """Make a socket live on all the user's conversations, by way of a replay where it gave a cursor.

        Returns:
            The cursors' conversations that the user is not in.
        """
        user.connections.append(connection)
        connection.user = user
        for conversation_id, feed in user.feeds.items():
            if feed.last < 0:
                continue  # added while the hello was answered: its own task attaches all sockets
            cursor = cursors.get(conversation_id)
            if cursor is not None:
                self.replays.join(connection, feed, cursor)
            else:
                feed.live.add(connection)
        return [conversation_id for conversation_id in cursors if conversation_id not in user.feeds]

    async def sync(self, connection: Connection, feed: Feed, after: int, ref: str | None) -> None:
        """Replay one conversation once more to a socket that is on it already. Put a timeout around it."""
        await self._ready([feed], confirm=False)
        if connection.user is None or connection.muted or connection.user.feeds.get(feed.conversation_id) is not feed:
            return
        if self.replays.is_joining(connection, feed):
            connection.write(
                answers.error(
                    "SYNC_IN_PROGRESS",
                    "This conversation is being replayed already.",
                    ref=ref,
                    metadata={"conversation_id": feed.conversation_id},
                    retry_after_seconds=1,
                )
            )
            return
        feed.live.discard(connection)
        self.replays.join(connection, feed, after, ref)

    # Conversations

    def _link(self, user: User, conversation_id: str) -> Feed:
        feed = self._feeds.get(conversation_id)
        if feed is None:
            feed = Feed(conversation_id, user.user_id, self, self._flusher, self._settings.held_entries)
            self._feeds[conversation_id] = feed
            self._subscriber.subscribe(feed.channel, feed.receive)
            metrics.feeds.set(len(self._feeds))
        feed.members += 1
        user.feeds[conversation_id] = feed
        return feed

    def _unlink(self, user: User, conversation_id: str, end: int | None = None) -> None:
        """Take a user out; replays on their way go on to entry `end`, or stop at once."""
        feed = user.feeds.pop(conversation_id, None)
        if feed is None:
            return
        for connection in user.connections:
            feed.live.discard(connection)
            if end is None:
                self.replays.forget(connection, feed)
            else:
                self.replays.cut(connection, feed, end)
        feed.members -= 1
        self._drop_if_unused(feed)

    def _drop_if_unused(self, feed: Feed) -> None:
        if feed.members or feed.joining or feed.closed:
            return
        feed.closed = True
        del self._feeds[feed.conversation_id]
        self._subscriber.unsubscribe(feed.channel)
        metrics.feeds.set(len(self._feeds))

    # What feeds say (FeedOwner)

    def stored(self, feed: Feed, entry: Entry) -> None:
        """An entry somebody waits for is in the log."""
        self._stored(feed, entry)

    def behind(self, feed: Feed, found_by: str) -> None:
        """Fetch what is missing."""
        if not feed.filling and not feed.closed:
            feed.filling = True
            metrics.gap_fills.labels(found_by).inc()
            self._spawn(self._fill(feed))

    def removed(self, feed: Feed, user_id: str, sequence_number: int) -> None:
        """Take the removed out, now that they were shown the entry."""
        user = self._users.get(user_id)
        if user is not None:
            user.version += 1
            self._unlink(user, feed.conversation_id, sequence_number)

    def removed_long_ago(self, feed: Feed, user_id: str) -> None:
        """Perhaps they were added again since; the conversation service knows."""
        user = self._users.get(user_id)
        if user is not None and feed.conversation_id in user.feeds:
            user.version += 1
            self.doubt(user)

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

    # What a user's own channel says

    def _receive_for_user(self, user: User, payload: bytes) -> None:
        for line in payload.split(b"\n"):
            kind, number, _, subject, frame = line.split(b"\t", 4)
            if kind == b"a":
                self._added(user, subject.decode(), int(number or b"0"), frame)
            elif kind == b"x":
                self._leaving(user, subject.decode(), frame)
            elif kind == b"k":
                self._end_sessions(user, subject.decode())
            elif frame:
                self._tell(user, text_frame(frame))

    def _tell(self, user: User, wire: bytes) -> None:
        for connection in user.connections:
            connection.write(wire)
        metrics.deliveries.inc(len(user.connections))

    def _added(self, user: User, conversation_id: str, sequence_number: int, frame: bytes) -> None:
        user.version += 1
        known = conversation_id in user.feeds
        if frame:
            self._tell(user, text_frame(frame))
        if not known:
            feed = self._link(user, conversation_id)
            event_type = orjson.loads(frame).get("event_type") if frame else None
            cursor = 0 if event_type == "conversation.created" else sequence_number or None
            self._spawn(self._attach_late(user, feed, cursor))

    async def _attach_late(self, user: User, feed: Feed, cursor: int | None) -> None:
        """Make the sockets of somebody who was added live, from the entry of the adding on when it can be found."""
        wait = 0.1
        while user.feeds.get(feed.conversation_id) is feed:
            try:
                await self._ready([feed], confirm=True)
                if cursor is None:
                    cursor = await self._entry_of_adding(user, feed)
                break
            except DomainError as error:
                log.warning("attachment_delayed", conversation_id=feed.conversation_id, reason=error.reason)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)
        if user.feeds.get(feed.conversation_id) is not feed or cursor is None:
            return
        for connection in list(user.connections):
            if connection.phase is Phase.OPEN and connection not in feed.live and not self.replays.is_joining(connection, feed):
                self.replays.join(connection, feed, min(cursor, feed.last), quiet=True)

    async def _entry_of_adding(self, user: User, feed: Feed) -> int:
        """The number before the newest entry that added the user; the feed's position when it is not among the last ones."""
        start = max(0, feed.last - _ADDED_WITHIN_ENTRIES)
        page = await self._read_page(feed.conversation_id, start, _ADDED_WITHIN_ENTRIES)
        name = user.user_id.encode()
        for entry in reversed(page.entries):
            payload = payload_of(entry.wire)
            if b'"conversation.member_added"' in payload and name in payload:
                return entry.sequence_number - 1
        return feed.last

    def _leaving(self, user: User, conversation_id: str, frame: bytes) -> None:
        """The removal's entry in the log cuts the stream; this line only makes sure that it is not missed."""
        user.version += 1
        feed = user.feeds.get(conversation_id)
        if feed is not None:
            self.positions.request([feed])
            asyncio.get_running_loop().call_later(_REMOVAL_SECONDS, self._end_leaving, user, feed, user.version, frame)

    def _end_leaving(self, user: User, feed: Feed, version: int, frame: bytes) -> None:
        if user.feeds.get(feed.conversation_id) is not feed:
            return
        if user.version != version:
            self.doubt(user)  # something else was told since: perhaps they were added again
            return
        log.warning("removal_entry_never_came", conversation_id=feed.conversation_id)
        if frame:
            self._tell(user, text_frame(frame))
        self._unlink(user, feed.conversation_id)

    def _end_sessions(self, user: User, session_id: str) -> None:
        for connection in list(user.connections):
            if session_id in ("*", connection.session_id):
                connection.write(answers.error("SESSION_ENDED", "This session was ended; sign in again."))
                connection.begin_close(closes.SESSION_ENDED, "session ended")

    # What is checked again and again

    def restored(self) -> None:
        """Redis was away: every feed may be behind, every membership may have changed."""
        self.positions.request(feed for feed in self._feeds.values() if feed.last >= 0)
        for user in self._users.values():
            self._doubtful[user] = None
        self._doubt.set()

    def doubt(self, user: User) -> None:
        """List this user's conversations again, soon."""
        self._doubtful[user] = None
        self._doubt.set()

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
                tasks.create_task(self._check_memberships_regularly(stop))
                tasks.create_task(self._check_memberships(stop))
                for _ in range(self._settings.replay_workers):
                    tasks.create_task(self.replays.run(stop))
        finally:
            for task in self._tasks:
                task.cancel()

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

    async def _check_memberships_regularly(self, stop: asyncio.Event) -> None:
        slices = 100
        turn = 0
        while not stop.is_set():
            await asyncio.sleep(self._settings.membership_check_seconds / slices)
            for user in list(self._users.values())[turn::slices]:
                self.doubt(user)
            turn = (turn + 1) % slices

    async def _check_memberships(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._doubt.wait()
            self._doubt.clear()
            while self._doubtful:
                user = next(iter(self._doubtful))
                del self._doubtful[user]
                await self._reconcile(user)

    async def _reconcile(self, user: User) -> None:
        version = user.version
        try:
            listed = await self._memberships(user.user_id, user.tenant_id)
        except DomainError as error:
            log.warning("memberships_not_listed", reason=error.reason)
            self.doubt(user)
            await asyncio.sleep(1.0)
            return
        if self._users.get(user.user_id) is not user:
            return
        if user.version != version:
            self.doubt(user)  # something was told while the list was read
            return
        for conversation_id in user.feeds.keys() - listed:
            self._unlink(user, conversation_id)
        for conversation_id in listed - user.feeds.keys():
            self._spawn(self._attach_late(user, self._link(user, conversation_id), None))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("feed_task_failed", error=repr(error), exc_info=error)
