"""The bad day: killed at any moment, engines away at the start and later, two copies at once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from confluent_kafka import Message
from fakes.cuttable_proxy import CuttableProxy
from integration.conversation.harness import ConversationProcess, World, free_port, listening, reading, refused, until
from sqlalchemy.engine import make_url

from chat4all.conversation.v1 import conversation_events_pb2, conversation_pb2
from chat4all.conversation.v1 import conversation_service_pb2 as api
from chat4all.message.v1 import message_events_pb2

NO_KAFKA = {"CHAT4ALL_KAFKA__DELIVERY_TIMEOUT_MS": "1000"}


@contextmanager
def proxied(world: World, variable: str, *, mended: bool = True) -> Iterator[tuple[CuttableProxy, dict[str, str]]]:
    """A proxy before an engine, and the variable that leads a process through it."""
    url = make_url(world.engines[variable])
    assert url.host is not None
    assert url.port is not None
    with CuttableProxy(url.host, url.port, mended=mended) as proxy:
        yield proxy, {variable: url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)}


def rename(service: ConversationProcess, user: object, conversation_id: str, title: str) -> None:
    wanted = conversation_pb2.Conversation(conversation_id=conversation_id, title=title)
    service.call(user, "UpdateConversation", api.UpdateConversationRequest(conversation=wanted))  # type: ignore[arg-type]


def test_changes_made_without_kafka_survive_a_kill_and_come_once_in_order(world: World) -> None:
    """Promise: what was answered is told, after kill -9 and without Kafka at the time, once and in the order of the changes."""
    ana, bob, eve = world.user(), world.user(), world.user()
    nowhere = f"127.0.0.1:{free_port()}"
    titles = [f"title {number}" for number in range(20)]
    with reading(world, "conversation.created", "conversation.updated", "message.sent") as topics:
        with ConversationProcess(world, CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS=nowhere, **NO_KAFKA) as first:
            first.wait_ready()
            made = first.group(ana, bob)
            key = made.conversation_id
            first.call(ana, "AddMembers", api.AddMembersRequest(conversation_id=key, user_ids=[eve.id]))
            for title in titles:
                rename(first, ana, key, title)
            until(lambda: first.metric('chat4all_conversation_outbox_failures_total{cause="kafka"}') >= 1)
            first.kill()
        with ConversationProcess(world) as second:
            second.wait_ready()
            updates = topics.take(key, 21, conversation_events_pb2.ConversationUpdated, "conversation.updated")
            commands = topics.take(key, 21, message_events_pb2.MessageCommand, "message.sent")
            until(lambda: world.sql("select count(*) from outbox")[0][0] == 0)
            topics.read_on(1.0)
            assert second.stop() == 0
        assert len(topics.all(key, "conversation.created")) == 1
        assert len(topics.all(key, "conversation.updated")) == 21
        assert len(topics.all(key, "message.sent")) == 21
    assert [update.title for update in updates[1:]] == titles
    assert [command.content.data["title"] for command in commands[1:]] == titles
    assert len({command.message_id for command in commands}) == 21


def test_killed_again_and_again_under_load(world: World) -> None:
    """Promise: kill -9 at any point loses no event of an answered change; what comes twice has the same ids; order holds."""
    ana, bob = world.user(), world.user()
    answered: dict[str, list[str]] = {}
    stop = threading.Event()
    process = ConversationProcess(world)

    def work(group: str) -> None:
        mine = answered[group] = []
        number = 0
        while not stop.is_set():
            number += 1
            title = f"{group} {number:06d}"
            try:
                rename(process, ana, group, title)
                mine.append(title)
            except (grpc.RpcError, ValueError):
                # Not answered: it may or may not have happened. (ValueError: the channel of the killed copy is closed.)
                time.sleep(0.02)

    randomness = random.Random(7)
    with process, reading(world, "conversation.updated", "message.sent") as topics:
        process.wait_ready()
        groups = [process.group(ana, bob).conversation_id for _ in range(4)]
        threads = [threading.Thread(target=work, args=(group,)) for group in groups]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                time.sleep(randomness.uniform(0.3, 1.2))  # the moment of the kill is what is random here
                process.kill()
                process.start()
                process.wait_ready()
            before = sum(map(len, answered.values()))
            until(lambda: sum(map(len, answered.values())) > before + 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join(15)
        until(lambda: world.sql("select count(*) from outbox")[0][0] == 0)
        topics.read_on(1.5)
        assert process.stop() == 0
        for group in groups:
            assert len(answered[group]) > 10
            for topic in ("conversation.updated", "message.sent"):
                check(topics.all(group, topic), answered[group])


def check(records: list[Message], answered: list[str]) -> None:
    """Every answered change is there; without the repeats (same id) the order is the order of the changes."""
    seen: dict[str, str] = {}
    for record in records:
        event_id = header(record, "ce_id")
        if record.topic() == "message.sent":
            command = message_events_pb2.MessageCommand.FromString(record.value() or b"")
            assert command.message_id == event_id
            title = str(command.content.data["title"])
        else:
            title = conversation_events_pb2.ConversationUpdated.FromString(record.value() or b"").title
        assert seen.setdefault(event_id, title) == title
    titles = list(seen.values())
    assert titles == sorted(titles)
    assert max(Counter(titles).values()) == 1
    assert set(answered) <= set(titles)


def header(record: Message, name: str) -> str:
    """A header as text."""
    value = dict(record.headers() or [])[name]
    assert isinstance(value, bytes)
    return value.decode()


def test_it_starts_before_postgres_and_lives_through_its_absence(world: World) -> None:
    """Promise: the process waits for PostgreSQL; while it is away calls are UNAVAILABLE, readiness says so; then all is well."""
    ana, bob = world.user(), world.user()
    with (
        proxied(world, "CHAT4ALL_POSTGRES__DSN", mended=False) as (proxy, changed),
        ConversationProcess(world, **changed) as service,
    ):
        until(lambda: service.health("live") == 200)
        assert service.health("ready") == 503
        proxy.mend()
        service.wait_ready()
        made = service.group(ana, bob)
        proxy.cut()
        away = refused(lambda: service.group(ana, bob))
        assert away == ("UNAVAILABLE", "POSTGRES_UNAVAILABLE")
        until(lambda: service.health("ready") == 503)
        assert service.health("live") == 200
        stored = message_events_pb2.MessageStored(message=world.messages.append(made.conversation_id, bob.id))
        stored.store_time.GetCurrentTime()
        world.produce("message.stored", made.conversation_id, stored)
        until(lambda: "batch_retry" in service.log())
        proxy.mend()
        until(lambda: service.health("ready") == 200)
        assert service.group(ana, bob).member_count == 2
        # The batch that could not be written comes again by itself.
        query = "select last_sequence_number from conversations where conversation_id = $1"
        until(lambda: world.sql(query, made.conversation_id)[0][0] == 1)
        assert service.stop() == 0


def test_redis_away_is_counted_and_hinders_nothing(world: World) -> None:
    """Promise: nothing rests on Redis: calls go on, the loss is logged and counted, and it comes back by itself."""
    ana, bob = world.user(), world.user()
    with (
        proxied(world, "CHAT4ALL_REDIS__URL", mended=False) as (proxy, changed),
        ConversationProcess(world, **changed) as service,
    ):
        service.wait_ready()
        assert service.group(ana, bob).member_count == 2
        until(lambda: service.metric('chat4all_conversation_live_lines_total{outcome="failed"}') == 2)
        proxy.mend()
        with listening(world, f"user:{bob.id}:events") as take:
            made = service.group(ana, bob)
            assert take(1)[0][2]["conversation_id"] == made.conversation_id
        assert service.stop() == 0


def test_two_copies_share_the_outbox(world: World) -> None:
    """Promise: rows that one copy cannot get to Kafka are carried by the other, once, with the order kept."""
    ana, bob = world.user(), world.user()
    nowhere = f"127.0.0.1:{free_port()}"
    with (
        reading(world, "conversation.created", "conversation.updated") as topics,
        ConversationProcess(world, CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS=nowhere, CHAT4ALL_INSTANCE="sick", **NO_KAFKA) as sick,
        ConversationProcess(world, CHAT4ALL_INSTANCE="well") as well,
    ):
        sick.wait_ready()
        well.wait_ready()
        key = sick.group(ana, bob).conversation_id
        titles = [f"title {number}" for number in range(10)]
        for number, title in enumerate(titles):
            rename(sick if number % 2 else well, ana, key, title)
        updates = topics.take(key, 10, conversation_events_pb2.ConversationUpdated, "conversation.updated")
        assert [update.title for update in updates] == titles
        assert len(topics.all(key, "conversation.created")) == 1
        assert well.stop() == 0
        assert sick.stop() == 0
