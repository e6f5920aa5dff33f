"""What happens when an engine or a peer is away, and when the process is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
import pytest
from fakes.cuttable_proxy import CuttableProxy
from integration.message.harness import MessageProcess, SentReader, World, reason_of, refused, text, until

from chat4all.message.v1 import message_pb2
from chat4all.message.v1 import message_service_pb2 as pb

T = TypeVar("T")
ACCEPTED, STORED = message_pb2.MESSAGE_STATE_ACCEPTED, message_pb2.MESSAGE_STATE_STORED


@pytest.fixture
def mongo(world: World) -> Iterator[CuttableProxy]:
    with CuttableProxy("127.0.0.1", urlsplit(world.engines["CHAT4ALL_MONGO__URI"]).port or 27017) as proxy:
        yield proxy


@pytest.fixture
def redis(world: World) -> Iterator[CuttableProxy]:
    with CuttableProxy("127.0.0.1", urlsplit(world.engines["CHAT4ALL_REDIS__URL"]).port or 6379) as proxy:
        yield proxy


def mongo_through(proxy: CuttableProxy) -> str:
    return f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"


def redis_through(world: World, proxy: CuttableProxy) -> str:
    address = urlsplit(world.engines["CHAT4ALL_REDIS__URL"])
    return address._replace(netloc=f"{address.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}".lstrip("@")).geturl()


def test_everything_away_at_the_start(world: World, mongo: CuttableProxy, redis: CuttableProxy) -> None:
    """The process starts without any engine, says it is not ready, refuses with UNAVAILABLE, and becomes ready by itself."""
    host, _, port = world.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"].rpartition(":")
    me = world.user()
    conversation = world.conversations.add(me.id)
    with CuttableProxy(host, int(port)) as kafka:
        for proxy in (mongo, redis, kafka):
            proxy.cut()
        with MessageProcess(
            world,
            CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{kafka.port}",
            CHAT4ALL_MONGO__URI=mongo_through(mongo),
            CHAT4ALL_MONGO__TIMEOUT_SECONDS="1",
            CHAT4ALL_REDIS__URL=redis_through(world, redis),
        ) as service:
            until(lambda: service.health("live") == 200)
            assert service.health("ready") == 503
            request = text(conversation)
            until(lambda: refused(lambda: service.send(me, request, timeout=2)) == ("UNAVAILABLE", "KAFKA_UNAVAILABLE"))
            listing = pb.ListMessagesRequest(conversation_id=conversation)
            assert refused(lambda: service.call(me, "ListMessages", listing)) == ("UNAVAILABLE", "MONGODB_UNAVAILABLE")
            assert service.health("ready") == 503
            for proxy in (mongo, redis, kafka):
                proxy.mend()
            service.wait_ready()
            assert service.send(me, request).state == ACCEPTED
            assert service.call(me, "ListMessages", listing).last_sequence_number == 0
            assert "INTERNAL" not in service.log()


def test_kafka_gives_up_before_the_caller(world: World, sent: SentReader) -> None:
    """What Kafka gave up on is UNAVAILABLE, is sent anew under its first time when it is sent again, and is then there once."""
    host, _, port = world.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"].rpartition(":")
    me = world.user()
    conversation = world.conversations.add(me.id)
    request = text(conversation)
    with CuttableProxy(host, int(port), mended=False) as kafka:
        changed = {"CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka.port}", "CHAT4ALL_KAFKA__DELIVERY_TIMEOUT_MS": "1000"}
        with MessageProcess(world, **changed) as service:
            until(lambda: service.health("live") == 200)
            batch = pb.SendMessageBatchRequest(conversation_id=conversation, messages=[request, text("", "second")])
            results = service.call(me, "SendMessageBatch", batch).results
            assert [reason_of(result.error) for result in results] == ["KAFKA_UNAVAILABLE"] * 2
            first_try = time.time()
            kafka.mend()
            service.wait_ready()
            answer = service.send(me, request)
            assert answer.state == ACCEPTED
            assert answer.message.create_time.ToMilliseconds() < first_try * 1000
            assert service.send(me, request) == answer
    assert len(sent.all(conversation)) == 1


def test_mongodb_away(world: World, mongo: CuttableProxy, sent: SentReader) -> None:
    """Sending goes on, quickly; reading is UNAVAILABLE; afterwards repeats are recognised again. One log line for the outage."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    with MessageProcess(world, CHAT4ALL_MONGO__URI=mongo_through(mongo), CHAT4ALL_MONGO__TIMEOUT_SECONDS="1") as service:
        service.wait_ready()
        before = text(conversation, "before")
        service.send(me, before)
        mongo.cut()
        for number in range(30):
            assert service.send(me, text(conversation, f"{number}")).state == ACCEPTED
        started = time.monotonic()
        service.send(me, text(conversation, "quick"))
        assert time.monotonic() - started < 1.0
        assert refused(lambda: service.call(me, "ListMessages", pb.ListMessagesRequest(conversation_id=conversation))) == (
            "UNAVAILABLE",
            "MONGODB_UNAVAILABLE",
        )
        assert service.log().count("id_lookup_away") == 1
        assert service.metric("chat4all_message_lookup_outages_total") == 1
        assert service.health("ready") == 200
        commands = sent.take(conversation, 32)
        assert [command.content.text for command in commands] == ["before", *(f"{number}" for number in range(30)), "quick"]
        mongo.mend()
        world.store(commands[0], 1)
        until(lambda: service.send(me, before).state == STORED)


