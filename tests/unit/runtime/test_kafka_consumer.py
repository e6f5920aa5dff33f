"""What the consumer's loop owes its handlers, on a scripted consumer: nothing is skipped, nothing is committed too early."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, TopicPartition

from chat4all_runtime import kafka_consumer
from chat4all_runtime.events import IncomingRecord, OutgoingRecord
from chat4all_runtime.kafka_consumer import BatchConsumer, Rejected, RetryLater
from chat4all_runtime.settings import KafkaSettings


class Message:
    """A record as confluent-kafka gives it."""

    def __init__(self, partition: int, offset: int, headers: list[tuple[str, bytes | None]] | None = None) -> None:
        self._partition, self._offset, self._headers = partition, offset, headers

    def timestamp(self) -> tuple[int, int]:
        """The broker's."""
        return TIMESTAMP_LOG_APPEND_TIME, 5

    def topic(self) -> str:
        """Always the same."""
        return "t"

    def partition(self) -> int:
        """Of the record."""
        return self._partition

    def offset(self) -> int:
        """Of the record."""
        return self._offset

    def key(self) -> bytes:
        """Some key."""
        return b"k"

    def value(self) -> bytes:
        """Tells the record from others."""
        return f"{self._partition}/{self._offset}".encode()

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """None when there are none."""
        return self._headers

    def error(self) -> None:
        """It is a record."""
        return


class ScriptedConsumer:
    """Gives what the test put in, runs what the test wants to happen inside a call, and notes commits."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.batches: list[list[Message]] = []
        self.in_consume: list[Callable[[], None]] = []
        self.in_poll: list[Callable[[], None]] = []
        self.commits: list[dict[int, int]] = []
        self.proofs: list[dict[int, int]] = []
        self.refuse_proof = False
        self.callbacks: dict[str, Any] = {}

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        """Note the callbacks."""
        self.callbacks = callbacks

    def assign(self, *partitions: int) -> None:
        """The group gives partitions."""
        self.callbacks["on_assign"](self, [TopicPartition("t", one) for one in partitions])

    def revoke(self, *partitions: int) -> None:
        """The group takes partitions."""
        self.callbacks["on_revoke"](self, [TopicPartition("t", one) for one in partitions])

    def consume(self, count: int, timeout: float) -> list[Message]:
        """The next batch put in."""
        for happen in self.in_consume[:1]:
            self.in_consume.pop(0)
            happen()
        return self.batches.pop(0) if self.batches else []

    def poll(self, timeout: float) -> None:
        """Nothing comes, but something may happen."""
        for happen in self.in_poll[:1]:
            self.in_poll.pop(0)
            happen()

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        """Note it."""
        ends = {part.partition: part.offset for part in offsets}
        if asynchronous:
            self.commits.append(ends)
        elif self.refuse_proof:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        else:
            self.proofs.append(ends)
        return offsets

    def get_watermark_offsets(self, part: TopicPartition, timeout: float = 0, cached: bool = False) -> tuple[int, int]:
        """Ten records are there."""
        return 0, 10

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Nothing to do."""

    resume = incremental_assign = pause


class Handler:
    """Handles by a function of the test."""

    def __init__(self, judge: Callable[[Sequence[IncomingRecord]], Sequence[Rejected]]) -> None:
        self.judge = judge
        self.handled: list[str] = []

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Judge, then note."""
        rejected = self.judge(records)
        self.handled += [record.value.decode() for record in records]
        return rejected

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing to do."""

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing to do."""


class Letters:
    """Dead letters that can be refused."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.records: list[OutgoingRecord] = []
        self.fail = False

    def send_and_wait(self, records: Sequence[OutgoingRecord], timeout_seconds: float = 1.0) -> None:
        """Keep or refuse them."""
        if self.fail:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self.records += records


class Loop:
    """A consumer whose loop the test turns by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, judge: Callable[[Sequence[IncomingRecord]], Sequence[Rejected]]) -> None:
        monkeypatch.setattr(kafka_consumer, "BlockingProducer", Letters)
        self.handler = Handler(judge)
        self.consumer = BatchConsumer(
            KafkaSettings(bootstrap_servers="nowhere:1"),
            group="g",
            instance=None,
            topics=["t"],
            handler=self.handler,
            on_stopped=lambda error: None,
        )
        self.kafka = ScriptedConsumer({})
        self.letters: Letters = self.consumer._dead_letters  # type: ignore[assignment]  # patched above
        self.consumer._consumer = self.kafka  # type: ignore[assignment]  # scripted
        self.kafka.subscribe(
            ["t"], on_assign=self.consumer._on_assign, on_revoke=self.consumer._on_revoke, on_lost=self.consumer._on_lost
        )

    def turn(self) -> None:
        """What the thread does once."""
        if records := self.consumer._take():
            self.consumer._work(records)

    def end(self) -> None:
        """What the thread does before it closes the consumer."""
        self.consumer._commit(self.consumer._ends.keys())


def test_commits_are_few_and_none_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch is committed at once, those right after it together: when their time has come, or when a partition goes."""
    now = 1000.0
    monkeypatch.setattr(kafka_consumer.time, "monotonic", lambda: now)
    loop = Loop(monkeypatch, lambda records: [])
    loop.kafka.assign(0, 1)
    for offset in range(3):
        loop.kafka.batches = [[Message(0, offset)], [Message(1, offset)]]
        loop.turn()
        now += 0.03
    assert loop.kafka.commits == [{0: 1, 1: 1}]
    loop.kafka.revoke(1)
    assert loop.kafka.commits[1:] == [{1: 3}]
    now += 0.1
    loop.kafka.batches = [[]]
    loop.turn()
    assert loop.kafka.commits[2:] == [{0: 3}]
    loop.end()
    assert len(loop.kafka.commits) == 3


