"""The background loop of the process: every half second it lets silent devices go and tells changes.

Every copy of the service runs it; the store gives each change to one of them. It costs one round trip a tick when idle, and
goes on by itself when Redis comes back.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Counter

from chat4all_presence.usecases import AnnounceChanges
from chat4all_runtime.errors import DomainError

log = structlog.get_logger()

failed_ticks = Counter("chat4all_presence_failed_ticks_total", "Rounds of the announcer that failed.", ["reason"])


class Announcer:
    """Runs `AnnounceChanges` until told to stop; a step under way is finished."""

    def __init__(self, announce: AnnounceChanges, tick: timedelta) -> None:
        self._announce = announce
        self._tick_seconds = tick.total_seconds()
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """Why the last round failed, None when it did not; for readiness."""
        return self._trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Return soon after `stop` is set."""
        while not stop.is_set():
            if await self._round():
                continue
            try:
                await asyncio.wait_for(stop.wait(), self._tick_seconds)
            except TimeoutError:
                continue

    async def _round(self) -> bool:
        try:
            more = await self._announce()
        except DomainError as error:
            if self._trouble is None:
                log.warning("presence_announcer_waits", reason=error.reason)
            self._trouble = error.message
            failed_ticks.labels(error.reason).inc()
            return False
        if self._trouble is not None:
            log.info("presence_announcer_goes_on")
            self._trouble = None
        return more
