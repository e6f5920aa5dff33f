"""All sockets of the process: counted, kept alive, ended, sent away. One timer for all of them.

Once a second each socket is looked at: silent ones are pinged and later closed, those without a hello or with an expired token
are closed, those whose closing handshake does not end are cut off, paused ones are read again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from chat4all_websocket_gateway import answers, closes, metrics
from chat4all_websocket_gateway.connection import Connection, Phase
from chat4all_websocket_gateway.settings import WebsocketSettings

log = structlog.get_logger()

_CLOSING_SECONDS = 3.0


class Connections:
    """See the module."""

    def __init__(self, settings: WebsocketSettings) -> None:
        self._settings = settings
        self._all: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing: dict[Connection, float] = {}
        self._paused: list[Connection] = []
        self._tick = min(1.0, settings.heartbeat_seconds / 4, settings.hello_timeout_seconds / 4)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def full(self) -> bool:
        """Whether no further socket may come."""
        return len(self._all) >= self._settings.max_sockets

    def add(self, connection: Connection) -> None:
        """A socket was opened."""
        self._all.add(connection)
        self._empty.clear()
        metrics.sockets.set(len(self._all))

    def remove(self, connection: Connection) -> None:
        """A socket is gone."""
        self._all.discard(connection)
        self._closing.pop(connection, None)
        if not self._all:
            self._empty.set()
        metrics.sockets.set(len(self._all))

    def closing(self, connection: Connection) -> None:
        """Cut the socket off when its closing handshake does not end."""
        self._closing.setdefault(connection, connection.loop.time() + _CLOSING_SECONDS)

    def flooding(self, connection: Connection) -> None:
        """Read this socket again with the next tick."""
        self._paused.append(connection)

    async def run(self, stop: asyncio.Event) -> None:
        """Look at all sockets until cancelled."""
        while not stop.is_set():
            await asyncio.sleep(self._tick)
            self._look()

    def _look(self) -> None:
        loop_time, wall_time = asyncio.get_running_loop().time(), time.time()
        settings = self._settings
        paused, self._paused = self._paused, []
        for connection in paused:
            if connection.phase is Phase.GREETING:
                self._paused.append(connection)  # what it says before its welcome is kept, so it must not say much
            else:
                connection.resume_reading()
        ping_before = loop_time - settings.heartbeat_seconds
        close_before = ping_before - settings.heartbeat_timeout_seconds
        hello_before = loop_time - settings.hello_timeout_seconds
        # A copy: closing may call back.
        for connection in list(self._all):
            if connection.muted:
                continue
            if connection.last_heard < ping_before:
                if connection.last_heard < close_before:
                    connection.begin_close(closes.SILENT, "no sign of life")
                    continue
                if not connection.pinged:
                    connection.ping()
            if connection.phase is Phase.WAITING_FOR_HELLO:
                if connection.opened_at < hello_before:
                    connection.write(answers.error("HELLO_REQUIRED", "No hello came in time."))
                    connection.begin_close(closes.NOT_SIGNED_IN, "no hello in time")
            elif connection.phase is Phase.OPEN and connection.expires_at <= wall_time:
                connection.write(answers.error("TOKEN_EXPIRED", "The token has expired; connect again with a new one."))
                connection.begin_close(closes.TOKEN_EXPIRED, "token expired")
        for connection in [connection for connection, end in self._closing.items() if end < loop_time]:
            connection.transport.abort()

    async def drain(self) -> None:
        """Send everybody away, each at a random moment within the time for it, and wait until all are gone."""
        seconds = self._settings.drain_seconds
        loop = asyncio.get_running_loop()
        leaving: list[tuple[float, Connection]] = []
        for connection in self._all:
            after = random.uniform(0, seconds)  # noqa: S311  # spreads reconnects, not a secret
            connection.write(answers.drain(int(after * 1000)))
            leaving.append((loop.time() + after, connection))
        log.info("draining", sockets=len(leaving), seconds=seconds)
        leaving.sort(key=lambda item: item[0], reverse=True)
        while leaving:
            at, connection = leaving.pop()
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            connection.begin_close(closes.SERVICE_RESTART, "service restart")
        await self._gone(_CLOSING_SECONDS)
        for connection in list(self._all):
            connection.transport.abort()
        await self._gone(1.0)

    async def _gone(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return


def origin_check(allowed: list[str]) -> Callable[[str], bool]:
    """Whether a browser's `Origin` may connect. `:*` at the end of an allowed one stands for any port or none."""
    exact = {origin for origin in allowed if not origin.endswith(":*")}
    any_port = {origin[:-2] for origin in allowed if origin.endswith(":*")}

    def check(origin: str) -> bool:
        if origin in exact or origin in any_port:
            return True
        base, separator, port = origin.rpartition(":")
        return bool(separator) and port.isdigit() and base in any_port

    return check
