"""Tells the gateways over Redis that a session ended, so that they close its sockets.

The end itself is in PostgreSQL; a notice only makes it quick. Notices wait in a bounded queue and are tried again while Redis is
away, for a while: a socket that missed its notice lives until its access token expires.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta

import orjson
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from chat4all_auth import metrics
from chat4all_auth.domain.model import SessionId, UserId
from chat4all_runtime.clock import Clock

log = structlog.get_logger()

_FRAME = orjson.dumps({"type": "error", "reason": "SESSION_ENDED", "message": "The session has ended; sign in again."}).decode()
_CAPACITY = 10_000
_RETRY_SECONDS = 0.5


class RedisSessionNotices:
    """Implements `repository.SessionNotices`; `run` publishes.

    Args:
        keep: how long a notice is tried; longer than an access token lives is of no use.
    """

    def __init__(self, client: redis.asyncio.Redis, clock: Clock, keep: timedelta) -> None:
        self._client = client
        self._clock = clock
        self._keep = keep
        self._waiting: deque[tuple[float, str, str]] = deque()
        self._news = asyncio.Event()

    def session_ended(self, user_id: UserId, session_id: SessionId | None) -> None:
        """One session of the user ended, or all with None. When the queue is full the oldest notice is dropped."""
        if len(self._waiting) >= _CAPACITY:
            self._waiting.popleft()
            metrics.session_notices.labels("dropped").inc()
        line = f"k\t0\t{user_id}\t{session_id or '*'}\t{_FRAME}"
        drop_at = self._clock.now().timestamp() + self._keep.total_seconds()
        self._waiting.append((drop_at, f"user:{user_id}:events", line))
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop, in order; what waits then is tried once more."""
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({news, stopping}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                self._news.clear()
                if not await self._publish_waiting():
                    self._news.set()
                    await asyncio.wait({stopping}, timeout=_RETRY_SECONDS)
        finally:
            stopping.cancel()
        await self._publish_waiting()

    async def _publish_waiting(self) -> bool:
        while self._waiting:
            notice = self._waiting[0]
            drop_at, channel, line = notice
            try:
                if self._clock.now().timestamp() < drop_at:
                    await self._client.publish(channel, line)
                    outcome = "published"
                else:
                    outcome = "dropped"
            except (RedisError, OSError) as error:
                log.warning("session_notice_delayed", waiting=len(self._waiting), error=str(error))
                return False
            metrics.session_notices.labels(outcome).inc()
            if self._waiting and self._waiting[0] is notice:  # else it was dropped by a full queue meanwhile
                self._waiting.popleft()
        return True
