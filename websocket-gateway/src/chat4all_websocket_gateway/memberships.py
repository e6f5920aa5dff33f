"""People with sockets here: which conversations they are in, and what their own channel says.

Membership is listed when a socket says hello and kept up by the lines of the user's channel and by removals that feeds see. Both
can be lost, so it is listed again after Redis was away, when something told is in doubt, and every few minutes.

Concurrency: state changes only in synchronous code on the loop's thread. `User.version` tells whether something was told while a
list was read, which makes the list stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import orjson
import structlog

from chat4all_runtime.errors import Code, DomainError
from chat4all_websocket_gateway import answers, closes, metrics
from chat4all_websocket_gateway.backends import TRY_LATER
from chat4all_websocket_gateway.connection import Connection, Phase
from chat4all_websocket_gateway.feed import Feed
from chat4all_websocket_gateway.feeds import Feeds, Subscriber
from chat4all_websocket_gateway.replay import ReadPage
from chat4all_websocket_gateway.tasks import Tasks
from chat4all_websocket_gateway.users import User
from chat4all_websocket_gateway.wire import payload_of, text_frame

log = structlog.get_logger()

# A hello waits this long at most before its last try to list memberships.
_LISTING_PATIENCE_SECONDS = 1.0
# How far back the entry of somebody's adding is looked for, and how long a removal told on the user's channel may take to pass.
_ADDED_WITHIN_ENTRIES = 100
_REMOVAL_SECONDS = 10.0

ListMemberships = Callable[[str, str], Awaitable[set[str]]]


class Memberships:
    """See the module.

    Args:
        feeds: what people here follow.
        read_page: reads the log, to find where somebody was added.
        list_memberships: user id, tenant id → ids of the conversations they are in.
        check_seconds: how often each user is listed again.
    """

    def __init__(
        self,
        feeds: Feeds,
        subscriber: Subscriber,
        read_page: ReadPage,
        list_memberships: ListMemberships,
        check_seconds: float,
    ) -> None:
        self._feeds = feeds
        self._subscriber = subscriber
        self._read_page = read_page
        self._list = list_memberships
        self._check_seconds = check_seconds
        self._users: dict[str, User] = {}
        # Users to list again, in the order of asking; bounded by the number of users.
        self._doubtful: dict[User, None] = {}
        self._doubt = asyncio.Event()
        self._tasks = Tasks()

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
        self._feeds.replays.forget_all(connection)
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
            self._feeds.drop_if_unused(feed)
        user.feeds.clear()

    async def follow(self, user: User, cursors: Iterable[str]) -> None:
        """List the user's conversations and make their feeds ready: subscribed, with a position.

        Feeds of `cursors` get a position that is read anew. Put a timeout around it.

        Raises:
            DomainError: the conversation service is away.
        """
        await self._feeds.confirm()
        listed = await self._list_until_steady(user)
        for conversation_id in user.feeds.keys() - listed:
            self._unlink(user, conversation_id)
        for conversation_id in listed - user.feeds.keys():
            self._link(user, conversation_id)
        asked = set(cursors)
        await self._feeds.ready(
            [feed for feed in user.feeds.values() if feed.last < 0 or feed.conversation_id in asked],
            confirm=any(feed.last < 0 for feed in user.feeds.values()),
        )

    async def _list_until_steady(self, user: User) -> set[str]:
        wait = 0.05
        while True:
            version = user.version
            try:
                listed = await self._list(user.user_id, user.tenant_id)
            except DomainError as error:
                # Busy is like away: after a gateway's restart thousands of users come at once.
                if error.code not in {*TRY_LATER, Code.RESOURCE_EXHAUSTED} or wait > _LISTING_PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(wait)
                wait *= 2
                continue
            if user.version == version:
                return listed  # nothing was told while the list was read, so it is the newest word

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
                self._feeds.replays.join(connection, feed, cursor)
            else:
                feed.live.add(connection)
        return [conversation_id for conversation_id in cursors if conversation_id not in user.feeds]

    async def sync(self, connection: Connection, feed: Feed, after: int, ref: str | None) -> None:
        """Replay one conversation once more to a socket that is on it already. Put a timeout around it."""
        await self._feeds.ready([feed], confirm=False)
        if connection.user is None or connection.muted or connection.user.feeds.get(feed.conversation_id) is not feed:
            return
        if self._feeds.replays.is_joining(connection, feed):
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
        self._feeds.replays.join(connection, feed, after, ref)

    # In and out

    def _link(self, user: User, conversation_id: str) -> Feed:
        feed = self._feeds.open(conversation_id, user.user_id)
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
                self._feeds.replays.forget(connection, feed)
            else:
                self._feeds.replays.cut(connection, feed, end)
        feed.members -= 1
        self._feeds.drop_if_unused(feed)

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
            self._tasks.start(self._attach_late(user, feed, cursor))

    async def _attach_late(self, user: User, feed: Feed, cursor: int | None) -> None:
        """Make the sockets of somebody who was added live, from the entry of the adding on when it can be found."""
        wait = 0.1
        while user.feeds.get(feed.conversation_id) is feed:
            try:
                await self._feeds.ready([feed], confirm=True)
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
            self._feeds.replays.forget_if_cut(connection, feed)
            if (
                connection.phase is Phase.OPEN
                and connection not in feed.live
                and not self._feeds.replays.is_joining(connection, feed)
            ):
                self._feeds.replays.join(connection, feed, min(cursor, feed.last), quiet=True)

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
            self._feeds.positions.request([feed])
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
        """Redis was away: every membership may have changed."""
        for user in self._users.values():
            self._doubtful[user] = None
        self._doubt.set()

    def doubt(self, user: User) -> None:
        """List this user's conversations again, soon."""
        self._doubtful[user] = None
        self._doubt.set()

    async def run(self, stop: asyncio.Event) -> None:
        """List memberships again until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._check_memberships_regularly(stop))
                tasks.create_task(self._check_memberships(stop))
        finally:
            self._tasks.cancel()

    async def _check_memberships_regularly(self, stop: asyncio.Event) -> None:
        slices = 100
        turn = 0
        while not stop.is_set():
            await asyncio.sleep(self._check_seconds / slices)
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
            listed = await self._list(user.user_id, user.tenant_id)
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
            self._tasks.start(self._attach_late(user, self._link(user, conversation_id), None))
