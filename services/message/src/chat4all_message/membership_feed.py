"""Hears of changed conversations and makes the memory of memberships forget them.

Every copy of the process must hear every change, so each has a consumer group of its own, new at each start, that begins at the
end of the topics: what happened before was never remembered here. When the feed breaks, everything is forgotten, a new consumer
begins, and until it is assigned its partitions the memory's own age limit bounds what can be wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import TracebackType

import structlog

from chat4all_message import metrics
from chat4all_message.memberships import Memberships
from chat4all_runtime.events import IncomingRecord
from chat4all_runtime.ids import new_id
from chat4all_runtime.kafka_consumer import BatchConsumer, Rejected
from chat4all_runtime.settings import KafkaSettings

log = structlog.get_logger()

TOPICS = ("conversation.created", "conversation.updated")
_RESTART_SECONDS = 1.0
_JOIN_SECONDS = 5.0


class _Handler:
    """Runs in the consumer's thread; hands what it hears to the loop."""

    def __init__(self, memberships: Memberships, loop: asyncio.AbstractEventLoop) -> None:
        self._memberships = memberships
        self._loop = loop

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        # The key is the conversation: nothing needs to be decoded, so no record can be broken.
        changed = {record.key.decode(errors="replace") for record in records}
        self._loop.call_soon_threadsafe(self._memberships.forget, changed)
        return ()

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        # From here on changes are heard; those before, while nobody listened, were not.
        self._loop.call_soon_threadsafe(self._memberships.forget_all)

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._loop.call_soon_threadsafe(self._memberships.forget_all)


class MembershipFeed:
    """Runs from `__aenter__` to `__aexit__`; restarts its consumer when that ends by an error."""

    def __init__(self, settings: KafkaSettings, instance: str, memberships: Memberships) -> None:
        self._settings = settings
        self._instance = instance
        self._memberships = memberships
        self._consumer: BatchConsumer | None = None

    async def __aenter__(self) -> MembershipFeed:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def not_ready(self) -> str | None:
        """None once changes are heard; for `/health/ready`."""
        return "not started" if self._consumer is None else self._consumer.not_ready()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            broken = asyncio.Event()
            self._consumer = consumer = BatchConsumer(
                self._settings,
                group=f"message-memberships-{self._instance}-{new_id()}",
                instance=None,
                topics=TOPICS,
                handler=_Handler(self._memberships, loop),
                on_stopped=partial(_tell, loop, broken),
                start_at="latest",
            )
            consumer.start()
            try:
                await broken.wait()
            finally:
                consumer.request_stop()
                await asyncio.shield(asyncio.to_thread(consumer.join, _JOIN_SECONDS))
            self._memberships.forget_all()
            metrics.feed_restarts.inc()
            log.warning("membership_feed_restarts", retry_seconds=_RESTART_SECONDS)
            await asyncio.sleep(_RESTART_SECONDS)


def _tell(loop: asyncio.AbstractEventLoop, broken: asyncio.Event, _: BaseException) -> None:
    """Called from the consumer's thread when it ends by an error."""
    loop.call_soon_threadsafe(broken.set)
