"""Starts and stops the conversation service, calls it, and reads what it wrote to Kafka and Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
import grpc
import orjson
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from fakes.auth_peer import FakeAuth, TokenIssuer
from fakes.message_peer import FakeMessages
from google.protobuf.message import Message as ProtoMessage
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from chat4all.conversation.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings

CALL_SECONDS = 10.0
T = TypeVar("T")
M = TypeVar("M", bound=ProtoMessage)


def until(check: Callable[[], T | None], seconds: float = 20.0, every: float = 0.05) -> T:
    """The first answer that is not None or False, within a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found is not None and found is not False:
            return found
        time.sleep(every)
    raise AssertionError(f"nothing came within {seconds} s")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """What surrounds the service: engines, fake peers, tokens."""

    def __init__(self, engines: dict[str, str]) -> None:
        self.engines = engines
        self.internal = InternalSettings(secret=engines["CHAT4ALL_INTERNAL__SECRET"])
        self.auth = FakeAuth(self.internal)  # type: ignore[abstract]  # the one method its peers call
        self.messages = FakeMessages(self.internal)  # type: ignore[abstract]  # the one method its peers call
        self.tokens = TokenIssuer()
        self.group = f"conversation-activity-{new_id()}"
        self._stack = ExitStack()

    def __enter__(self) -> World:
        self._stack.enter_context(self.tokens)
        self._stack.enter_context(self.auth.server)
        self._stack.enter_context(self.messages.server)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def user(self, tenant_id: str = "default") -> User:
        """A new user whom auth knows."""
        user_id = self.auth.add(tenant_id)
        return User(user_id, (("authorization", f"Bearer {self.tokens.token(user_id, tenant_id)}"),))

    def sql(self, query: str, *values: Any) -> list[Any]:
        """Rows straight from the service's schema."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(
                self.engines["CHAT4ALL_POSTGRES__DSN"], timeout=5, server_settings={"search_path": "conversation"}
            )
            try:
                return list(await connection.fetch(query, *values, timeout=10))
            finally:
                await connection.close()

        return asyncio.run(run())

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """A client of the real Redis."""
        client = redis.Redis.from_url(self.engines["CHAT4ALL_REDIS__URL"], socket_timeout=5)
        try:
            yield client
        finally:
            client.close()

    def produce(self, topic: str, key: str, event: ProtoMessage) -> None:
        """Put one event into a topic, as its owner would."""
        producer = Producer({"bootstrap.servers": self.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"]})
        headers: list[tuple[str, str | bytes | None]] = [
            ("ce_type", event.DESCRIPTOR.full_name.encode()),
            ("ce_id", new_id().encode()),
        ]
        producer.produce(topic, event.SerializeToString(), key.encode(), headers=headers)
        assert producer.flush(10) == 0


class User:
    """Somebody with an access token."""

    def __init__(self, user_id: str, metadata: tuple[tuple[str, str], ...]) -> None:
        self.id = user_id
        self.metadata = metadata


class TopicReader:
    """Reads topics from where they end now."""

    def __init__(self, world: World, topics: Sequence[str]) -> None:
        self._consumer = Consumer({"bootstrap.servers": world.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"], "group.id": new_id()})
        self._seen: list[Message] = []
        places = []
        for topic in topics:
            for partition in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                places.append(TopicPartition(topic, partition, end))
        self._consumer.assign(places)

    def take(self, key: str, count: int, kind: type[M], topic: str, seconds: float = 20.0) -> list[M]:
        """The first `count` events of that topic and key, in order."""
        return [kind.FromString(record.value() or b"") for record in self.records(key, count, topic, seconds)]

    def records(self, key: str, count: int, topic: str, seconds: float = 20.0) -> list[Message]:
        """The same as records."""

        def found() -> list[Message] | None:
            self._seen += [record for record in self._consumer.consume(500, 0.1) if record.error() is None]
            fitting = self.all(key, topic)
            return fitting if len(fitting) >= count else None

        return until(found, seconds, every=0)

    def all(self, key: str, topic: str) -> list[Message]:
        """What has been read of that topic and key so far."""
        return [record for record in self._seen if record.topic() == topic and record.key() == key.encode()]

    def read_on(self, seconds: float) -> None:
        """Read for so long, to be able to say that nothing more came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._seen += [record for record in self._consumer.consume(500, 0.1) if record.error() is None]

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


