"""Hands messages to Kafka in the order given, within the step of the loop that asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import cast

from confluent_kafka import KafkaError

from chat4all_message.domain.model import Draft
from chat4all_message.events import CommandCodec
from chat4all_runtime.errors import DomainError, unavailable
from chat4all_runtime.kafka_producer import EventProducer, queue_full


class KafkaCommandPublisher:
    """Publishes `MessageCommand`s."""

    def __init__(self, producer: EventProducer) -> None:
        self._producer = producer
        self._codec = CommandCodec()

    def publish(self, commands: Sequence[tuple[Draft, datetime]]) -> asyncio.Future[Sequence[object | None]]:
        """One future for all; it ends with None for each that all in-sync replicas have, else with Kafka's error."""
        record = self._codec.record
        future = self._producer.send_all([record(draft, accept_time) for draft, accept_time in commands])
        return cast("asyncio.Future[Sequence[object | None]]", future)

    def explain(self, failure: object) -> DomainError:
        """RESOURCE_EXHAUSTED when the queue was full, else UNAVAILABLE."""
        return queue_full() if self.never_sent(failure) else unavailable("kafka")

    def never_sent(self, failure: object) -> bool:
        """A record that the queue did not take was never on its way."""
        return isinstance(failure, KafkaError) and failure.code() == KafkaError._QUEUE_FULL
