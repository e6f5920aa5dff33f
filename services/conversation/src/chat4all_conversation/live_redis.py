"""Tells connected clients through Redis pub/sub, behind the calls: nobody waits for Redis, and nothing rests on it.

One task owns the queue. What is waiting goes out together: one pipeline, one PUBLISH per channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

import redis.asyncio
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from chat4all_conversation.domain.facts import Fact
from chat4all_conversation.frames import Line, lines

log = structlog.get_logger()

# Lines of one pipeline: bounds the size of a PUBLISH and the time Redis is kept busy.
_MAX_LINES = 1000
_STOP_SECONDS = 3.0

live_lines = Counter(
    "chat4all_conversation_live_lines_total", "Lines for connected clients, by what became of them.", ["outcome"]
)
for _outcome in ("published", "dropped", "failed"):
    live_lines.labels(_outcome)


class RedisLive:
    """Publishes from `__aenter__` to `__aexit__`, which sends what is waiting, three seconds at most.

    Args:
        queue_size: lines that may wait; when it is full, new ones are dropped and counted: clients catch up by sync.
        on_failed: told when the task ended by a defect; the process must end.
    """

    def __init__(self, client: redis.asyncio.Redis, queue_size: int, on_failed: Callable[[BaseException], None]) -> None:
        self._client = client
        self._queue: asyncio.Queue[Line | None] = asyncio.Queue(queue_size + 1)
        self._queue_size = queue_size
        self._on_failed = on_failed

    def tell(self, facts: Sequence[Fact]) -> None:
        """Queue what connected clients should see now. Never waits, never fails."""
        for fact in facts:
            for line in lines(fact):
                if self._queue.qsize() >= self._queue_size:
                    live_lines.labels("dropped").inc()
                else:
                    self._queue.put_nowait(line)

    async def __aenter__(self) -> RedisLive:
        self._task = asyncio.create_task(self._run(), name="live-redis")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._queue.put_nowait(None)  # there is always room for it: `tell` leaves one place free
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._client.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)

    async def _run(self) -> None:
        going_on = True
        while going_on:
            batch = [await self._queue.get()]
            while len(batch) < _MAX_LINES and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            going_on = None not in batch
            await self._publish([line for line in batch if line is not None])

    async def _publish(self, batch: Sequence[Line]) -> None:
        if not batch:
            return
        channels: dict[str, list[bytes]] = {}
        for channel, line in batch:
            channels.setdefault(channel, []).append(line)
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for channel, waiting in channels.items():
                    pipeline.publish(channel, b"\n".join(waiting))
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("live_publish_failed", lines=len(batch), channels=len(channels), error=str(error))
            live_lines.labels("failed").inc(len(batch))
        else:
            live_lines.labels("published").inc(len(batch))
