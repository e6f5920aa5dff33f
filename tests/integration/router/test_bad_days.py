"""The router's owners die, sleep and wake, and the store does not answer: the log is the same as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME
from fakes.cuttable_proxy import CuttableProxy
from integration.router.deaf_proxy import DeafProxy
from integration.router.routing import Worker, World, until

from chat4all.message.v1 import message_events_pb2
from chat4all_runtime.ids import new_id

Start = Callable[..., Worker]
SLEEP_SECONDS = 15


def all_told(world: World, order: dict[str, list[str]]) -> None:
    """Every entry is announced, under its one number. Repeats are marked, or came so late that they show it themselves."""
    expected = {message_id: {number} for ids in order.values() for number, message_id in enumerate(ids, 1)}
    until(lambda: world.announced().keys() == expected.keys(), 60, "every entry is announced")
    assert world.announced() == expected
    seen = set()
    for record in world.read(world.stored):
        headers = dict(record.headers())
        if headers["ce_id"] in seen and headers.get("redelivered") != b"1":
            # Its router stood still between its last look at the clock and the broker.
            stored = message_events_pb2.MessageStored.FromString(record.value()).store_time.ToMilliseconds()
            kind, appended = record.timestamp()
            assert kind == TIMESTAMP_LOG_APPEND_TIME
            assert appended - stored > 5000, "a repeat that does not say so"
        seen.add(headers["ce_id"])


def test_kill_9_in_the_middle_of_the_load(world: World, start: Start) -> None:
    """Killed again and again while it works: no loss, no hole, no double, the order kept, everything announced."""
    records, order = world.commands([new_id() for _ in range(40)], 12_000)
    worker = start()
    worker.await_ready()
    dice = random.Random(7)
    for begin in range(0, 12_000, 2000):
        before = world.count()
        world.send(records[begin : begin + 2000])
        target = before + dice.randint(1, 1500)
        world.await_count(target, 30, "some of them")
        worker.kill()
        worker = start()
    worker.await_ready()
    world.await_count(12_000, 60, "all of them")
    world.check_log(order)
    all_told(world, order)
    assert worker.stop() == 0


def test_a_router_that_sleeps_and_wakes(world: World, start: Start) -> None:
    """SIGSTOP longer than the session, twice, under load: the other takes over, and the zombie writes no second order."""
    records, order = world.commands([new_id() for _ in range(40)], 16_000)
    routers = [start(instance="a"), start(instance="b")]
    for router in routers:
        router.await_ready()
    at = 0
    for sleeper in routers:
        world.send(records[at : at + 4000])
        at += 4000
        world.await_count(at - 3900, 30, "it is at work")
        sleeper.signal(signal.SIGSTOP)
        world.send(records[at : at + 2000])
        at += 2000
        began = time.monotonic()
        world.await_count(at, SLEEP_SECONDS + 30, "the other one has stored all")
        time.sleep(max(0.0, SLEEP_SECONDS - (time.monotonic() - began)))  # the fault itself: asleep for so long
        sleeper.signal(signal.SIGCONT)
        world.send(records[at : at + 2000])
        at += 2000
        world.await_count(at, 60, "all of them")
    world.check_log(order)
    all_told(world, order)
    for router in routers:
        assert router.process.poll() is None, "a router that slept goes on working"


@pytest.fixture
def mongo_address(world: World) -> tuple[str, int]:
    """Host and port of MongoDB."""
    parts = urlsplit(world.engines["CHAT4ALL_MONGO__URI"])
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@pytest.fixture
def deaf(mongo_address: tuple[str, int]) -> Iterator[DeafProxy]:
    """A way to MongoDB that can swallow answers."""
    proxy = DeafProxy(*mongo_address)
    yield proxy
    proxy.close()


def through(port: int) -> str:
    """The address of MongoDB by way of a proxy: direct, or the driver would go round it."""
    return f"mongodb://127.0.0.1:{port}/?directConnection=true"


def test_an_insert_whose_outcome_is_unknown(world: World, start: Start, deaf: DeafProxy) -> None:
    """The store wrote, the answer was lost, several times: nothing is stored or numbered twice, and all is announced."""
    start(CHAT4ALL_MONGO__URI=through(deaf.port)).await_ready()
    conversations = [new_id() for _ in range(20)]
    records, order = world.commands(conversations, 3000)
    world.send(records[:500])
    world.await_count(500, 20, "it is at work")
    deaf.swallow(3)
    world.send(records[500:])
    world.await_count(3000, 60, "all of them")
    assert deaf.swallowed == 3
    world.check_log(order)
    all_told(world, order)


def test_mongodb_away_for_a_while(world: World, start: Start, mongo_address: tuple[str, int]) -> None:
    """While the store is away the router waits, still a member of its group; nothing is lost, skipped or dead-lettered."""
    records, order = world.commands([new_id() for _ in range(20)], 6000)
    with CuttableProxy(*mongo_address) as proxy:
        worker = start(CHAT4ALL_MONGO__URI=through(proxy.port))
        worker.await_ready()
        for begin in (0, 2000, 4000):
            before = world.count()
            world.send(records[begin : begin + 2000])
            world.await_count(before + 1, 20, "it is at work")
            waits = worker.output.read_text().count("batch_retry")
            proxy.cut()
            until(lambda so_far=waits: worker.output.read_text().count("batch_retry") > so_far + 2, 20, "it waits")  # type: ignore[misc]
            proxy.mend()
            world.await_count(begin + 2000, 40, "all of them")
        world.check_log(order)
        all_told(world, order)
        assert world.read(f"{world.sent}.dlq") == []
        assert worker.stop() == 0
