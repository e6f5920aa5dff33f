"""The process as others meet it: gRPC in, Kafka and live frames out."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest
import redis.asyncio
from confluent_kafka import Consumer, TopicPartition
from integration.presence.conftest import Signer, Start

from chat4all.presence.v1 import presence_events_pb2
from chat4all.presence.v1 import presence_service_pb2 as pb
from chat4all.presence.v1.presence_service_pb2_grpc import PresenceServiceStub
from chat4all_runtime.ids import new_id


class Frames:
    """Live frames of one user, in order of arrival."""

    def __init__(self, client: redis.asyncio.Redis, user_id: str) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._user_id = user_id.encode()
        self._waiting: list[dict[str, Any]] = []

    async def __aenter__(self) -> Frames:
        await self._pubsub.subscribe("presence:updates")
        await self._pubsub.get_message(timeout=5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pubsub.aclose()

    async def next(self) -> dict[str, Any]:
        """The next one, within 20 s."""
        async with asyncio.timeout(20):
            while not self._waiting:
                message = await self._pubsub.get_message(timeout=1)
                for line in message["data"].split(b"\n") if message else []:
                    kind, number, user_id, tenant_id, frame = line.split(b"\t")
                    assert (kind, number, bool(tenant_id)) == (b"t", b"0", True)
                    if user_id == self._user_id:
                        self._waiting.append(json.loads(frame))
        return self._waiting.pop(0)


def records_from_now(bootstrap_servers: str) -> Consumer:
    """A consumer of `user.presence` from this moment on, in no group."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": new_id(), "enable.auto.commit": False})
    partitions = consumer.list_topics("user.presence", timeout=20).topics["user.presence"].partitions
    ends = [
        TopicPartition("user.presence", number, consumer.get_watermark_offsets(TopicPartition("user.presence", number))[1])
        for number in partitions
    ]
    consumer.assign(ends)
    return consumer


def events_of(consumer: Consumer, user_id: str, count: int) -> list[tuple[presence_events_pb2.PresenceChanged, dict[str, bytes]]]:
    """The first records of that user."""
    found = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} events came"
        message = consumer.poll(0.5)
        if message is not None and message.error() is None and message.key() == user_id.encode():
            found.append((presence_events_pb2.PresenceChanged.FromString(message.value()), dict(message.headers() or [])))
    return found


def heartbeats(user_id: str, *states: int, device_id: str = "phone") -> pb.RecordHeartbeatsRequest:
    beats = [pb.Heartbeat(tenant_id="default", user_id=user_id, device_id=device_id, state=state) for state in states]  # type: ignore[arg-type]
    return pb.RecordHeartbeatsRequest(heartbeats=beats)


