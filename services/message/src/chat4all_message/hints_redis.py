"""Listens on the live channels of conversations in which somebody waits for a message to be stored.

One connection for all of them. Nothing depends on it: what it misses is found by asking the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType

import redis.asyncio
import structlog
from redis.exceptions import RedisError

log = structlog.get_logger()

_LONGEST_BACKOFF_SECONDS = 2.0
# Keeps the connection in subscriber state while nobody waits; nothing is published there.
_IDLE_CHANNEL = b"message-service:idle"


def channel(conversation_id: str) -> bytes:
    """Where the router publishes what it stored in this conversation."""
    return f"conversation:{conversation_id}:events".encode()


def stored_ids(payload: bytes) -> list[str]:
    """The ids of the log entries in one publication: lines of kind, number, sender, id and frame, joined by tabs."""
    ids = []
    for line in payload.split(b"\n"):
        fields = line.split(b"\t", 4)
        if len(fields) == 5 and fields[0] in (b"e", b"r"):
            ids.append(fields[3].decode(errors="replace"))
    return ids


class RedisHints:
    """Listens from `__aenter__` to `__aexit__`; connects again by itself.

    Args:
        heard: is given the ids of entries that were published.
    """

    def __init__(self, client: redis.asyncio.Redis, heard: Callable[[Iterable[str]], None]) -> None:
        self._client = client
        self._heard = heard
        self._wanted: set[bytes] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> RedisHints:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def follow(self, conversation_id: str) -> None:
        """Listen to this conversation soon."""
        self._wanted.add(channel(conversation_id))
        self._changed.set()

    def unfollow(self, conversation_id: str) -> None:
        """Listen no longer."""
        self._wanted.discard(channel(conversation_id))
        self._changed.set()

    async def _run(self) -> None:
        backoff = 0.2
        while True:
            pubsub = self._client.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(_IDLE_CHANNEL)
                backoff = 0.2
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep_subscribed(pubsub))
                    group.create_task(self._listen(pubsub))
            except* (RedisError, OSError) as errors:
                log.warning("hints_away", error=str(errors.exceptions[0]), retry_seconds=backoff)
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis publishes no type for it
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)

    async def _keep_subscribed(self, pubsub: redis.asyncio.client.PubSub) -> None:
        """Bring the subscriptions to what is wanted, in as few commands as there are changes between two looks."""
        subscribed: set[bytes] = set()
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = set(self._wanted)
            if new := wanted - subscribed:
                await pubsub.subscribe(*new)
            if old := subscribed - wanted:
                await pubsub.unsubscribe(*old)
            subscribed = wanted

    async def _listen(self, pubsub: redis.asyncio.client.PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            if message is not None and message["type"] == "message":
                self._heard(stored_ids(message["data"]))
