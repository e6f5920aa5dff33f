"""The router on real Kafka, MongoDB and Redis: its ordinary day."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import redis
from integration.router.routing import TENANT, Worker, World, until
from pymongo.database import Database

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_router.store_mongodb import MongoMessageLog, last_numbers_pipeline
from chat4all_runtime.events import OutgoingRecord
from chat4all_runtime.ids import new_id

Start = Callable[..., Worker]


def test_an_accepted_message_is_stored_shown_and_announced(world: World, start: Start) -> None:
    """Number 1, the row, one line with the frame on the conversation's channel, and the fact in Kafka with the same content."""
    conversation_id, message_id = new_id(), new_id()
    listener = redis.Redis.from_url(world.engines["CHAT4ALL_REDIS__URL"], socket_timeout=20)
    channel = listener.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(f"conversation:{conversation_id}:events")
    assert channel.get_message(timeout=5) is None  # the subscription is confirmed
    worker = start()
    worker.await_ready()
    world.send([world.command(conversation_id, message_id)])
    until(lambda: world.count() == 1, 20, "the row")
    row = world.database["messages"].find_one({"_id": message_id})
    assert row is not None
    assert (row["sequence_number"], row["kind"], row["digest"], row["tenant_id"]) == (1, "message", "d", TENANT)
    assert row["payload"] == {"type": "text", "text": "x" * 120}
    published = next(message for message in channel.listen() if message["type"] == "message")
    kind, number, sender, line_id, frame = published["data"].split(b"\t", 4)
    assert (kind, number, line_id.decode()) == (b"e", b"1", message_id)
    assert sender.decode() == row["from_user_id"]
    event = orjson.loads(frame)
    assert event["data"]["content"] == row["payload"]
    assert event["time"] == row["created_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    until(lambda: world.announced() == {message_id: {1}}, 20, "the fact")
    record = world.read(world.stored)[0]
    fact = message_events_pb2.MessageStored.FromString(record.value())
    headers = dict(record.headers())
    assert (record.key().decode(), headers["ce_id"].decode()) == (conversation_id, message_id)
    assert "redelivered" not in headers
    assert (fact.digest, fact.message.state) == ("d", message_pb2.MESSAGE_STATE_STORED)
    assert fact.message.create_time.ToMilliseconds() == round(row["created_at"].timestamp() * 1000)
    assert fact.store_time.ToMilliseconds() == round(row["stored_at"].timestamp() * 1000)
    text = worker.metrics()
    assert 'chat4all_router_entries_total{outcome="stored"} 1.0' in text
    assert worker.stop() == 0
    channel.close()
    listener.close()


def test_a_repeat_is_silent_and_a_conflict_is_told(world: World, start: Start) -> None:
    """The same id again: nothing. The same id with other content or in another conversation: message.failed, nothing else changes."""
    one, other, message_id = new_id(), new_id(), new_id()
    start().await_ready()
    world.send([world.command(one, message_id)])
    until(lambda: world.count() == 1, 20, "the first")
    world.send([world.command(one, message_id), world.command(one, message_id, digest="else")])
    world.send([world.command(other, message_id), world.command(other, last := new_id()), world.command(one, then := new_id())])
    until(lambda: world.count() == 3, 20, "the messages behind")
    world.check_log({one: [message_id, then], other: [last]})
    until(lambda: len(world.read(world.failed)) == 2, 20, "both conflicts")
    failures = [message_events_pb2.MessageFailed.FromString(record.value()) for record in world.read(world.failed)]
    assert {failure.reason for failure in failures} == {"MESSAGE_ID_CONFLICT"}
    assert {failure.conversation_id for failure in failures} == {one, other}
    assert sorted(world.announced()) == sorted([message_id, last, then])
    assert len(world.read(world.stored)) == 3


def test_a_poison_record_goes_to_the_dead_letters_and_blocks_nobody(world: World, start: Start) -> None:
    """What cannot be an entry is kept with its reason and origin; what is behind it in the same partition is stored."""
    conversation_id = new_id()
    records, order = world.commands([conversation_id], 20)
    good = records[0]
    poison = [
        OutgoingRecord(world.sent, conversation_id.encode(), b"\xff\xfe no protobuf", good.headers),
        OutgoingRecord(world.sent, conversation_id.encode(), b"", [("empty", None)]),
        OutgoingRecord(world.sent, conversation_id.encode(), world.command(new_id(), new_id()).value, good.headers),
        OutgoingRecord(world.sent, conversation_id.encode(), b"x" * 300_000, good.headers),
    ]
    start().await_ready()
    world.send(records[:10] + poison + records[10:])
    until(lambda: world.count() == 20, 20, "the good ones")
    world.check_log(order)
    until(lambda: len(world.read(f"{world.sent}.dlq")) == 4, 20, "the dead letters")
    letters = sorted(world.read(f"{world.sent}.dlq"), key=lambda record: record.offset())
    headers = [{name: value for name, value in record.headers()} for record in letters]
    assert [one["dlq_reason"] for one in headers] == [b"NOT_A_COMMAND", b"MALFORMED_ID", b"KEY_MISMATCH", b"COMMAND_TOO_LARGE"]
    assert all(one["dlq_topic"] == world.sent.encode() and one["dlq_detail"] for one in headers)
    assert [record.value() for record in letters] == [record.value for record in poison]


def test_twenty_thousand_waiting_messages_of_one_conversation_drain_in_order(world: World, start: Start) -> None:
    """A conversation alone in its partition is as fast as any, and nothing of its order is lost."""
    conversation_id = new_id()
    records, order = world.commands([conversation_id], 20_000)
    for begin in range(0, 20_000, 5000):
        world.send(records[begin : begin + 5000])
    began = time.monotonic()
    start().await_ready()
    until(lambda: world.count() == 20_000, 90, "all of them")
    print(f"20,000 in {time.monotonic() - began:.1f} s, the start of the process included")  # noqa: T201
    world.check_log(order)
    until(lambda: len(world.announced()) == 20_000, 60, "all announced")
    assert all(len(numbers) == 1 for numbers in world.announced().values())


def test_a_redis_that_is_away_slows_nothing(world: World, start: Start) -> None:
    """Sockets repair from the store, so storing goes on: thousands of messages in many batches, failures counted."""
    worker = start(CHAT4ALL_REDIS__URL="redis://127.0.0.1:1/0")
    worker.await_ready()
    records, order = world.commands([new_id() for _ in range(50)], 4000)
    world.send(records)
    until(lambda: world.count() == 4000, 30, "all stored")
    world.check_log(order)
    until(lambda: len(world.announced()) == 4000, 20, "all announced")
    lines = dict(line.rsplit(" ", 1) for line in worker.metrics().splitlines() if line.startswith("chat4all_router_"))
    assert float(lines["chat4all_router_unpublished_entries_total"]) == 4000
    assert 1 <= float(lines["chat4all_router_publish_failures_total"]) < 40


def test_the_last_numbers_are_read_by_one_index_key_each(world: World) -> None:
    """The aggregate is a DISTINCT_SCAN: its cost grows with the conversations asked for, not with the length of their logs."""
    log = MongoMessageLog(world.database, window=1000)
    log.prepare()
    log.prepare()
    names = [f"c{number}" for number in range(20)]
    world.database["messages"].insert_many(
        [
            {"_id": f"{name}-{number}", "conversation_id": name, "sequence_number": number}
            for name in names
            for number in range(1, 101)
            if (name, number) != ("c7", 95)
        ]
    )
    assert log.last_numbers(names) == dict.fromkeys(names, 100)
    assert log.last_numbers(["nowhere"]) == {}
    plan = _explain(world.database, names)
    stages = _stages(plan)
    assert "DISTINCT_SCAN" in stages, stages
    assert "COLLSCAN" not in stages
    assert "SORT" not in stages
    assert log.first_holes(dict.fromkeys(names, 100)) == {"c7": 95}


def _explain(database: Database[dict[str, object]], names: list[str]) -> dict[str, object]:
    return database.command(
        "explain", {"aggregate": "messages", "pipeline": last_numbers_pipeline(names), "cursor": {}}, verbosity="executionStats"
    )


def _stages(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {str(node["stage"])} if isinstance(node.get("stage"), str) else set()
        return own.union(*(_stages(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_stages(value) for value in node))
    return set()
