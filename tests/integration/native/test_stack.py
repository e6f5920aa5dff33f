"""The launcher with the real engines: it starts them all, survives every kill, tells plainly what is wrong, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import boto3
import psutil
import pytest
import redis
from botocore.config import Config
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from chat4all_native import ENGINES, Stack, StartFailed, Step, find_free_block
from chat4all_native.layout import checkout
from chat4all_native.loopback import call
from chat4all_native.ports import HOST
from chat4all_native.process import strays
from chat4all_native.topics import FILE, Partitions, TopicFile, TopicSettings, apply, read_topics
from chat4all_native.waiting import Deadline, wait_until

TOPIC = "message.sent"


def pids(stack: Stack) -> dict[str, int | None]:
    return {name: stack.pid(name) for name in ENGINES}


def kill_and_wait(stack: Stack, names: Iterable[str]) -> None:
    for name in names:
        stack.kill(name, signal.SIGKILL)
        assert wait_until(lambda name=name: "alive" if stack.pid(name) else None, Deadline(10)) is None  # type: ignore[misc]  # the default binds it


def s3_client(environment: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environment["CHAT4ALL_S3__ENDPOINT"],
        aws_access_key_id=environment["CHAT4ALL_S3__ACCESS_KEY"],
        aws_secret_access_key=environment["CHAT4ALL_S3__SECRET_KEY"],
        region_name=environment["CHAT4ALL_S3__REGION"],
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


def mongo_client(environment: dict[str, str]) -> MongoClient[dict[str, Any]]:
    return MongoClient(environment["CHAT4ALL_MONGO__URI"], timeoutMS=10_000)


def etcd_call(environment: dict[str, str], path: str, body: str) -> str:
    return call(environment["CHAT4ALL_ETCD__ENDPOINT"], path, body.encode()).decode()


def write_everywhere(environment: dict[str, str], mark: str) -> int:
    """One acknowledged write into each engine that must remember; returns the Kafka offset."""
    offsets: list[int | None] = []
    producer = Producer({"bootstrap.servers": environment["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"], "acks": "all"})
    producer.produce(TOPIC, value=mark, partition=0, on_delivery=lambda error, message: offsets.append(message.offset()))
    assert producer.flush(20) == 0
    with mongo_client(environment) as mongo:
        durable = mongo["chat4all"].get_collection("survival", write_concern=WriteConcern(w="majority", j=True))
        durable.insert_one({"_id": mark})
    asyncio.run(statement(environment, "create table if not exists survival (mark text primary key)"))
    asyncio.run(statement(environment, "insert into survival values ($1)", mark))
    client = s3_client(environment)
    client.put_object(Bucket=environment["CHAT4ALL_S3__BUCKET"], Key=mark, Body=mark.encode())
    client.close()
    encoded = b64encode(mark.encode()).decode()
    etcd_call(environment, "/v3/kv/put", f'{{"key": "{encoded}", "value": "{encoded}"}}')
    assert offsets[0] is not None
    return offsets[0]


def read_everywhere(environment: dict[str, str], mark: str, offset: int) -> None:
    """Fails unless every engine still has the write."""
    consumer = Consumer({"bootstrap.servers": environment["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"], "group.id": "survival"})
    consumer.assign([TopicPartition(TOPIC, 0, offset)])
    record = consumer.poll(20)
    consumer.close()
    assert record is not None
    assert record.error() is None
    assert record.value() == mark.encode()
    with mongo_client(environment) as mongo:
        assert mongo["chat4all"]["survival"].find_one({"_id": mark}) is not None
    assert asyncio.run(statement(environment, "select count(*) from survival where mark = $1", mark)) == 1
    client = s3_client(environment)
    assert client.get_object(Bucket=environment["CHAT4ALL_S3__BUCKET"], Key=mark)["Body"].read() == mark.encode()
    client.close()
    encoded = b64encode(mark.encode()).decode()
    assert encoded in etcd_call(environment, "/v3/kv/range", f'{{"key": "{encoded}"}}')


async def statement(environment: dict[str, str], sql: str, *values: object) -> object:
    connection = await asyncpg.connect(environment["CHAT4ALL_POSTGRES__DSN"], timeout=10)
    try:
        return await connection.fetchval(sql, *values)
    finally:
        await connection.close()


def test_all_engines_come_up_ready_on_loopback_inside_their_block(stack: Stack) -> None:
    """Every engine answers; nothing listens elsewhere than on 127.0.0.1 in the 40 ports of this copy."""
    status = {row.name: row for row in stack.status() if row.kind == "engine"}
    assert set(status) == set(ENGINES)
    for row in status.values():
        assert row.ready, f"{row.name}: {row.why_not_ready}"
        assert row.rss_bytes > 1_000_000
        assert row.up_since is not None
    own = {
        pid for row in status.values() if row.pid for pid in (row.pid, *(c.pid for c in psutil.Process(row.pid).children(True)))
    }
    listening = [c.laddr for c in psutil.net_connections("tcp") if c.pid in own and c.status == psutil.CONN_LISTEN and c.laddr]
    assert listening
    base = stack.ports.base
    assert {address.ip for address in listening} == {HOST}
    assert all(base <= address.port < base + 40 for address in listening), sorted(address.port for address in listening)


def test_what_is_inside_is_there(stack: Stack) -> None:
    """Topics as the file says, database, bucket; passwords are asked for."""
    environment = stack.environment("tests")
    producer = Producer({"bootstrap.servers": environment["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"]})
    there = producer.list_topics(timeout=10).topics
    for name, storage in read_topics(checkout() / FILE).storage().items():
        assert len(there[name].partitions) == storage.partitions.development
    assert asyncio.run(statement(environment, "select current_database()")) == "chat4all"
    client = s3_client(environment)
    assert "chat4all" in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    client.close()
    with (
        redis.Redis(host=HOST, port=stack.ports.port("redis"), socket_timeout=5) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_topics_are_aligned_but_never_repartitioned(stack: Stack) -> None:
    """A changed retention is applied; a changed partition count is told and left alone; the second time nothing is to do."""
    admin = AdminClient({"bootstrap.servers": stack.environment("tests")["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"]})
    counts = {"development": 2, "production": 2}
    file = TopicFile.model_validate(
        {
            "dead_letters": {"partitions": counts, "retention_hours": 1, "cleanup": "delete"},
            "topics": [
                {
                    "name": "test.aligned",
                    "key": "id",
                    "owner": "test",
                    "partitions": counts,
                    "retention_hours": 1,
                    "cleanup": "delete",
                }
            ],
        }
    )
    assert apply(admin, file, TopicSettings()).created == ["test.aligned"]
    topic = file.topics[0]
    longer = file.model_copy(
        update={
            "topics": (topic.model_copy(update={"retention_hours": 2, "partitions": Partitions(development=5, production=5)}),)
        }
    )
    # The broker takes a new topic into its metadata a moment after it was created.
    assert wait_until(lambda: None if "test.aligned" in admin.list_topics(timeout=5).topics else "unknown", Deadline(10)) is None
    report = apply(admin, longer, TopicSettings())
    assert (report.created, report.altered) == ([], ["test.aligned"])
    assert report.differing == ["test.aligned has 2 partitions where topics.yaml says 5; left as it is"]
    assert wait_until(lambda: None if not apply(admin, longer, TopicSettings()).altered else "old settings", Deadline(10)) is None
    admin.delete_topics(["test.aligned"])["test.aligned"].result(10)


def test_up_twice_leaves_what_runs_alone(stack: Stack) -> None:
    """The second `up` starts nothing and tells that everything runs."""
    before = pids(stack)
    steps: list[Step] = []
    stack.up(steps.append, only=ENGINES)
    assert pids(stack) == before
    assert {(step.name, step.state) for step in steps} == {(name, "running") for name in ENGINES}


def test_everything_acknowledged_survives_a_kill_of_everything(stack: Stack) -> None:
    """Kill -9 of all engines at once; `up` works again and every acknowledged write is there."""
    offset = write_everywhere(stack.environment("tests"), "before-the-kill")
    before = pids(stack)
    kill_and_wait(stack, ENGINES)
    stack.up(only=ENGINES)
    assert all(pid is not None and pid != before[name] for name, pid in pids(stack).items())
    read_everywhere(stack.environment("tests"), "before-the-kill", offset)


def test_one_dead_engine_is_started_and_the_others_are_left_alone(stack: Stack) -> None:
    """`up` repairs what is broken, no more."""
    before = pids(stack)
    kill_and_wait(stack, ["postgres"])
    rows = {row.name: row for row in stack.status()}
    assert rows["postgres"].why_not_ready == "it does not run"
    stack.up(only=ENGINES)
    after = pids(stack)
    assert after.pop("postgres") not in (None, before.pop("postgres"))
    assert after == before


def test_the_copy_moves_to_other_ports_with_its_data(stack: Stack) -> None:
    """After `down` a copy starts on another block: replica set, volumes and logs follow. While it runs it cannot be moved."""
    offset = write_everywhere(stack.environment("tests"), "before-the-move")
    other = find_free_block()
    folder = stack.layout.state
    with pytest.raises(StartFailed, match="run `chat4all down` before you move it"):
        Stack(folder, other).up(only=ENGINES)
    stack.down()
    moved = Stack(folder, other)
    try:
        moved.up(only=ENGINES)
        read_everywhere(moved.environment("tests"), "before-the-move", offset)
    finally:
        moved.down()


def test_down_leaves_nothing(stack: Stack) -> None:
    """No process, no pid file, no port; a second `down` has nothing to do."""
    ports = stack.ports
    steps: list[Step] = []
    stack.down(steps.append)
    assert {(step.name, step.state) for step in steps if step.state != "stopping"} == {(name, "stopped") for name in ENGINES}
    assert steps[-1].name == "kafka"
    assert strays(stack.layout.state) == []
    assert stack.layout.known() == []
    for offset in range(40):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, ports.base + offset))
    again: list[Step] = []
    stack.down(again.append)
    assert again == []


def test_a_taken_port_is_one_sentence_and_nothing_is_started(small_stack: Stack) -> None:
    """It names port, holder and setting, before any engine was started."""
    port = small_stack.ports.port("redis")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((HOST, port))
        thief.listen(1)
        with pytest.raises(StartFailed) as caught:
            small_stack.up(only=["etcd", "redis"])
    sentence = caught.value.sentence
    assert caught.value.name == "redis"
    for word in (str(port), f"pid {os.getpid()}", "CHAT4ALL_PORT_BASE"):
        assert word in sentence
    assert "\n" not in sentence
    assert small_stack.pid("etcd") is None
    small_stack.up(only=["etcd", "redis"])


def test_an_engine_that_dies_is_told_with_its_last_words(small_stack: Stack) -> None:
    """The sentence says that it ended, the tail is from this engine's own log."""
    broken = Stack(small_stack.layout.state, small_stack.ports.base, overrides={"kafka": {"KAFKA_HEAP_OPTS": "-Xms2g -Xmx1g"}})
    steps: list[Step] = []
    with pytest.raises(StartFailed) as caught:
        broken.up(steps.append, only=["kafka"])
    assert caught.value.name == "kafka"
    assert "ended with status 1 while it started" in caught.value.sentence
    assert any("heap" in line for line in caught.value.log_tail)
    assert [step.state for step in steps] == ["starting", "failed"]