def test_redis_away(world: World, redis: CuttableProxy, sent: SentReader) -> None:
    """Waiting for the number works without the live channel, and uses it again when it is back."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    channel = f"conversation:{conversation}:events"
    with MessageProcess(world, CHAT4ALL_REDIS__URL=redis_through(world, redis)) as service:
        service.wait_ready()
        redis.cut()
        call = service.begin(me, "SendMessage", text(conversation, wait_for=pb.WAIT_FOR_STORED))
        world.store(sent.take(conversation, 1)[0], 1)
        assert call.result(timeout=5).message.sequence_number == 1
        redis.mend()
        call = service.begin(me, "SendMessage", text(conversation, wait_for=pb.WAIT_FOR_STORED))
        until(lambda: world.redis.pubsub_numsub(channel)[0][1] == 1)
        world.store(sent.take(conversation, 2)[1], 2)
        assert call.result(timeout=5).message.sequence_number == 2


def answered(call: Callable[[], T]) -> T | None:
    """The answer; None while the service says that it cannot be reached."""
    try:
        return call()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


def test_conversation_service_away(world: World, service: MessageProcess) -> None:
    """Remembered conversations go on; others are UNAVAILABLE until it is back."""
    me = world.user()
    known, unknown = world.conversations.add(me.id), world.conversations.add(me.id)
    service.send(me, text(known))
    world.conversations.server.stop()
    try:
        assert service.send(me, text(known)).state == ACCEPTED
        assert refused(lambda: service.send(me, text(unknown))) == ("UNAVAILABLE", "CONVERSATION_UNAVAILABLE")
        listing = pb.ListMessagesRequest(conversation_id=unknown)
        assert refused(lambda: service.call(me, "ListMessages", listing)) == ("UNAVAILABLE", "CONVERSATION_UNAVAILABLE")
    finally:
        world.conversations.server.start()
    assert until(lambda: answered(lambda: service.send(me, text(unknown)))).state == ACCEPTED


def test_file_service_away(world: World, service: MessageProcess) -> None:
    """Messages with files are UNAVAILABLE, everything else goes on."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    content = message_pb2.MessageContent(type="image", file_id=world.files.add(me.id, conversation))
    items = [text(""), pb.SendMessageRequest(message_id=text("").message_id, content=content)]
    request = pb.SendMessageBatchRequest(conversation_id=conversation, messages=items)
    world.files.server.stop()
    try:
        first, second = service.call(me, "SendMessageBatch", request).results
    finally:
        world.files.server.start()
    assert first.state == ACCEPTED
    assert second.error.code == grpc.StatusCode.UNAVAILABLE.value[0]
    # Accepted as soon as the channel has found the service again.
    until(lambda: service.call(me, "SendMessageBatch", request).results[1].state == ACCEPTED)


def test_stop_finishes_what_was_begun(world: World, sent: SentReader) -> None:
    """Told to stop under traffic, the process answers the calls in flight, ends with 0, and nothing acknowledged is lost."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    with MessageProcess(world) as service:
        service.wait_ready()
        service.send(me, text(conversation, "warm"))
        calls = [service.begin(me, "SendMessage", text(conversation, f"{number}")) for number in range(100)]
        calls[0].result(timeout=10)
        channel, service._channel = service._channel, None
        assert service.stop() == 0
        accepted = [number for number, call in enumerate(calls) if call.exception(timeout=10) is None]
        assert channel is not None
        channel.close()
    in_kafka = {command.content.text for command in sent.all(conversation, seconds=1.0)}
    assert {f"{number}" for number in accepted} <= in_kafka
    assert accepted
