"""Announcing through Kafka: a batch of records, all acknowledged or none counts."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException

from chat4all_runtime.events import OutgoingRecord
from chat4all_runtime.kafka_consumer import RetryLater
from chat4all_runtime.kafka_producer import BlockingProducer

# Well within the consumer's poll interval and the process's hard stop.
TIMEOUT_SECONDS = 10.0


class KafkaAnnouncer:
    """For the router's thread only."""

    def __init__(self, producer: BlockingProducer) -> None:
        self._producer = producer

    def send_and_wait(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when all in-sync replicas have every record.

        Raises:
            RetryLater: not all were acknowledged; some may be there.
        """
        if not records:
            return
        try:
            self._producer.send_and_wait(records, TIMEOUT_SECONDS)
        except KafkaException as error:
            raise RetryLater(f"kafka, announce: {error}") from error