@contextmanager
def reading(world: World, *topics: str) -> Iterator[TopicReader]:
    """A reader for a test."""
    reader = TopicReader(world, topics)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def listening(world: World, *channels: str) -> Iterator[Callable[[int], list[tuple[str, list[str], dict[str, Any]]]]]:
    """Listen on Redis channels; gives a function for the next n lines as (channel, fields before the frame, frame)."""
    with world.redis() as client:
        pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # as published
        pubsub.subscribe(*channels)
        until(lambda: (pubsub.get_message(timeout=0.1), len(pubsub.channels) == len(channels))[1])
        lines: list[tuple[str, list[str], dict[str, Any]]] = []

        def take(count: int) -> list[tuple[str, list[str], dict[str, Any]]]:
            def enough() -> bool:
                message = pubsub.get_message(timeout=0.1)
                if message is not None and message["type"] == "message":
                    for line in message["data"].decode().split("\n"):
                        *fields, frame = line.split("\t", 4)
                        lines.append((message["channel"].decode(), fields, orjson.loads(frame)))
                return len(lines) >= count

            until(enough, every=0)
            return [lines.pop(0) for _ in range(count)]

        try:
            yield take
        finally:
            pubsub.close()


class ConversationProcess:
    """The service as a process of its own, from `start` to `stop` or `kill`."""

    def __init__(self, world: World, **changed: str) -> None:
        self._world = world
        self._changed = changed
        self.grpc_port = free_port()
        self.http_port = free_port()
        self._log = Path(tempfile.mkstemp(prefix="conversation-", suffix=".log")[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    def environment(self) -> dict[str, str]:
        """What the process is told."""
        world = self._world
        return {
            "PATH": os.environ["PATH"],
            **world.engines,
            "CHAT4ALL_GRPC__PORT": str(self.grpc_port),
            "CHAT4ALL_HTTP__PORT": str(self.http_port),
            "CHAT4ALL_TOKENS__JWKS_URL": world.tokens.jwks_url,
            "CHAT4ALL_AUTH__TARGET": world.auth.server.target,
            "CHAT4ALL_MESSAGE__TARGET": world.messages.server.target,
            "CHAT4ALL_ACTIVITY__GROUP": world.group,
            "CHAT4ALL_OUTBOX__POLL_SECONDS": "1",
            **self._changed,
        }

    def start(self) -> None:
        """Start it; returns at once."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "chat4all_conversation"]
            self._process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc_port}", [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 100)]
        )
        self.stub = conversation_service_pb2_grpc.ConversationServiceStub(self._channel)

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Return when it says it is ready."""
        until(lambda: self._ended_early() or self.health("ready") == 200, seconds)

    def _ended_early(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the process ended with {self._process.returncode}:\n{self.log()[-4000:]}")
        return False

    def health(self, which: str) -> int:
        """HTTP status of /health/<which>; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/health/{which}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def metric(self, name: str) -> float:
        """The value of one sample, labels included in the name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=2) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")

    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        return process.wait(30)

    def __enter__(self) -> ConversationProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if error is not None:
            sys.stderr.write(self.log()[-4000:])
        self._log.unlink()

    def call(self, user: User | None, method: str, request: ProtoMessage, timeout: float = CALL_SECONDS) -> Any:
        """One call as a user, or as one of our processes when `user` is None."""
        tokens = ServiceTokens(self._world.internal, "tests")
        metadata = user.metadata if user is not None else (("x-service-token", tokens.mint()),)
        return getattr(self.stub, method)(request, timeout=timeout, metadata=metadata)

    def group(self, owner: User, *members: User, title: str = "", request_id: str = "") -> conversation_pb2.Conversation:
        """Create a group."""
        request = conversation_service_pb2.CreateConversationRequest(
            type=conversation_pb2.CONVERSATION_TYPE_GROUP,
            title=title,
            member_ids=[member.id for member in members],
            request_id=request_id or new_id(),
        )
        answer: conversation_pb2.Conversation = self.call(owner, "CreateConversation", request)
        return answer


class Refusal:
    """A refused call as a client sees it."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code().name
        status = rpc_status.from_call(error)
        self.reason, self.domain, self.metadata = "", "", {}
        for detail in status.details if status is not None else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                self.reason, self.domain, self.metadata = info.reason, info.domain, dict(info.metadata)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Code and reason of a call that must be refused."""
    try:
        call()
    except grpc.RpcError as error:
        refusal = Refusal(error)
        return refusal.code, refusal.reason
    raise AssertionError("the call was not refused")
