"""Bringing sockets that come back to the position of their conversation's feed: exactly the missing part, in order, once.

The order that closes every race: the feed is subscribed and has a position read from the store after the hello; the socket is
not live on the feed; pages are read from the log and written up to the feed's position (what a page holds beyond it fills the
feed for everybody); in the same step in which the socket has reached the feed it is told `resumed` and becomes live. Entries
delivered meanwhile are remembered by the feed, so a busy conversation cannot outrun its replay.

All or nothing: whether too much was missed is decided before the first entry is written. A replay waits for its socket's write
buffer, never for a time; what a page held beyond the allowance is read again, so memory stays flat however slow the client is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway import answers, closes, metrics
from chat4all_websocket_gateway.backends import Page
from chat4all_websocket_gateway.connection import Connection
from chat4all_websocket_gateway.feed import Feed

log = structlog.get_logger()

_BYTES_AT_ONCE = 128 * 1024
_PATIENCE_SECONDS = 10.0
_MAX_QUEUED = 200_000

ReadPage = Callable[[str, int, int], Awaitable[Page]]


class _Job:
    """One socket on its way to one feed."""

    __slots__ = ("connection", "cursor", "end", "feed", "gives_up_at", "position", "quiet", "ref", "reset", "size", "wait")

    def __init__(self, connection: Connection, feed: Feed, cursor: int, ref: str | None, quiet: bool, size: int) -> None:
        self.connection = connection
        self.feed = feed
        self.cursor = cursor
        self.position = cursor
        self.ref = ref
        self.quiet = quiet
        self.size = size
        # Why nothing is replayed; empty when something is.
        self.reset = ""
        # Set when the member is removed on the way: the last entry they may see.
        self.end: int | None = None
        self.wait = 0.05
        self.gives_up_at = 0.0


class Replays:
    """Answers cursors. `run()` works off what cannot be answered at once, a few at a time.

    Args:
        read: conversation id, after which number, how many → a page of the log.
        max_entries: more missed than this is answered by `reset`.
        page_entries: how many entries are read at once.
        left: told when a socket is no longer on its way to a feed.
    """

    def __init__(self, read: ReadPage, max_entries: int, page_entries: int, left: Callable[[Feed], None]) -> None:
        self._read = read
        self._left = left
        self._max_entries = max_entries
        self._page_entries = page_entries
        self._queue: deque[_Job] = deque()
        self._jobs: dict[Connection, dict[Feed, _Job]] = {}
        self._wake = asyncio.Event()

    def is_joining(self, connection: Connection, feed: Feed) -> bool:
        """Whether this socket is on its way to this feed."""
        return feed in self._jobs.get(connection, ())

    def join(self, connection: Connection, feed: Feed, cursor: int, ref: str | None = None, *, quiet: bool = False) -> None:
        """Bring a socket that is not live on the feed from `cursor` to live. The feed's position must be fresh.

        Args:
            connection: where to write.
            feed: what to join.
            cursor: the last number the client has.
            ref: the client's word for its request, repeated in the answer.
            quiet: say nothing about it, for conversations the client did not ask for; too much missed means live from now.
        """
        end = max(feed.last, feed.target)
        reason = ""
        if cursor > end:
            reason = "CURSOR_AHEAD"
        elif end - cursor > self._max_entries:
            reason = "TOO_MUCH_MISSED"
        job = _Job(connection, feed, cursor, ref, quiet, self._page_entries)
        job.reset = reason
        feed.begin_join()
        self._jobs.setdefault(connection, {})[feed] = job
        if feed.last >= end and (reason or cursor >= end):
            self._finish(job)
            return
        if len(self._queue) >= _MAX_QUEUED:
            self._give_up(job, "too many replays at once")
            return
        job.gives_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        self._enqueue(job)

    def cut(self, connection: Connection, feed: Feed, end: int) -> None:
        """The member was removed by entry `end`: replay up to there and no further."""
        job = self._jobs.get(connection, {}).get(feed)
        if job is not None and job.end is None:
            job.end = end

    def forget_if_cut(self, connection: Connection, feed: Feed) -> None:
        """The member was added again: a replay that would end at their removal gives way to a new one."""
        job = self._jobs.get(connection, {}).get(feed)
        if job is not None and job.end is not None:
            self.forget(connection, feed)

    def forget(self, connection: Connection, feed: Feed) -> None:
        """The socket is no longer to follow this conversation."""
        jobs = self._jobs.get(connection)
        if jobs is not None and jobs.pop(feed, None) is not None:
            if not jobs:
                del self._jobs[connection]
            feed.end_join()
            self._left(feed)

    def forget_all(self, connection: Connection) -> None:
        """The socket is gone."""
        for feed in list(self._jobs.get(connection, ())):
            self.forget(connection, feed)

    async def run(self, stop: asyncio.Event) -> None:
        """One of several workers; ends by cancelling."""
        while not stop.is_set():
            while self._queue:
                await self._advance(self._queue.popleft())
            self._wake.clear()
            await self._wake.wait()

    def _enqueue(self, job: _Job) -> None:
        self._queue.append(job)
        self._wake.set()

    def _resume(self, job: _Job) -> None:
        job.gives_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        self._enqueue(job)

    def _is_over(self, job: _Job) -> bool:
        if self._jobs.get(job.connection, {}).get(job.feed) is not job:
            return True
        if job.connection.muted or job.feed.closed:
            self.forget(job.connection, job.feed)
            return True
        return False

    async def _advance(self, job: _Job) -> None:
        connection, feed = job.connection, job.feed
        while not self._is_over(job):
            if connection.paused:
                connection.when_writable(lambda: self._resume(job))
                return
            if job.reset:
                # The number told must be the end of the log as it was known at the hello; the feed is being filled up to it.
                if not feed.is_behind:
                    self._finish(job)
                    return
                await self._retry_later(job, "LOG_INCOMPLETE")
                continue
            if self._reached(job):
                self._finish(job)
                return
            try:
                page = await self._read(feed.conversation_id, job.position, job.size)
            except DomainError as error:
                await self._retry_later(job, error.reason)
                continue
            if self._is_over(job):
                return
            feed.fill(page.entries)
            if not self._write(job, page):
                await self._retry_later(job, "LOG_INCOMPLETE")

    def _reached(self, job: _Job) -> bool:
        """Write what the feed remembers, when that closes the distance, and say whether the socket has arrived."""
        if job.end is not None and job.position >= job.end:
            return True
        feed = job.feed
        if feed.is_behind:
            return False
        rest = feed.recent_after(job.position)
        if rest is None:
            return False
        for entry in rest:
            if job.end is not None and entry.sequence_number > job.end:
                break
            job.connection.write(entry.wire)
            job.position = entry.sequence_number
            metrics.deliveries.inc()
        return True

    def _write(self, job: _Job, page: Page) -> bool:
        """Write a page up to the feed's position and the allowance; False when nothing in it was next."""
        before, size = job.position, 0
        limit = job.feed.last if job.end is None else min(job.end, job.feed.last)
        for entry in page.entries:
            if entry.sequence_number != job.position + 1 or entry.sequence_number > limit or size > _BYTES_AT_ONCE:
                break
            job.connection.write(entry.wire)
            job.position = entry.sequence_number
            size += len(entry.wire)
        written = job.position - before
        if written:
            metrics.deliveries.inc(written)
            job.gives_up_at = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
            job.wait = 0.05
            # Large entries: ask for no more than can be written at once.
            job.size = written if size > _BYTES_AT_ONCE else self._page_entries
            job.connection.flush()
        return written > 0

    def _finish(self, job: _Job) -> None:
        if not job.quiet and job.reset:
            metrics.replays.labels(f"reset_{job.reset.lower()}").inc()
            job.connection.write(answers.reset(job.feed.conversation_id, job.reset, job.feed.last, job.ref))
        elif not job.quiet:
            metrics.replays.labels("resumed").inc()
            job.connection.write(answers.resumed(job.feed.conversation_id, job.cursor + 1, job.position, job.ref))
        if job.end is None:
            job.feed.live.add(job.connection)
        self.forget(job.connection, job.feed)

    async def _retry_later(self, job: _Job, reason: str) -> None:
        if asyncio.get_running_loop().time() > job.gives_up_at:
            if not self._is_over(job):
                self._give_up(job, reason)
            return
        await asyncio.sleep(job.wait)
        job.wait = min(job.wait * 2, 1.0)

    def _give_up(self, job: _Job, reason: str) -> None:
        """The client has a whole prefix of what it missed and resumes from there with its next socket."""
        log.warning("replay_given_up", conversation_id=job.feed.conversation_id, reason=reason)
        self.forget(job.connection, job.feed)
        job.connection.begin_close(closes.TRY_AGAIN, "replay not possible now")
