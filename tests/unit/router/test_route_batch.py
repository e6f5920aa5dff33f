"""One batch: what is stored, shown and announced, and what a second attempt at it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from unit.router.fake_log import Clock, FakeLog, Recorder, make_entry, make_route

from chat4all_router.domain.memory import Memory
from chat4all_router.usecases import RouteBatch
from chat4all_runtime.events import OutgoingRecord
from chat4all_runtime.kafka_consumer import RetryLater


class Router:
    """One router on a log."""

    def __init__(self, log: FakeLog | None = None, clock: Clock | None = None, **more: Any) -> None:
        self.log = log or FakeLog()
        self.clock = clock or Clock()
        self.memory = Memory(1000, 1000)
        self.recorder = more.pop("recorder", None) or Recorder()
        self.route: RouteBatch = make_route(self.log, self.recorder, self.memory, self.clock, **more)


def test_lines_and_facts_in_order() -> None:
    """One list of lines per conversation, ascending, with kind, number, sender, id and frame; `r` for a member removed."""
    router = Router()
    router.route([make_entry("m1"), make_entry("x1", "c2"), make_entry("m2", kind="member_removed"), make_entry("m3")])
    lines = [line.split(b"\t", 4) for line in router.recorder.lines["c1"]]
    assert [line[:4] for line in lines] == [
        [b"e", b"1", b"u1", b"m1"],
        [b"r", b"2", b"u1", b"m2"],
        [b"e", b"3", b"u1", b"m3"],
    ]
    assert [orjson.loads(line[4])["sequence_number"] for line in lines] == [1, 2, 3]
    assert len(router.recorder.lines["c2"]) == 1
    assert router.recorder.stored() == [("m1", 1, False), ("x1", 1, False), ("m2", 2, False), ("m3", 3, False)]


def test_a_repeat_while_the_partition_is_owned_is_silent() -> None:
    """In the batch, in the next one, and with the mark of a possible repeat: this owner knows that all was said."""
    router = Router()
    router.route([make_entry("m1"), make_entry("m1")])
    router.route([make_entry("m1"), make_entry("m1", redelivered=True), make_entry("m2")])
    assert router.log.order("c1") == ["m1", "m2"]
    assert router.recorder.stored() == [("m1", 1, False), ("m2", 2, False)]


def test_a_new_owner_says_again_what_may_not_have_been_said() -> None:
    """Redelivered records, and what was stored lately; marked as repeated. Not what a client sends again days later."""
    first = Router()
    first.route([make_entry("m1"), make_entry("m2"), make_entry("m3")])
    second = Router(first.log, first.clock)
    second.route([make_entry("m1", redelivered=True)])
    second.route([make_entry("m2")])
    first.clock.turn(600)
    second.route([make_entry("m3")])
    assert second.recorder.stored() == [("m1", 1, True), ("m2", 2, True)]
    assert [line.split(b"\t")[1] for line in second.recorder.lines["c1"]] == [b"1", b"2"]
    assert first.log.order("c1") == ["m1", "m2", "m3"]


class FailingOnce(Recorder):
    """Kafka is away for the first call."""

    failed_once = False

    def send_and_wait(self, records: Sequence[OutgoingRecord]) -> None:
        """Fail, then work."""
        if not self.failed_once:
            self.failed_once = True
            raise RetryLater("kafka")
        super().send_and_wait(records)


def test_the_second_attempt_announces_and_numbers_nothing_twice() -> None:
    """Stored but not announced: the next attempt finds the rows, and says so with the mark, however late it comes."""
    router = Router(recorder=FailingOnce())
    with pytest.raises(RetryLater):
        router.route([make_entry("m1"), make_entry("m2")])
    router.clock.turn(600)
    router.route([make_entry("m1"), make_entry("m2"), make_entry("m3")])
    assert router.log.order("c1") == ["m1", "m2", "m3"]
    assert router.recorder.stored() == [("m1", 1, True), ("m2", 2, True), ("m3", 3, False)]


def test_an_attempt_that_took_too_long_marks_what_it_says() -> None:
    """It may have slept, and another owner may have said it meanwhile."""
    times = iter((0.0, 6.0))
    router = Router(monotonic=lambda: next(times))
    router.route([make_entry("m1")])
    assert router.recorder.stored() == [("m1", 1, True)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("change", [{"digest": "else"}, {"sender": "u2"}, {"conversation_id": "c2"}])
def test_another_use_of_an_id_is_a_conflict(known: bool, change: dict[str, str]) -> None:
    """From memory or from the store: refused with its reason, and nothing else changes."""
    first = Router()
    first.route([make_entry("m1")])
    router = first if known else Router(first.log)
    router.route([make_entry("m1", **change), make_entry("m2")])
    failures = router.recorder.failed()
    assert [(one.message_id, one.reason) for one in failures] == [("m1", "MESSAGE_ID_CONFLICT")]
    assert failures[0].conversation_id == change.get("conversation_id", "c1")
    assert router.log.order("c1") == ["m1", "m2"]
    assert router.log.rows["m1"]["from_user_id"] == "u1"


def test_two_uses_of_an_id_in_one_batch() -> None:
    """The first in the log wins, unless the store knows that the other came before."""
    router = Router()
    router.route([make_entry("m1"), make_entry("m1", "c2", partition=1)])
    assert (router.log.order("c1"), router.log.order("c2")) == (["m1"], [])
    assert [one.conversation_id for one in router.recorder.failed()] == ["c2"]
    again = Router(router.log)
    again.route([make_entry("m1", "c2", partition=1), make_entry("m1")])
    assert [one.conversation_id for one in again.recorder.failed()] == ["c2"]


def test_an_id_taken_by_another_conversation_between_look_up_and_insert() -> None:
    """Its number would stay empty: the entries behind it move down before anybody sees them."""
    log = FakeLog()
    other = Router(log)
    taken = []

    def hook(point: str) -> None:
        if point == "before insert" and not taken:
            taken.append(point)
            other.route([make_entry("m1", "c2", partition=1)])

    router = Router(log, hook=hook)
    router.route([make_entry("m0"), make_entry("m1"), make_entry("m2"), make_entry("m3")])
    assert log.order("c1") == ["m0", "m2", "m3"]
    assert log.numbers("c1") == [1, 2, 3]
    assert [entry[:2] for entry in router.recorder.stored()] == [("m0", 1), ("m2", 2), ("m3", 3)]
    assert [one.message_id for one in router.recorder.failed()] == ["m1"]


def test_memory_is_forgotten_with_the_partition() -> None:
    """After a revocation another owner may have written: the numbers are read again."""
    router = Router()
    router.route([make_entry("m1")])
    router.memory.forget([("message.sent", 0)])
    Router(router.log).route([make_entry("m2")])
    router.route([make_entry("m3")])
    assert router.log.order("c1") == ["m1", "m2", "m3"]


def test_memory_is_bounded() -> None:
    """The least recently used conversation and the oldest id go first."""
    memory = Memory(recent_ids=2, known_conversations=2)
    place = ("t", 0)
    for number, name in enumerate(("a", "b", "c")):
        memory.numbered(place, name, number)
        memory.finish(place, f"m-{name}", (name, "u", "d"))
        memory.next_number("a")
    assert [memory.next_number(name) for name in "abc"] == [0, None, 2]
    assert [memory.claims_of(f"m-{name}") is None for name in "abc"] == [True, False, False]
