"""Consuming in batches, at least once: take what is there, let the handler have its effect, then commit.

One thread owns the consumer, the handler runs in it, so no record is in flight when partitions are taken away. The verdicts of
a handler are decided here, not in each handler:

- it returns: done or already done; offsets are committed. Records it names as rejected go to `<topic>.dlq` first.
- it raises `RetryLater`: an outside system is unwell; the same batch again after a backoff, partitions paused, membership kept.
- it raises anything else: our defect. The batch is tried record by record; one that fails three times is dead-lettered with the
  error's name, so that a poison record never blocks its partition. Too many of those in a row stop the consumer.

Two things about partitions. A record counts only while the very assignment it came with is held: a partition that was taken away
and came back is read again from its committed offset, so what was in hand of it is dropped and never committed. And a thread that
stood still for half a session (a stopped machine, a slow handler) first proves its membership by a synchronous commit of the
offsets where the batch begins: after a pause the local queue still holds records that another owner has long handled.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, TopicPartition

from chat4all_runtime import metrics
from chat4all_runtime.events import IncomingRecord, OutgoingRecord
from chat4all_runtime.kafka_producer import BlockingProducer
from chat4all_runtime.settings import KafkaSettings

log = structlog.get_logger()

DEAD_LETTERS_IN_A_ROW = 100
_TRIES_PER_RECORD = 3
_LAG_EVERY_SECONDS = 1.0
# A commit costs the broker an append of its own, as much as a produce request; what it saves is repeats after a crash.
_COMMIT_EVERY_SECONDS = 0.1

Place = tuple[str, int]


class RetryLater(Exception):
    """An outside system is unwell; try the same records again."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can never work, and why (UPPER_SNAKE_CASE with a sentence)."""

    record: IncomingRecord
    reason: str
    detail: str


