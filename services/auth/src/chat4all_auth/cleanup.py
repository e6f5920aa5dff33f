"""Removes sessions and refresh tokens that can no longer be used, so that the tables stay as large as what is alive."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from chat4all_auth.store_postgres_sessions import PostgresSessions
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import DomainError

log = structlog.get_logger()

_BATCH = 1000


class Cleanup:
    """A loop in every copy of the process; copies share the work row by row.

    Args:
        keep: how long an ended session stays, so that one can look up when and why it ended. Tokens of living sessions go
            as soon as they expire: up to then a second use is still noticed.
    """

    def __init__(self, sessions: PostgresSessions, clock: Clock, interval: timedelta, keep: timedelta) -> None:
        self._sessions = sessions
        self._clock = clock
        self._interval = interval
        self._keep = keep

    async def run(self, stop: asyncio.Event) -> None:
        """Clean, pause, clean again, until told to stop."""
        while not stop.is_set():
            try:
                await self.clean(stop)
            except DomainError as error:
                log.warning("cleanup_put_off", reason=error.reason)
            try:
                await asyncio.wait_for(stop.wait(), self._interval.total_seconds())
            except TimeoutError:
                continue

    async def clean(self, stop: asyncio.Event) -> int:
        """Remove all there is now, in batches; how many rows went."""
        now = self._clock.now()
        total = 0
        while not stop.is_set():
            removed = await self._sessions.delete_unusable(now - self._keep, now, _BATCH)
            total += removed
            if removed == 0:
                break
        if total:
            log.info("cleanup_done", rows=total)
        return total
