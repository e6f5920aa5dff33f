"""Consuming in batches, at least once: take what is there, let the handler have its effect, then commit.

One thread owns the consumer, the handler runs in it, so no record is in flight when partitions are taken away. The verdicts of
a handler are decided here, not in each handler:

- it returns: done or already done; offsets are committed. Records it names as rejected go to `<topic>.dlq` first.
- it raises `RetryLater`: an outside system is unwell; the same batch again after a backoff, partitions paused, membership kept.
- it raises anything else: our defect. The batch is tried record by record; one that fails three times is dead-lettered with the
  error's name, so that a poison record never blocks its partition. Too many of those in a row stop the consumer.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from chat4all_runtime import metrics
from chat4all_runtime.events import IncomingRecord, OutgoingRecord
from chat4all_runtime.kafka_producer import BlockingProducer
from chat4all_runtime.settings import KafkaSettings

log = structlog.get_logger()

DEAD_LETTERS_IN_A_ROW = 100
_TRIES_PER_RECORD = 3


class RetryLater(Exception):
    """An outside system is unwell; try the same records again."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can never work, and why (UPPER_SNAKE_CASE with a sentence)."""

    record: IncomingRecord
    reason: str
    detail: str


class BatchHandler(Protocol):
    """What a worker does with records. Runs in the consumer's thread; safe to run twice on the same records."""

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Have the whole effect of the batch, durably, and return; name the records that can never work."""
        ...

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """These partitions are ours from now on."""
        ...

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """These are no longer ours; forget what was kept about them."""
        ...


class BatchConsumer:
    """Runs one consumer of a group.

    Args:
        group: consumer group; one per deployable.
        instance: stable name of this copy over restarts (static membership): a restarted copy gets its partitions back at once.
        max_batch: most records in one batch.
        on_stopped: called from the thread when it ends by an error.
        fetch_min_bytes, fetch_wait_ms: the broker answers when so much is there or so long has passed;
            larger values save CPU and add delay.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        group: str,
        instance: str | None,
        topics: Sequence[str],
        handler: BatchHandler,
        on_stopped: Callable[[BaseException], None],
        max_batch: int = 500,
        fetch_min_bytes: int = 1,
        fetch_wait_ms: int = 500,
        start_at: str = "earliest",
    ) -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": start_at,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": max(1000, settings.session_timeout_ms // 4),
            "max.poll.interval.ms": 300_000,
            "fetch.min.bytes": fetch_min_bytes,
            "fetch.wait.max.ms": fetch_wait_ms,
            "fetch.error.backoff.ms": 100,
            "fetch.queue.backoff.ms": 10,
            "isolation.level": "read_committed",
            "socket.nagle.disable": True,
            "reconnect.backoff.max.ms": 1000,
            "error_cb": self._on_error,
            "log.connection.close": False,
        }
        if instance is not None:
            config["group.instance.id"] = f"{group}-{instance}"
        self._group = group
        self._topics = list(topics)
        self._handler = handler
        self._on_stopped = on_stopped
        self._max_batch = max_batch
        self._config = config
        self._dead_letters = BlockingProducer(settings)
        self._stop = threading.Event()
        self._owned: dict[tuple[str, int], int | None] = {}
        self._row = 0
        self._assigned_once = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"consumer-{group}", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()

    def request_stop(self) -> None:
        """Finish the batch in hand, commit, leave."""
        self._stop.set()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; False when it did not come in time."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def not_live(self) -> str | None:
        """Why this consumer does no work, None when it does; for `/health/live`."""
        return None if self._thread.is_alive() else "the consumer thread has ended; restart the process and read its log"

    def not_ready(self) -> str | None:
        """None once the group has told this copy its share, which may be empty."""
        return None if self._assigned_once.is_set() else "waiting for the group to assign partitions"

    def _run(self) -> None:
        try:
            self._consumer = Consumer(self._config)
            self._consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
            try:
                while not self._stop.is_set():
                    records = self._take()
                    if records:
                        self._work(records)
            finally:
                self._consumer.close()
        except BaseException as error:
            log.exception("consumer_failed", group=self._group)
            self._on_stopped(error)

    def _take(self) -> list[IncomingRecord]:
        """The first record as soon as it comes, and with it what else is there. No wait for a batch to fill."""
        messages = self._consumer.consume(1, 0.5)
        if messages:
            messages += self._consumer.consume(self._max_batch - 1, 0)
        records = []
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal() or not (error.retriable() or error.code() in _PASSING):
                    raise KafkaException(error)
                log.warning("consume_error", group=self._group, code=error.name())
                continue
            records.append(self._record(message))
        return records

    def _record(self, message: Any) -> IncomingRecord:
        place = (message.topic(), message.partition())
        return IncomingRecord(
            topic=place[0],
            partition=place[1],
            offset=message.offset(),
            key=message.key() or b"",
            value=message.value() or b"",
            headers=dict(message.headers() or ()),
            redelivered=message.offset() < self._replay_end(place),
        )

    def _replay_end(self, place: tuple[str, int]) -> int:
        """First offset that did not exist when the partition became ours: all before it may have been handled already."""
        end = self._owned.get(place)
        if end is None:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=10.0)
            self._owned[place] = end
        return end

    def _work(self, records: list[IncomingRecord]) -> None:
        started = time.perf_counter()
        rejected = self._attempt(records)
        if rejected is None:
            return
        if rejected:
            self._bury(rejected)
        self._row = self._row + len(rejected) if len(rejected) == len(records) else len(rejected)
        self._commit(records)
        metrics.kafka_batch_seconds.labels(self._group).observe(time.perf_counter() - started)
        for topic in {record.topic for record in records}:
            count = sum(1 for record in records if record.topic == topic)
            metrics.kafka_consumed_records.labels(topic, "handled").inc(count)
        if self._row >= DEAD_LETTERS_IN_A_ROW:
            raise RuntimeError(
                f"{self._row} records in a row were dead-lettered: the fault is not in the records. Consumer {self._group} stops."
            )

    def _attempt(self, records: list[IncomingRecord]) -> list[Rejected] | None:
        """What was rejected, or None when the batch is no longer ours or the process shall end."""
        tries = 0
        backoff = 0.05
        while True:
            try:
                return list(self._handler.handle(records))
            except RetryLater as error:
                log.warning(
                    "batch_retry",
                    group=self._group,
                    records=len(records),
                    error=str(error),
                    backoff_seconds=round(backoff, 2),
                )
                if not self._wait(backoff * random.uniform(0.8, 1.2)):  # noqa: S311  # jitter, not cryptography
                    return None
                backoff = min(backoff * 2, 2.0)
                records[:] = [record for record in records if (record.topic, record.partition) in self._owned]
                if not records:
                    return None
            except Exception as error:
                tries += 1
                log.exception("batch_failed", group=self._group, records=len(records), tries=tries)
                if len(records) > 1:
                    return self._attempt_each(records)
                if tries >= _TRIES_PER_RECORD:
                    return [Rejected(records[0], "UNEXPECTED_ERROR", f"{type(error).__name__}: {error}")]

    def _attempt_each(self, records: list[IncomingRecord]) -> list[Rejected] | None:
        rejected: list[Rejected] = []
        for record in records:
            result = self._attempt([record])
            if result is None:
                return None
            rejected += result
        return rejected

    def _wait(self, seconds: float) -> bool:
        """Stay a member of the group while waiting; False when the process shall end."""
        owned = [TopicPartition(*place) for place in self._owned]
        self._consumer.pause(owned)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            message = self._consumer.poll(min(left, 0.2))
            if message is not None and message.error() is None:
                # A partition that came to us while paused: read it again from here later.
                self._consumer.seek(_place_of(message))
        self._consumer.resume([TopicPartition(*place) for place in self._owned])
        return not self._stop.is_set()

    def _bury(self, rejected: Sequence[Rejected]) -> None:
        letters = []
        for item in rejected:
            record = item.record
            headers: list[tuple[str, str | bytes | None]] = [
                (name, value) for name, value in record.headers.items() if not name.startswith("dlq_")
            ]
            headers += [
                ("dlq_reason", item.reason.encode()),
                ("dlq_detail", item.detail[:500].encode()),
                ("dlq_topic", record.topic.encode()),
                ("dlq_partition", str(record.partition).encode()),
                ("dlq_offset", str(record.offset).encode()),
                ("dlq_group", self._group.encode()),
                ("dlq_time_ms", str(int(time.time() * 1000)).encode()),
            ]
            letters.append(OutgoingRecord(f"{record.topic}.dlq", record.key, record.value, headers))
            metrics.kafka_consumed_records.labels(record.topic, "dead_lettered").inc()
            log.error(
                "record_dead_lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=item.reason,
            )
        while not self._stop.is_set():
            try:
                self._dead_letters.send_and_wait(letters)
                return
            except KafkaException as error:
                log.warning("dead_letter_retry", error=str(error))

    def _commit(self, records: Sequence[IncomingRecord]) -> None:
        ends: dict[tuple[str, int], int] = {}
        for record in records:
            place = (record.topic, record.partition)
            if place in self._owned:
                ends[place] = max(ends.get(place, 0), record.offset + 1)
        try:
            if ends:
                self._consumer.commit(offsets=[TopicPartition(*place, end) for place, end in ends.items()], asynchronous=True)
        except KafkaException as error:
            # Not lost: the records come again, and handlers are safe to run twice.
            log.warning("commit_failed", group=self._group, error=str(error))

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(part.topic, part.partition) for part in partitions]
        for place in places:
            self._owned[place] = None
        self._handler.assigned(places)
        self._assigned_once.set()
        log.info("partitions_assigned", group=self._group, added=len(places), owned=len(self._owned))

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, "partitions_revoked")

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, "partitions_lost")

    def _give_up(self, partitions: list[TopicPartition], event: str) -> None:
        places = [(part.topic, part.partition) for part in partitions]
        for place in places:
            self._owned.pop(place, None)
        self._handler.revoked(places)
        log.info(event, group=self._group, removed=len(places), owned=len(self._owned))

    def _on_error(self, error: KafkaError) -> None:
        log.warning("kafka_consumer_error", group=self._group, code=error.name(), error=error.str())


def _place_of(message: Any) -> TopicPartition:
    return TopicPartition(message.topic(), message.partition(), message.offset())


# Broker restarts, leader changes and rebalances pass by themselves.
_PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._PARTITION_EOF,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
}