def test_an_engine_that_hangs_is_seen_and_ended(small_stack: Stack) -> None:
    """A process that runs but does not answer is not ready; `down` ends it all the same."""
    small_stack.up(only=["redis"])
    small_stack.kill("redis", signal.SIGSTOP)
    with pytest.raises(StartFailed, match="not ready after 1 s: it does not answer PING"):
        small_stack.wait_ready(["redis"], 1.0)
    small_stack.kill("redis", signal.SIGCONT)
    small_stack.wait_ready(["redis"], 10.0)


def test_lost_pid_files_do_not_lose_processes(small_stack: Stack) -> None:
    """What runs without a pid file is ended before its successor starts, and by `down`."""
    small_stack.up(only=["redis", "etcd"])
    old = small_stack.pid("redis")
    for name in ("redis", "etcd"):
        small_stack.layout.run(name).unlink()
    small_stack.up(only=["redis"])
    assert small_stack.pid("redis") not in (None, old)
    assert len(strays(small_stack.layout.state)) == 2
    small_stack.down()
    assert strays(small_stack.layout.state) == []


def test_two_copies_do_not_touch_each_other(small_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each has its own ports, data and passwords; ending one leaves the other alone."""
    small_stack.up(only=["redis", "etcd"])
    before = {name: small_stack.pid(name) for name in ("redis", "etcd")}
    other = Stack(tmp_path_factory.mktemp("other") / "state", find_free_block())
    try:
        other.up(only=["redis", "etcd"])
        assert other.environment("tests")["CHAT4ALL_REDIS__URL"] != small_stack.environment("tests")["CHAT4ALL_REDIS__URL"]
    finally:
        other.down()
    assert {name: small_stack.pid(name) for name in ("redis", "etcd")} == before
    small_stack.wait_ready(["redis", "etcd"], 5.0)


def test_two_commands_at_once_take_turns(small_stack: Stack) -> None:
    """Two people who type `up` at the same moment start one copy."""
    folder, base = small_stack.layout.state, small_stack.ports.base
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: Stack(folder, base).up(only=["redis"]), range(2)))
    assert len(strays(folder)) == 1


def test_one_part_by_name(small_stack: Stack) -> None:
    """Start, stop, log and an unknown name."""
    pid = small_stack.start("redis")
    assert small_stack.pid("redis") == pid
    assert any("Ready to accept connections" in line for line in small_stack.log_tail("redis", 20))
    assert small_stack.stop("redis") is True
    assert small_stack.pid("redis") is None
    with pytest.raises(StartFailed, match="no part of this name; there are kafka"):
        small_stack.start("rediss")