def test_a_revocation_in_the_middle_of_a_batch_skips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our defect makes the batch go one by one; while the first waits its partition goes. The others are still handled."""
    waits = iter([True])

    def judge(records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        if len(records) > 1:
            raise ValueError("a defect")
        if records[0].partition == 0 and next(waits, False):
            raise RetryLater("away")
        return []

    loop = Loop(monkeypatch, judge)
    loop.kafka.assign(0, 1)
    loop.kafka.batches = [[Message(0, 5), Message(1, 7)], []]
    loop.kafka.in_poll = [lambda: loop.kafka.revoke(0)]
    loop.turn()
    assert loop.handler.handled == ["1/7"]
    assert loop.kafka.commits == [{1: 8}]


def test_a_partition_that_came_back_is_not_the_one_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in hand of the first assignment is dropped: the records come again from the committed offset."""
    loop = Loop(monkeypatch, lambda records: [])

    def away_and_back() -> None:
        loop.kafka.revoke(0)
        loop.kafka.assign(0)

    loop.kafka.assign(0)
    loop.kafka.in_consume = [lambda: None, away_and_back]
    loop.kafka.batches = [[Message(0, 9)], [Message(0, 3)]]
    loop.turn()
    assert loop.handler.handled == ["0/3"]
    assert loop.kafka.commits == [{0: 4}]


def test_told_to_stop_before_the_dead_letters_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed: the rejected record comes again. With Kafka well, it is kept even when the stop came first."""
    loop = Loop(monkeypatch, lambda records: [Rejected(records[0], "BAD", "bad")])
    loop.kafka.assign(0)
    loop.consumer.request_stop()
    loop.letters.fail = True
    loop.kafka.batches = [[Message(0, 1)], []]
    loop.turn()
    assert loop.kafka.commits == []
    loop.letters.fail = False
    loop.kafka.batches = [[Message(0, 1)], []]
    loop.turn()
    assert (len(loop.letters.records), loop.kafka.commits) == (1, [{0: 2}])


def test_after_a_long_stand_still_the_membership_is_proved_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit of nothing new; refused, and the partition gone, the batch is never handled."""
    loop = Loop(monkeypatch, lambda records: [])
    loop.kafka.assign(0)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 7)
    loop.kafka.batches = [[Message(0, 1), Message(0, 2)], []]
    loop.turn()
    assert (loop.kafka.proofs, loop.kafka.commits) == ([{0: 1}], [{0: 3}])
    loop.kafka.batches = [[Message(0, 3)], []]
    loop.turn()
    assert len(loop.kafka.proofs) == 1
    monkeypatch.undo()
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    loop.consumer._pulse_at = time.monotonic() - 7
    loop.kafka.refuse_proof = True
    loop.kafka.in_poll = [lambda: loop.kafka.revoke(0)]
    loop.kafka.batches = [[Message(0, 4)], []]
    loop.turn()
    assert loop.handler.handled == ["0/1", "0/2", "0/3"]


def test_dead_letters_in_a_row_means_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred bad records among good ones stop nobody; a hundred without a good one between them do."""
    loop = Loop(monkeypatch, lambda records: [Rejected(one, "BAD", "bad") for one in records if one.offset % 2])
    loop.kafka.assign(0)
    loop.kafka.batches = [[Message(0, offset) for offset in range(300)], []]
    loop.turn()
    loop.kafka.batches = [[Message(0, offset) for offset in range(301, 501, 2)], []]
    with pytest.raises(RuntimeError, match="in a row"):
        loop.turn()
    loop.end()
    assert loop.kafka.commits[-1] == {0: 500}


def test_a_header_without_a_value_is_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka allows null; handlers need not."""
    seen: list[IncomingRecord] = []

    def judge(records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        seen.extend(records)
        return []

    loop = Loop(monkeypatch, judge)
    loop.kafka.assign(0)
    loop.kafka.batches = [[Message(0, 3, [("ce_type", None)]), Message(0, 12)], []]
    loop.turn()
    assert seen[0].header("ce_type") == ""
    assert [record.redelivered for record in seen] == [True, False]
