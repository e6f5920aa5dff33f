"""Keeps readiness honest: asks PostgreSQL every few seconds whether it is there."""

from __future__ import annotations

import asyncio

import asyncpg

from chat4all_auth.postgres_errors import postgres_guard
from chat4all_runtime.errors import DomainError

_EVERY_SECONDS = 2.0
_TIMEOUT_SECONDS = 2.0


class PostgresWatch:
    """A check for `Health.require`; `run` keeps it up to date."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._reason: str | None = None

    def why_not(self) -> str | None:
        """None while PostgreSQL answers."""
        return self._reason

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop."""
        while not stop.is_set():
            try:
                with postgres_guard():
                    async with self._pool.acquire(timeout=_TIMEOUT_SECONDS) as connection:
                        await connection.execute("select 1", timeout=_TIMEOUT_SECONDS)
                self._reason = None
            except DomainError:
                self._reason = "PostgreSQL does not answer"
            try:
                await asyncio.wait_for(stop.wait(), _EVERY_SECONDS)
            except TimeoutError:
                continue