async def test_coming_and_a_dead_gateway_are_told(
    start: Start, signer: Signer, store: redis.asyncio.Redis, engines: dict[str, str]
) -> None:
    """One heartbeat and then silence: online, later offline, to Kafka and to sockets, with the same event ids."""
    user = new_id()
    consumer = await asyncio.to_thread(records_from_now, engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"])
    async with start() as process, start(), Frames(store, user) as frames:
        stub = PresenceServiceStub(process.channel)
        await stub.RecordHeartbeats(heartbeats(user, pb.PRESENCE_STATE_ONLINE), metadata=process.internal(), timeout=5)
        came, went = await frames.next(), await frames.next()
        told = await asyncio.to_thread(events_of, consumer, user, 2)
        answer = await stub.GetPresence(pb.GetPresenceRequest(user_ids=[user]), metadata=signer.metadata(new_id()), timeout=5)
    consumer.close()
    assert (came["event_type"], came["data"]["state"], went["data"]["state"]) == ("presence.changed", "online", "offline")
    assert went["data"]["last_seen"] == came["data"]["last_seen"]
    assert [event.state for event, _ in told] == [pb.PRESENCE_STATE_ONLINE, pb.PRESENCE_STATE_OFFLINE]
    assert [event.previous_state for event, _ in told] == [pb.PRESENCE_STATE_OFFLINE, pb.PRESENCE_STATE_ONLINE]
    assert [headers["ce_id"].decode() for _, headers in told] == [came["event_id"], went["event_id"]]
    assert told[0][1]["tenant_id"] == b"default"
    [known] = answer.presences
    assert known.state == pb.PRESENCE_STATE_OFFLINE
    assert known.HasField("last_seen_time")


async def test_a_person_sets_and_reads_presence(start: Start, signer: Signer) -> None:
    """By the session when no device is named; others of the tenant see it, other tenants do not."""
    user = new_id()
    async with start() as process:
        stub = PresenceServiceStub(process.channel)
        mine = signer.metadata(user, session_id="session-9")
        set_to = await stub.UpdatePresence(pb.UpdatePresenceRequest(state=pb.PRESENCE_STATE_AWAY), metadata=mine, timeout=5)
        assert (set_to.user_id, set_to.state) == (user, pb.PRESENCE_STATE_AWAY)
        assert [device.device_id for device in set_to.devices] == ["session-9"]
        question = pb.GetPresenceRequest(user_ids=[new_id(), user])
        seen = await stub.GetPresence(question, metadata=signer.metadata(new_id()), timeout=5)
        assert [presence.state for presence in seen.presences] == [pb.PRESENCE_STATE_OFFLINE, pb.PRESENCE_STATE_AWAY]
        foreign = await stub.GetPresence(question, metadata=signer.metadata(new_id(), tenant_id="other"), timeout=5)
        assert {presence.state for presence in foreign.presences} == {pb.PRESENCE_STATE_OFFLINE}
        assert not any(presence.HasField("last_seen_time") for presence in foreign.presences)


async def test_who_may_call_what(start: Start, signer: Signer) -> None:
    """Heartbeats are for our own processes; the rest needs a signed-in person; nonsense is named."""
    async with start() as process:
        stub = PresenceServiceStub(process.channel)
        person, internal = signer.metadata(new_id()), process.internal()
        beat = heartbeats(new_id(), pb.PRESENCE_STATE_ONLINE)
        question = pb.GetPresenceRequest(user_ids=[new_id()])
        refusals: list[tuple[Any, grpc.StatusCode]] = [
            (stub.RecordHeartbeats(beat, metadata=person, timeout=5), grpc.StatusCode.PERMISSION_DENIED),
            (stub.RecordHeartbeats(beat, timeout=5), grpc.StatusCode.PERMISSION_DENIED),
            (stub.GetPresence(question, timeout=5), grpc.StatusCode.UNAUTHENTICATED),
            (stub.GetPresence(question, metadata=internal, timeout=5), grpc.StatusCode.UNAUTHENTICATED),
            (stub.GetPresence(pb.GetPresenceRequest(), metadata=person, timeout=5), grpc.StatusCode.INVALID_ARGUMENT),
            (stub.UpdatePresence(pb.UpdatePresenceRequest(), metadata=person, timeout=5), grpc.StatusCode.INVALID_ARGUMENT),
            (stub.RecordHeartbeats(heartbeats(new_id(), 0), metadata=internal, timeout=5), grpc.StatusCode.INVALID_ARGUMENT),
            (
                stub.RecordHeartbeats(heartbeats(new_id(), *[1] * 1001), metadata=internal, timeout=5),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ]
        for call, code in refusals:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is code


async def test_a_killed_process_loses_no_change(start: Start, signer: Signer, store: redis.asyncio.Redis) -> None:
    """Killed before it could tell: the next process tells it."""
    user = new_id()
    async with start(CHAT4ALL_PRESENCE__COALESCE_SECONDS="1", CHAT4ALL_PRESENCE__TTL_SECONDS="600") as first:
        stub = PresenceServiceStub(first.channel)
        await stub.RecordHeartbeats(heartbeats(user, pb.PRESENCE_STATE_ONLINE), metadata=first.internal(), timeout=5)
        first.process.kill()
    async with Frames(store, user) as frames, start():
        assert (await frames.next())["data"]["state"] == "online"


async def test_sockets_do_not_wait_for_kafka(start: Start, store: redis.asyncio.Redis) -> None:
    """Without Kafka a change is shown at once, and told again with the same id until Kafka takes it."""
    user = new_id()
    settings = {
        "CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "CHAT4ALL_PRESENCE__KAFKA_WAIT_SECONDS": "0.2",
        "CHAT4ALL_PRESENCE__TTL_SECONDS": "600",
    }
    async with start(**settings) as process, Frames(store, user) as frames:
        stub = PresenceServiceStub(process.channel)
        await stub.RecordHeartbeats(heartbeats(user, pb.PRESENCE_STATE_ONLINE), metadata=process.internal(), timeout=5)
        first, again = await frames.next(), await frames.next()
    assert first["data"]["state"] == "online"
    assert again == first


async def test_it_ends_in_order(start: Start) -> None:
    """A signal ends it with status 0 while it is idle and while it works."""
    async with start() as process:
        stub = PresenceServiceStub(process.channel)
        await stub.RecordHeartbeats(heartbeats(new_id(), pb.PRESENCE_STATE_ONLINE), metadata=process.internal(), timeout=5)
    assert process.process.returncode == 0


async def test_without_redis_calls_are_unavailable(start: Start, signer: Signer) -> None:
    """The process starts and says so, instead of waiting or answering as if nobody were there."""
    async with start(CHAT4ALL_REDIS__URL="redis://127.0.0.1:1/0") as process:
        stub = PresenceServiceStub(process.channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetPresence(pb.GetPresenceRequest(user_ids=[new_id()]), metadata=signer.metadata(new_id()), timeout=9)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
