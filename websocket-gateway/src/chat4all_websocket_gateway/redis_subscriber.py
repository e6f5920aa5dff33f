"""The live connection to Redis: one socket, one hiredis reader, thousands of channels.

redis-py's listener costs 8 µs for each message and does not notice a connection whose packets vanish. Here a message is a
dictionary look-up and a call, and a canary proves every few seconds that the whole way works: on the connection itself we
publish to a channel we are subscribed to, and what does not come back within the deadline means deaf (RESP3 allows commands
on a subscribed connection; Redis 6 and Valkey 7 speak it).

Pub/sub loses what is published while we are away. `on_restored` tells the owner so, after every channel is subscribed again.

Concurrency: everything runs on the loop's thread. `run()` is the only task; messages are handled inside `data_received`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import hiredis
import structlog

from chat4all_runtime.ids import new_id
from chat4all_websocket_gateway import metrics

log = structlog.get_logger()

Handler = Callable[[bytes], None]

_CHANNELS_PER_COMMAND = 500
_UNFINISHED = object()
# Commands waiting in our own buffer; typing notices beyond it are dropped, they are worth nothing later.
_MAX_UNSENT_BYTES = 1024 * 1024


class _Link(asyncio.Protocol):
    """One connection from made to lost."""

    def __init__(self, handlers: dict[bytes, Handler]) -> None:
        self._handlers = handlers
        self._reader = hiredis.Reader(notEnoughData=_UNFINISHED)
        self._expected: deque[asyncio.Future[Any] | None] = deque()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass of asyncio's

    def connection_lost(self, error: Exception | None) -> None:
        for future in self._expected:
            if future is not None and not future.done():
                future.cancel()
        self._expected.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def tell(self, *words: bytes) -> None:
        """Send a command whose answer does not matter."""
        if not self.transport.is_closing():
            self._expected.append(None)
            self.transport.write(_pack(words))

    def ask(self, *words: bytes) -> asyncio.Future[Any]:
        """Send a command; the future of its answer is cancelled when the connection is lost."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            future.cancel()
        else:
            self._expected.append(future)
            self.transport.write(_pack(words))
        return future

    def channels(self, verb: bytes, names: Iterable[bytes]) -> None:
        """Send SUBSCRIBE or UNSUBSCRIBE; RESP3 answers those with pushes only."""
        if not self.transport.is_closing():
            words = list(names)
            for start in range(0, len(words), _CHANNELS_PER_COMMAND):
                self.transport.write(_pack((verb, *words[start : start + _CHANNELS_PER_COMMAND])))

    def data_received(self, data: bytes) -> None:
        reader, handlers = self._reader, self._handlers
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _UNFINISHED:
                if type(reply) is hiredis.PushNotification:
                    if reply[0] == b"message" and (handler := handlers.get(reply[1])) is not None:
                        _handle(handler, reply[2])
                else:
                    self._answered(reply)
        except hiredis.ProtocolError as error:
            log.warning("redis_protocol_broken", error=str(error))
            self.transport.abort()

    def _answered(self, reply: Any) -> None:
        future = self._expected.popleft() if self._expected else None
        if future is not None and not future.done():
            future.set_result(reply)
        elif isinstance(reply, hiredis.ReplyError):
            log.warning("redis_refused_a_command", error=str(reply))


