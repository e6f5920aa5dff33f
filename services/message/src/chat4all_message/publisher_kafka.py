"""Hands messages to Kafka in the order given: at once when it is quiet, in bursts when many come.

Each hand-over wakes librdkafka's thread and makes a request for each partition in it, whatever it carries. One for each call cost
10 % of the highest rate; bursts at most every few milliseconds cost a single quiet caller nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from confluent_kafka import KafkaError

from chat4all_message.domain.model import Draft
from chat4all_message.events import CommandCodec
from chat4all_runtime.errors import DomainError, unavailable
from chat4all_runtime.events import OutgoingRecord
from chat4all_runtime.kafka_producer import EventProducer, queue_full

Outcome = asyncio.Future[list[KafkaError | None]]


class KafkaCommandPublisher:
    """Publishes `MessageCommand`s. Used from the event loop only.

    Args:
        pace_seconds: least time between two bursts; 0 hands over at once.
    """

    def __init__(self, producer: EventProducer, pace_seconds: float) -> None:
        self._producer = producer
        self._pace_seconds = pace_seconds
        self._codec = CommandCodec()
        self._held: list[tuple[list[OutgoingRecord], Outcome]] = []
        self._not_before = 0.0

    def publish(self, commands: Sequence[tuple[Draft, datetime]]) -> asyncio.Future[Sequence[object | None]]:
        """One future for all; it ends with None for each that all in-sync replicas have, else with Kafka's error."""
        loop = asyncio.get_running_loop()
        outcome: Outcome = loop.create_future()
        record = self._codec.record
        self._held.append(([record(draft, accept_time) for draft, accept_time in commands], outcome))
        if len(self._held) == 1:  # else a burst is due already
            if loop.time() >= self._not_before:
                self._release()
            else:
                loop.call_at(self._not_before, self._release)
        return cast("asyncio.Future[Sequence[object | None]]", outcome)

    def _release(self) -> None:
        self._not_before = asyncio.get_running_loop().time() + self._pace_seconds
        held, self._held = self._held, []
        for records, outcome in held:
            self._producer.send_all(records, outcome)

    def explain(self, failure: object) -> DomainError:
        """RESOURCE_EXHAUSTED when the queue was full, else UNAVAILABLE."""
        return queue_full() if self.never_sent(failure) else unavailable("kafka")

    def never_sent(self, failure: object) -> bool:
        """A record that the queue did not take was never on its way."""
        return isinstance(failure, KafkaError) and failure.code() == KafkaError._QUEUE_FULL
