"""Tells changes to live sockets (Redis, may be lost) and to the rest (Kafka, until acknowledged)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from chat4all_presence import events
from chat4all_presence.domain.model import Change
from chat4all_runtime.errors import unavailable
from chat4all_runtime.kafka_producer import EventProducer

log = structlog.get_logger()


class RedisKafkaPublisher:
    """See `ChangePublisher`. Sockets come first: they do not wait for Kafka.

    Args:
        wait: longest wait for Kafka's acknowledgement; what was not acknowledged by then counts as not told.
    """

    def __init__(self, redis: Redis, producer: EventProducer, wait: timedelta) -> None:
        self._redis = redis
        self._producer = producer
        self._wait_seconds = wait.total_seconds()

    async def publish(self, changes: Sequence[Change]) -> list[Change]:
        """One PUBLISH and one bundle of records for all."""
        try:
            await self._redis.publish(events.CHANNEL, b"\n".join(events.line(change) for change in changes))
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable("redis") from error
        sending = self._producer.send_all([events.record(change) for change in changes])
        try:
            results = await asyncio.wait_for(asyncio.shield(sending), self._wait_seconds)
        except TimeoutError:
            log.warning("presence_changes_not_acknowledged", count=len(changes))
            return []
        return [change for change, error in zip(changes, results, strict=True) if error is None]
