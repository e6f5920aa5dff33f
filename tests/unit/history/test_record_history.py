"""Each fact once in a store that has no unique index."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_history.domain.model import Occurrence
from chat4all_history.domain.recent import Recent
from chat4all_history.events import NotAFact, read_stored
from chat4all_history.usecases import RecordHistory
from chat4all_runtime.events import EventCodec, IncomingRecord
from chat4all_runtime.kafka_consumer import RetryLater

NOON = datetime(2026, 1, 2, 12, 0, 0, 123_000, tzinfo=UTC)
CODEC = EventCodec("/workers/router")


class FakeHistory:
    """A series that takes everything, twice if told twice."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.looked_up: list[str] = []
        self.lose_the_answer = False

    def find(self, occurrences: Sequence[Occurrence]) -> Collection[str]:
        """Those that are there."""
        self.looked_up += [item.message_id for item in occurrences]
        return {item.message_id for item in occurrences if item.message_id in self.ids}

    def insert(self, occurrences: Sequence[Occurrence]) -> None:
        """Write all, and perhaps do not say so."""
        self.ids += [item.message_id for item in occurrences]
        if self.lose_the_answer:
            self.lose_the_answer = False
            raise RetryLater("no answer")


class Worker:
    """The use case on a fake."""

    def __init__(self, history: FakeHistory | None = None, times: Sequence[float] = ()) -> None:
        self.history = history or FakeHistory()
        self.recent = Recent(1000)
        clock = iter(times)
        self.record = RecordHistory(self.history, self.recent, 3.0, lambda: next(clock, 0.0))


def stored(
    message_id: str = "m1",
    *,
    content: message_pb2.MessageContent | None = None,
    without: Sequence[str] = (),
    extra: dict[str, bytes] | None = None,
    redelivered: bool = False,
) -> IncomingRecord:
    """A record as the router writes it."""
    message = message_pb2.Message(
        message_id=message_id,
        conversation_id="c1",
        tenant_id="default",
        sequence_number=3,
        from_user_id="u1",
        kind="message",
        content=content or message_pb2.MessageContent(type="text", text="héllo"),
    )
    message.create_time.FromDatetime(NOON)
    for name in without:
        message.ClearField(name)  # type: ignore[arg-type]  # named by the test
    event = message_events_pb2.MessageStored(message=message)
    record = CODEC.encode("message.stored", "c1", event, "default", message_id, extra)
    headers = {name: value if isinstance(value, bytes) else b"" for name, value in record.headers}
    return IncomingRecord("message.stored", 0, 0, record.key, record.value, headers, redelivered)


def occurrence(message_id: str, **more: Any) -> Occurrence:
    """What such a record says."""
    return read_stored(stored(message_id, **more))


def test_what_is_kept_of_a_message() -> None:
    """Measures, never the text."""
    item = read_stored(stored())
    assert (item.timestamp, item.message_length, item.has_attachment, item.repeated) == (NOON, 5, False, False)
    assert (item.tenant_id, item.conversation_id, item.sequence_number, item.kind) == ("default", "c1", 3, "message")
    picture = message_pb2.MessageContent(type="image", file_id="f", caption="abc")
    item = read_stored(stored(content=picture))
    assert (item.message_length, item.has_attachment) == (3, True)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("message_id", "MISSING_ID"),
        ("conversation_id", "MISSING_ID"),
        ("sequence_number", "MISSING_ID"),
        ("create_time", "MALFORMED_TIME"),
    ],
)
def test_what_can_never_be_history(missing: str, reason: str) -> None:
    """Each with a reason for the dead letter."""
    with pytest.raises(NotAFact) as caught:
        read_stored(stored(without=[missing]))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("seconds", "repeated"), [(0.2, False), (4.9, False), (5.1, True), (60, True)])
def test_what_was_told_long_after_it_was_stored_may_be_a_repeat(seconds: float, repeated: bool) -> None:
    """A router that slept in between cannot mark it; the broker's time shows it."""
    record = stored()
    event = message_events_pb2.MessageStored.FromString(record.value)
    event.store_time.FromDatetime(NOON)
    append_ms = int((NOON.timestamp() + seconds) * 1000)
    late = dataclasses.replace(record, value=event.SerializeToString(), append_ms=append_ms)
    assert read_stored(late).repeated is repeated


def test_bytes_that_are_no_fact() -> None:
    """Not protobuf, or of another type."""
    record = stored()
    for broken in (
        IncomingRecord("t", 0, 0, b"", b"\xff", record.headers, False),
        IncomingRecord("t", 0, 0, b"", record.value, {"ce_type": b"chat4all.message.v1.MessageFailed"}, False),
    ):
        with pytest.raises(NotAFact) as caught:
            read_stored(broken)
        assert caught.value.reason == "NOT_A_STORED_MESSAGE"


def test_repeats_in_memory_cost_no_look_up() -> None:
    """In the batch and of the batches before; ordinary records are never looked up."""
    worker = Worker()
    worker.record([occurrence("m1"), occurrence("m1"), occurrence("m2")])
    worker.record([occurrence("m2"), occurrence("m3"), occurrence("m1", redelivered=True)])
    assert worker.history.ids == ["m1", "m2", "m3"]
    assert worker.history.looked_up == []


def test_what_may_be_a_repeat_is_looked_up_first() -> None:
    """Marked by the consumer or by the router; the mark may be on the second of two in a batch."""
    before = Worker()
    before.record([occurrence("m1"), occurrence("m2"), occurrence("m3")])
    after = Worker(before.history)
    after.record(
        [
            occurrence("m1", redelivered=True),
            occurrence("m2", extra={"redelivered": b"1"}),
            occurrence("m3"),
            occurrence("m3", redelivered=True),
            occurrence("m4", redelivered=True),
            occurrence("m5"),
        ]
    )
    assert after.history.ids == ["m1", "m2", "m3", "m4", "m5"]
    assert after.history.looked_up == ["m1", "m2", "m3", "m4"]


def test_an_unanswered_insert_is_looked_up_before_the_next() -> None:
    """Also when the partition's records come again in other company."""
    worker = Worker()
    worker.history.lose_the_answer = True
    with pytest.raises(RetryLater):
        worker.record([occurrence("m1"), occurrence("m2")])
    worker.record([occurrence("m1"), occurrence("m2"), occurrence("m3")])
    assert worker.history.ids == ["m1", "m2", "m3"]
    assert worker.history.looked_up == ["m1", "m2"]


def test_a_batch_too_long_in_hand_is_given_back() -> None:
    """Asleep between taking and writing: nothing is written before the consumer has proved that the batch is ours."""
    worker = Worker(times=(0.0, 3.5))
    with pytest.raises(RetryLater):
        worker.record([occurrence("m1")])
    assert worker.history.ids == []
    worker.record([occurrence("m1")])
    assert worker.history.ids == ["m1"]


def test_what_is_remembered_goes_with_its_partition_and_is_bounded() -> None:
    """Another owner may write meanwhile: what comes back is looked up, not trusted."""
    recent = Recent(2)
    recent.written([occurrence("m1"), occurrence("m2"), occurrence("m3")])
    assert [recent.is_written(name) for name in ("m1", "m2", "m3")] == [False, True, True]
    recent.begin([occurrence("m4")])
    recent.forget([("message.stored", 1)])
    assert recent.is_uncertain("m4")
    recent.forget([("message.stored", 0)])
    assert not recent.is_uncertain("m4")
    assert not recent.is_written("m3")
