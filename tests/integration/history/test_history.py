"""The history worker on real Kafka and MongoDB: each stored message once, whatever happens to the worker."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from integration.router.deaf_proxy import DeafProxy
from integration.router.routing import TENANT, Worker, World, until

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_history.store_mongodb import MongoHistory, NotATimeSeries
from chat4all_runtime.events import EventCodec, OutgoingRecord
from chat4all_runtime.ids import new_id

CODEC = EventCodec("/workers/router")
SLEEP_SECONDS = 15


class History:
    """Facts in, occurrences out."""

    def __init__(self, world: World, start: Callable[..., Worker]) -> None:
        self.world = world
        self._start = start
        self._conversations = [new_id() for _ in range(30)]
        self._numbers: Counter[str] = Counter()

    def start(self, **more: str) -> Worker:
        """A history worker."""
        return self._start("chat4all_history", **more)

    def facts(self, count: int) -> list[OutgoingRecord]:
        """New facts over the conversations in turn."""
        return [self._fact(self._conversations[index % 30]) for index in range(count)]

    def _fact(self, conversation_id: str) -> OutgoingRecord:
        self._numbers[conversation_id] += 1
        message = message_pb2.Message(
            message_id=new_id(),
            conversation_id=conversation_id,
            tenant_id=TENANT,
            sequence_number=self._numbers[conversation_id],
            from_user_id="u1",
            kind="message",
            content=message_pb2.MessageContent(type="text", text="hello"),
        )
        message.create_time.FromDatetime(datetime.now(UTC))
        event = message_events_pb2.MessageStored(message=message)
        return CODEC.encode(self.world.stored, conversation_id, event, TENANT, event_id=message.message_id)

    def rows(self) -> list[dict[str, Any]]:
        """Everything in the series."""
        return list(self.world.database["conversation_history"].find())

    def count(self) -> int:
        """How many rows there are."""
        return self.world.database["conversation_history"].count_documents({})

    def await_count(self, count: int, seconds: float) -> None:
        """Wait for at least so many."""
        until(lambda: self.count() >= count, seconds, f"{count} rows in the series")

    def check(self, facts: Sequence[OutgoingRecord]) -> None:
        """Each fact once."""
        expected = {dict(fact.headers)["ce_id"].decode() for fact in facts}  # type: ignore[union-attr]  # our own headers
        times = Counter(row["message_id"] for row in self.rows())
        assert [name for name, count in times.items() if count > 1] == []
        assert times.keys() == expected


@pytest.fixture
def history(world: World, start: Callable[..., Worker]) -> History:
    """A series of this test."""
    return History(world, start)


def test_a_stored_message_becomes_history(history: History) -> None:
    """A time series by conversation, with measures, gone after the retention; a changed retention is applied at the next start."""
    worker = history.start()
    worker.await_ready()
    facts = history.facts(3)
    history.world.send(facts)
    history.await_count(3, 20)
    history.check(facts)
    row = history.rows()[0]
    assert row["meta"].keys() == {"tenant_id", "conversation_id", "channel"}
    assert (row["meta"]["channel"], row["message_length"], row["has_attachment"]) == ("internal", 5, False)
    assert row["timestamp"].tzinfo is not None
    options = history.world.database["conversation_history"].options()
    assert options["timeseries"]["granularity"] == "seconds"
    assert options["expireAfterSeconds"] == 90 * 86_400
    assert worker.stop() == 0
    MongoHistory(history.world.database, 30).prepare()
    assert history.world.database["conversation_history"].options()["expireAfterSeconds"] == 30 * 86_400


def test_an_ordinary_collection_in_the_way_is_said(world: World) -> None:
    """Nothing is written into it."""
    world.database["conversation_history"].insert_one({})
    with pytest.raises(NotATimeSeries):
        MongoHistory(world.database, 90).prepare()


def test_what_is_no_fact_goes_to_the_dead_letters(history: History) -> None:
    """With its reason, and what is behind it is written."""
    facts = history.facts(10)
    poison = OutgoingRecord(history.world.stored, facts[0].key, b"\xff", facts[0].headers)
    history.start().await_ready()
    history.world.send([*facts[:5], poison, *facts[5:]])
    history.await_count(10, 20)
    history.check(facts)
    until(lambda: len(history.world.read(f"{history.world.stored}.dlq")) == 1, 20, "the dead letter")
    letter = history.world.read(f"{history.world.stored}.dlq")[0]
    assert dict(letter.headers())["dlq_reason"] == b"NOT_A_STORED_MESSAGE"


def test_kill_9_adds_no_double(history: History) -> None:
    """Killed again and again between writing and committing: what comes again is looked up."""
    facts = history.facts(12_000)
    worker = history.start()
    worker.await_ready()
    dice = random.Random(3)
    for begin in range(0, 12_000, 3000):
        before = history.count()
        history.world.send(facts[begin : begin + 3000])
        history.await_count(before + dice.randint(1, 2500), 30)
        worker.kill()
        worker = history.start()
    worker.await_ready()
    history.await_count(12_000, 60)
    history.check(facts)
    assert worker.stop() == 0


def test_a_fact_said_again_by_the_router_is_written_once(history: History) -> None:
    """Marked `redelivered`, in a later batch, to a worker that does not remember it."""
    facts = history.facts(100)
    worker = history.start()
    worker.await_ready()
    history.world.send(facts)
    history.await_count(100, 20)
    assert worker.stop() == 0
    history.start().await_ready()
    again = [OutgoingRecord(fact.topic, fact.key, fact.value, [*fact.headers, ("redelivered", b"1")]) for fact in facts]
    more = history.facts(50)
    history.world.send(again + more)
    history.await_count(150, 20)
    history.check(facts + more)


def test_a_worker_that_sleeps_and_wakes(history: History) -> None:
    """SIGSTOP longer than the session, with records in its queue: when it wakes it proves its membership before it writes."""
    facts = history.facts(9000)
    workers = [history.start(instance="a"), history.start(instance="b")]
    for worker in workers:
        worker.await_ready()
    history.world.send(facts[:3000])
    history.await_count(100, 30)
    workers[0].signal(signal.SIGSTOP)
    began = time.monotonic()
    history.world.send(facts[3000:6000])
    history.await_count(6000, SLEEP_SECONDS + 30)
    time.sleep(max(0.0, SLEEP_SECONDS - (time.monotonic() - began)))  # the fault itself: asleep for so long
    workers[0].signal(signal.SIGCONT)
    history.world.send(facts[6000:])
    history.await_count(9000, 60)
    history.check(facts)
    assert all(worker.process.poll() is None for worker in workers)


@pytest.fixture
def deaf(world: World) -> Iterator[DeafProxy]:
    """A way to MongoDB that can swallow answers."""
    parts = urlsplit(world.engines["CHAT4ALL_MONGO__URI"])
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = DeafProxy(parts.hostname, parts.port)
    yield proxy
    proxy.close()


def test_an_insert_whose_outcome_is_unknown_is_looked_up(history: History, deaf: DeafProxy) -> None:
    """The store wrote, the answer was lost, twice: the next attempt finds what is there."""
    history.start(CHAT4ALL_MONGO__URI=f"mongodb://127.0.0.1:{deaf.port}/?directConnection=true").await_ready()
    facts = history.facts(4000)
    history.world.send(facts[:200])
    history.await_count(200, 20)
    deaf.swallow(2)
    history.world.send(facts[200:])
    history.await_count(4000, 60)
    assert deaf.swallowed == 2
    history.check(facts)