@dataclass(slots=True, eq=False)
class _Share:
    """One assignment of one partition; another assignment of the same partition is another share."""

    # First offset that did not exist when the partition became ours: all before it may have been handled already.
    replay_end: int | None = None
    # Where the next batch begins.
    next_offset: int | None = None


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
        gather_ms: how long a batch waits for more records when the one before it had more than one; else it is taken at once.
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
        gather_ms: int = 0,
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
            "on_commit": self._on_commit,
            "log.connection.close": False,
        }
        if instance is not None:
            config["group.instance.id"] = f"{group}-{instance}"
        self._group = group
        self._topics = list(topics)
        self._handler = handler
        self._on_stopped = on_stopped
        self._max_batch = max_batch
        self._gather_seconds = gather_ms / 1000
        self._crowded = False
        self._config = config
        self._dead_letters = BlockingProducer(settings)
        self._stop = threading.Event()
        self._owned: dict[Place, _Share] = {}
        # The batch in hand: the share of each partition in it, and the offset it begins with.
        self._shares: dict[Place, _Share] = {}
        self._begins: dict[Place, int] = {}
        # Offsets that are not committed yet, though all before them is done.
        self._ends: dict[Place, int] = {}
        self._committed_at = 0.0
        # Records of partitions that came to us while others waited.
        self._early: list[tuple[Any, _Share]] = []
        self._waiting = False
        self._longest_stand_seconds = settings.session_timeout_ms / 2000
        self._pulse_at = time.monotonic()
        self._in_doubt = False
        self._lag_at = 0.0
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
                self._commit(self._ends.keys())
                self._consumer.close()
        except BaseException as error:
            log.exception("consumer_failed", group=self._group)
            self._on_stopped(error)

    def _take(self) -> list[IncomingRecord]:
        """The first record as soon as it comes, and with it what else is there; under load also what comes in a moment."""
        taken, self._early = self._early, []
        messages = [] if taken else self._consumer.consume(1, _COMMIT_EVERY_SECONDS if self._ends else 0.5)
        taken += [(message, self._owned[_place(message)]) for message in messages if _place(message) in self._owned]
        failed = _errors(messages)
        more = self._max_batch - len(taken)
        if taken and more > 0:
            # Partitions may come and go inside this call.
            messages = self._consumer.consume(more, self._gather_seconds if self._crowded else 0)
            taken += [(message, self._owned[_place(message)]) for message in messages if _place(message) in self._owned]
            failed += _errors(messages)
        self._pulse()
        self._commit_due()
        for error in failed:
            if error.fatal() or not (error.retriable() or error.code() in _PASSING):
                raise KafkaException(error)
            log.warning("consume_error", group=self._group, code=error.name())
        kept = [message for message, share in taken if message.error() is None and self._owned.get(_place(message)) is share]
        if kept:
            self._crowded = len(kept) > 1
        self._shares = {place: self._owned[place] for place in {_place(message) for message in kept}}
        self._begins = {}
        for message in kept:
            self._begins.setdefault(_place(message), message.offset())
        ends = {place: self._replay_end(place, share) for place, share in self._shares.items()}
        self._report_lag()
        return [_record(message, ends[_place(message)]) for message in kept]

    def _replay_end(self, place: Place, share: _Share) -> float:
        if share.replay_end is None:
            # Known from the fetch that brought the first record. Asking the broker would wait behind the next fetch's long poll:
            # a quarter of a second for each partition, after each assignment.
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high > self._begins[place]:
                share.replay_end = high
        if share.replay_end is None:
            try:
                _, share.replay_end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=5.0)
            except KafkaException as error:
                # Not known is not new: for this batch every record counts as possibly handled before.
                log.warning("replay_end_unknown", group=self._group, topic=place[0], partition=place[1], error=str(error))
        return math.inf if share.replay_end is None else share.replay_end

    def _ours(self, record: IncomingRecord) -> bool:
        place = (record.topic, record.partition)
        share = self._owned.get(place)
        return share is not None and share is self._shares.get(place)

    def _work(self, records: list[IncomingRecord]) -> None:
        started = time.perf_counter()
        rejected = self._attempt(records)
        if rejected is None or not self._bury(rejected):
            return  # told to stop: what is not done is not committed and comes again
        self._count_row(records, rejected)
        self._done(records)
        metrics.kafka_batch_seconds.labels(self._group).observe(time.perf_counter() - started)
        for topic, count in Counter(record.topic for record in records).items():
            letters = sum(1 for item in rejected if item.record.topic == topic)
            metrics.kafka_consumed_records.labels(topic, "handled").inc(max(0, count - letters))
        if self._row >= DEAD_LETTERS_IN_A_ROW:
            raise RuntimeError(
                f"{self._row} records in a row were dead-lettered: the fault is not in the records. Consumer {self._group} stops."
            )

    def _count_row(self, records: Sequence[IncomingRecord], rejected: Sequence[Rejected]) -> None:
        bad = {(item.record.topic, item.record.partition, item.record.offset) for item in rejected}
        for record in records:
            self._row = self._row + 1 if (record.topic, record.partition, record.offset) in bad else 0

    def _attempt(self, records: list[IncomingRecord]) -> list[Rejected] | None:
        """What was rejected, or None when the process shall end. Records that are no longer ours are taken out of the list."""
        tries = 0
        backoff = 0.05
        while True:
            records[:] = [record for record in records if self._ours(record)]
            if not records:
                return []
            try:
                self._prove_membership()
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
            # A record whose partition went away while an earlier one waited is left out there; the others still are ours to do.
            result = self._attempt([record])
            if result is None:
                return None
            rejected += result
        return rejected

    def _pulse(self) -> None:
        """Notice that this thread stood still for so long that the group may have given its partitions away."""
        now = time.monotonic()
        if now - self._pulse_at > self._longest_stand_seconds:
            self._in_doubt = True
        self._pulse_at = now

    def _prove_membership(self) -> None:
        """After a stand-still: commit nothing new and see that the group still takes it from us.

        Raises:
            RetryLater: it does not, or nobody answers; waiting lets the rebalance through.
        """
        self._pulse()
        if not self._in_doubt:
            return
        begins = [TopicPartition(*place, begin) for place, begin in self._begins.items() if place in self._owned]
        try:
            for part in self._consumer.commit(offsets=begins, asynchronous=False) or ():
                if part.error is not None:
                    raise KafkaException(part.error)
        except KafkaException as error:
            raise RetryLater(f"stood still for long and the group does not confirm the membership: {error}") from error
        self._pulse_at = time.monotonic()
        self._in_doubt = False

    def _wait(self, seconds: float) -> bool:
        """Stay a member of the group while waiting; False when the process shall end."""
        self._consumer.pause([TopicPartition(*place) for place in self._owned])
        self._waiting = True
        self._commit(self._ends.keys())
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            message = self._consumer.poll(min(left, 0.2))
            self._pulse()
            self._report_lag()
            if message is None or message.error() is not None or (share := self._owned.get(_place(message))) is None:
                continue
            # A record that had left the queue before its partition was paused; it goes first into the next batch.
            self._early.append((message, share))
        self._waiting = False
        self._consumer.resume([TopicPartition(*place) for place in self._owned])
        return not self._stop.is_set()

    def _bury(self, rejected: Sequence[Rejected]) -> bool:
        """Write the dead letters; False when the process was told to stop before they were safe."""
        if not rejected:
            return True
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
            log.error(
                "record_dead_lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=item.reason,
            )
        while True:
            try:
                self._dead_letters.send_and_wait(letters, timeout_seconds=10.0)
            except KafkaException as error:
                log.warning("dead_letter_retry", group=self._group, records=len(letters), error=str(error))
                if not self._wait(1.0):
                    return False
            else:
                for item in rejected:
                    metrics.kafka_consumed_records.labels(item.record.topic, "dead_lettered").inc()
                return True

    def _done(self, records: Sequence[IncomingRecord]) -> None:
        """Note that these are done; the group is told of it within a moment."""
        ends: dict[Place, int] = {}
        for record in records:
            if self._ours(record):
                place = (record.topic, record.partition)
                ends[place] = max(ends.get(place, 0), record.offset + 1)
        for place, end in ends.items():
            self._owned[place].next_offset = end
        self._ends.update(ends)
        self._commit_due()

    def _commit_due(self) -> None:
        if self._ends and time.monotonic() - self._committed_at >= _COMMIT_EVERY_SECONDS:
            self._commit(self._ends.keys())

    def _commit(self, places: Iterable[Place]) -> None:
        ends = [TopicPartition(*place, end) for place in list(places) if (end := self._ends.pop(place, None)) is not None]
        if not ends:
            return
        self._committed_at = time.monotonic()
        try:
            self._consumer.commit(offsets=ends, asynchronous=True)
        except KafkaException as error:
            # Not lost: the records come again, and handlers are safe to run twice.
            log.warning("commit_failed", group=self._group, error=str(error))

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(part.topic, part.partition) for part in partitions]
        for place in places:
            self._owned[place] = _Share()
        self._handler.assigned(places)
        self._consumer.incremental_assign(partitions)
        # A partition that left while paused may come back paused.
        (self._consumer.pause if self._waiting else self._consumer.resume)(partitions)
        self._assigned_once.set()
        log.info("partitions_assigned", group=self._group, added=len(places), owned=len(self._owned))

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit([(part.topic, part.partition) for part in partitions])
        self._give_up(partitions, "partitions_revoked")

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, "partitions_lost")

    def _give_up(self, partitions: list[TopicPartition], event: str) -> None:
        places = [(part.topic, part.partition) for part in partitions]
        for place in places:
            self._owned.pop(place, None)
            self._ends.pop(place, None)
            metrics.kafka_consumer_lag_records.labels(place[0], str(place[1])).set(0)
        self._early = [(message, share) for message, share in self._early if self._owned.get(_place(message)) is share]
        self._handler.revoked(places)
        log.info(event, group=self._group, removed=len(places), owned=len(self._owned))

    def _on_error(self, error: KafkaError) -> None:
        log.warning("kafka_consumer_error", group=self._group, code=error.name(), error=error.str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if error is not None:
            # Not lost: the records come again, and handlers are safe to run twice.
            log.warning("commit_failed", group=self._group, partitions=len(partitions), error=error.str())

    def _report_lag(self) -> None:
        """Records behind the last answer of the broker, for the partitions read so far; local figures, so it costs nothing."""
        now = time.monotonic()
        if now - self._lag_at < _LAG_EVERY_SECONDS:
            return
        self._lag_at = now
        for place, share in self._owned.items():
            if share.next_offset is not None:
                _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
                metrics.kafka_consumer_lag_records.labels(place[0], str(place[1])).set(max(0, high - share.next_offset))


def _place(message: Any) -> Place:
    return (message.topic(), message.partition())


def _errors(messages: Sequence[Any]) -> list[KafkaError]:
    return [error for message in messages if (error := message.error()) is not None]


def _record(message: Any, replay_end: float) -> IncomingRecord:
    return IncomingRecord(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key() or b"",
        value=message.value() or b"",
        headers={name: value or b"" for name, value in message.headers() or ()},
        redelivered=message.offset() < replay_end,
        append_ms=_append_ms(message),
    )


def _append_ms(message: Any) -> int:
    kind, milliseconds = message.timestamp()
    return int(milliseconds) if kind == TIMESTAMP_LOG_APPEND_TIME else 0


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