def _pack(words: tuple[bytes, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # the stub says a tuple of one
    return packed


def _handle(handler: Handler, payload: bytes) -> None:
    try:
        handler(payload)
    except Exception:
        # One line that cannot be read must not cost every other conversation its connection.
        metrics.lines_refused.inc()
        log.exception("live_message_failed")


class RedisSubscriber:
    """Channels and their handlers, kept subscribed over every loss of the connection.

    Args:
        url: redis:// or rediss://, with user, password and port as usual; the database number does not matter for pub/sub.
        canary_seconds: how often the way is proved; the deadline for the proof is as long, 5 s at most.
        on_restored: called when all channels are subscribed, the first time included.
    """

    def __init__(self, url: str, canary_seconds: float, on_restored: Callable[[], None]) -> None:
        self._url = urlsplit(url)
        self._canary_seconds = canary_seconds
        self._deadline_seconds = min(canary_seconds, 5.0)
        self._on_restored = on_restored
        self._canary = f"gateway:{new_id()}:canary".encode()
        self._heard: asyncio.Future[None] | None = None
        self._handlers: dict[bytes, Handler] = {self._canary: self._canary_came}
        self._link: _Link | None = None
        self._barrier: asyncio.Future[bool] | None = None
        self.connected = False

    def subscribe(self, channel: bytes, handler: Handler) -> None:
        """Call `handler` with each payload from now on; `barrier()` tells when that is true."""
        self._handlers[channel] = handler
        if self._link is not None:
            self._link.channels(b"SUBSCRIBE", (channel,))

    def unsubscribe(self, channel: bytes) -> None:
        """No more of that channel."""
        if self._handlers.pop(channel, None) is not None and self._link is not None:
            self._link.channels(b"UNSUBSCRIBE", (channel,))

    def publish(self, channel: bytes, payload: bytes) -> bool:
        """Publish without waiting; False when there is no room or no connection. Nobody is told when it is lost."""
        if self._link is None or self._link.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            return False
        self._link.tell(b"PUBLISH", channel, payload)
        return True

    async def barrier(self, timeout_seconds: float) -> bool:
        """Wait until everything asked for before is in force; False when Redis is away or does not answer in time.

        Redis works through a connection's commands in order, so the answer to a PING proves all before it.
        """
        if self._barrier is None:
            if self._link is None or not self.connected:
                return False
            self._barrier = asyncio.ensure_future(self._prove(self._link))
            # Whoever asks within this tick shares the answer; later ones need a later PING.
            asyncio.get_running_loop().call_soon(self._begin_next_barrier)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(self._barrier)
        except TimeoutError:
            return False

    def _begin_next_barrier(self) -> None:
        self._barrier = None

    async def _prove(self, link: _Link) -> bool:
        # Started on the next tick, so it comes after all that was asked for in this one.
        answer = link.ask(b"PING")
        await asyncio.wait({answer}, timeout=self._deadline_seconds)
        return answer.done() and not answer.cancelled() and not isinstance(answer.result(), hiredis.ReplyError)

    async def run(self, stop: asyncio.Event) -> None:
        """Stay connected until told to stop."""
        wait = 0.05
        while not stop.is_set():
            link = await self._connect()
            if link is not None:
                self._link = link
                if await self._open(link):
                    wait = 0.05
                    self.connected = True
                    metrics.redis_connected.set(1)
                    self._on_restored()
                    await self._watch(link, stop)
                self._link, self.connected = None, False
                metrics.redis_connected.set(0)
                link.transport.abort()
                if not stop.is_set():
                    metrics.redis_reconnects.inc()
                    log.warning("redis_live_connection_lost", channels=len(self._handlers))
            if not stop.is_set():
                await _wait_for(stop, wait * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
                wait = min(wait * 2, 2.0)

    async def _connect(self) -> _Link | None:
        url = self._url
        context = ssl.create_default_context() if url.scheme == "rediss" else None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: _Link(self._handlers), url.hostname or "127.0.0.1", url.port or 6379, ssl=context
                )
        except (OSError, TimeoutError) as error:
            log.warning("redis_not_reachable", error=str(error) or type(error).__name__)
            return None
        return link

    async def _open(self, link: _Link) -> bool:
        words = [b"HELLO", b"3"]
        if self._url.password is not None:
            user = unquote(self._url.username or "default")
            words += [b"AUTH", user.encode(), unquote(self._url.password).encode()]
        hello = link.ask(*words)
        await asyncio.wait({hello}, timeout=self._deadline_seconds)
        if not hello.done() or hello.cancelled():
            return False
        if isinstance(hello.result(), hiredis.ReplyError):
            log.error("redis_refused_hello", error=str(hello.result()))
            return False
        link.channels(b"SUBSCRIBE", list(self._handlers))
        return await self._canary_returns(link)

    async def _watch(self, link: _Link, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while True:
                either: set[asyncio.Future[Any]] = {link.lost, stopped}
                await asyncio.wait(either, timeout=self._canary_seconds, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set() or link.lost.done():
                    return
                if not await self._canary_returns(link):
                    log.warning("redis_connection_deaf", deadline_seconds=self._deadline_seconds)
                    return
        finally:
            stopped.cancel()

    async def _canary_returns(self, link: _Link) -> bool:
        self._heard = asyncio.get_running_loop().create_future()
        link.tell(b"PUBLISH", self._canary, b"tweet")
        either: set[asyncio.Future[None]] = {self._heard, link.lost}
        await asyncio.wait(either, timeout=self._deadline_seconds, return_when=asyncio.FIRST_COMPLETED)
        return self._heard.done()

    def _canary_came(self, payload: bytes) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)


async def _wait_for(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
