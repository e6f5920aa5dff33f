"""What tests of the workers share: topics of their own, commands, processes that can be killed, and a look at the log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public there, not marked as exported
from google.protobuf.timestamp_pb2 import Timestamp
from pymongo import MongoClient
from pymongo.database import Database

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_runtime.events import EventCodec, OutgoingRecord
from chat4all_runtime.ids import new_id
from chat4all_runtime.kafka_producer import BlockingProducer
from chat4all_runtime.settings import KafkaSettings

TENANT = "default"
CODEC = EventCodec("/services/message")


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; fail with its name when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


_BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}  # as on every topic of ours


class World:
    """Topics, a database and a consumer group that nobody else uses."""

    def __init__(self, engines: dict[str, str]) -> None:
        self.engines = engines
        self.mark = new_id()[-12:]
        self.sent, self.stored, self.failed = (f"test.{self.mark}.{kind}" for kind in ("sent", "stored", "failed"))
        self.kafka = KafkaSettings(bootstrap_servers=engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"])
        self.producer = BlockingProducer(self.kafka)
        self.client: MongoClient[dict[str, Any]] = MongoClient(engines["CHAT4ALL_MONGO__URI"], tz_aware=True)
        self.database: Database[dict[str, Any]] = self.client[f"test_{self.mark}"]
        self._admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
        self._topics = [self.sent, self.stored, self.failed, f"{self.sent}.dlq", f"{self.stored}.dlq"]
        for future in self._admin.create_topics([NewTopic(name, 4, 1, config=_BROKER_TIME) for name in self._topics]).values():
            future.result(30)

    def close(self) -> None:
        """Remove what was made."""
        self.client.drop_database(self.database.name)
        self.client.close()
        for future in self._admin.delete_topics(self._topics).values():
            future.result(30)

    def environment(self) -> dict[str, str]:
        """What the workers are told."""
        return {
            **os.environ,
            **self.engines,
            "CHAT4ALL_MONGO__DATABASE": self.database.name,
            "CHAT4ALL_MONGO__TIMEOUT_SECONDS": "3",
            "CHAT4ALL_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "CHAT4ALL_ROUTER__GROUP": f"router-{self.mark}",
            "CHAT4ALL_ROUTER__COMMANDS_TOPIC": self.sent,
            "CHAT4ALL_ROUTER__STORED_TOPIC": self.stored,
            "CHAT4ALL_ROUTER__FAILED_TOPIC": self.failed,
            "CHAT4ALL_HISTORY__GROUP": f"history-{self.mark}",
            "CHAT4ALL_HISTORY__STORED_TOPIC": self.stored,
        }

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        """Put records into Kafka, in order."""
        self.producer.send_and_wait(records)

    def command(self, conversation_id: str, message_id: str, *, digest: str = "d", kind: str = "message") -> OutgoingRecord:
        """A record as the message service writes it."""
        accepted = Timestamp()
        accepted.GetCurrentTime()
        event = message_events_pb2.MessageCommand(
            tenant_id=TENANT,
            conversation_id=conversation_id,
            message_id=message_id,
            from_user_id="0190a000-0000-7000-8000-000000000001",
            kind=kind,
            content=message_pb2.MessageContent(type="text", text="x" * 120),
            accept_time=accepted,
            digest=digest,
        )
        return CODEC.encode(self.sent, conversation_id, event, TENANT, event_id=message_id)

    def commands(self, conversations: Sequence[str], count: int) -> tuple[list[OutgoingRecord], dict[str, list[str]]]:
        """So many commands in turn over the conversations, and the order each conversation must have."""
        records = []
        order: dict[str, list[str]] = {name: [] for name in conversations}
        for index in range(count):
            name = conversations[index % len(conversations)]
            message_id = new_id()
            order[name].append(message_id)
            records.append(self.command(name, message_id))
        return records, order

    def count(self) -> int:
        """Rows in the log."""
        return self.database["messages"].count_documents({})

    def await_count(self, count: int, seconds: float, what: str) -> None:
        """Wait until the log has at least so many rows."""
        until(lambda: self.count() >= count, seconds, f"{count} rows in the log: {what}")

    def check_log(self, order: dict[str, list[str]]) -> None:
        """Each conversation holds exactly these, numbered 1, 2, 3 … in this order."""
        for name, expected in order.items():
            rows = list(self.database["messages"].find({"conversation_id": name}).sort("sequence_number", 1))
            assert [row["sequence_number"] for row in rows] == list(range(1, len(expected) + 1)), name
            assert [row["_id"] for row in rows] == expected, name

    def read(self, topic: str) -> list[Any]:
        """Every record of a topic, by partition and offset."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": f"look-{new_id()}", "enable.auto.commit": False}
        )
        try:
            ends = {}
            for partition in range(4):
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high > low:
                    ends[partition] = high
            consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
            records = []
            deadline = time.monotonic() + 30
            while ends:
                assert time.monotonic() < deadline, f"{topic} could not be read to its end"
                for message in consumer.consume(1000, 0.5):
                    assert message.error() is None, message.error()
                    records.append(message)
                    if (message.offset() or 0) + 1 >= ends.get(message.partition() or 0, 0):
                        ends.pop(message.partition() or 0, None)
            return records
        finally:
            consumer.close()

    def announced(self) -> dict[str, set[int]]:
        """Numbers under which each id was announced."""
        result: dict[str, set[int]] = {}
        for record in self.read(self.stored):
            message = message_events_pb2.MessageStored.FromString(record.value()).message
            result.setdefault(message.message_id, set()).add(message.sequence_number)
        return result


class Worker:
    """A worker as its own process."""

    def __init__(self, world: World, package: str, folder: Path, instance: str = "1", **more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.output = folder / f"{package}-{instance}-{new_id()[-6:]}.log"
        environment = {**world.environment(), "CHAT4ALL_HTTP__PORT": str(self.port), "CHAT4ALL_INSTANCE": instance, **more}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, "-m", package], env=environment, stderr=output, cwd=folder)

    def await_ready(self) -> None:
        """Wait until it has its partitions."""
        until(self._is_ready, 40, f"the worker is ready; its log:\n{self.output.read_text()[-2000:]}")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()[-4000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> str:
        """Its /metrics page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """The orderly end; its exit status."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def workers(world: World, folder: Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers, and ends those that are left."""
    started: list[Worker] = []

    def start(package: str = "chat4all_router", instance: str = "1", **more: str) -> Worker:
        worker = Worker(world, package, folder, instance, **more)
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.kill()
