"""Starts and stops the message service, calls it, reads what it wrote to Kafka, and plays the router where a test needs one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from fakes.auth_peer import TokenIssuer
from fakes.conversation_peer import FakeConversations
from fakes.file_peer import FakeFiles
from google.protobuf.message import Message as ProtoMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chat4all.message.v1 import message_events_pb2, message_pb2, message_service_pb2_grpc
from chat4all.message.v1 import message_service_pb2 as pb
from chat4all_message.log_frame import encode_frame
from chat4all_message.wire import plain_content
from chat4all_runtime import mongodb
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings, MongoSettings

CALL_SECONDS = 10.0
T = TypeVar("T")


def until(check: Callable[[], T | None], seconds: float = 20.0, every: float = 0.02) -> T:
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


class User:
    """Somebody with an access token."""

    def __init__(self, user_id: str, tenant_id: str, token: str) -> None:
        self.id = user_id
        self.tenant_id = tenant_id
        self.metadata = (("authorization", f"Bearer {token}"),)


class World:
    """What surrounds the service: engines, fake peers, tokens, and a hand in Kafka, MongoDB and Redis."""

    def __init__(self, engines: dict[str, str]) -> None:
        self.engines = engines
        self.internal = InternalSettings(secret=engines["CHAT4ALL_INTERNAL__SECRET"])
        self.tokens = TokenIssuer()
        self.conversations = FakeConversations(self.internal)
        self.files = FakeFiles(self.internal)
        self._stack = ExitStack()

    def __enter__(self) -> World:
        self._stack.enter_context(self.tokens)
        self._stack.enter_context(self.conversations.server)
        self._stack.enter_context(self.files.server)
        client, self.database = mongodb.open_sync(
            MongoSettings(
                uri=self.engines["CHAT4ALL_MONGO__URI"],
                database=self.engines["CHAT4ALL_MONGO__DATABASE"],
            )
        )
        self._stack.callback(client.close)
        self.redis = self._stack.enter_context(redis.Redis.from_url(self.engines["CHAT4ALL_REDIS__URL"], socket_timeout=5))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def user(self, tenant_id: str = "default") -> User:
        """Somebody new."""
        user_id = new_id()
        return User(user_id, tenant_id, self.tokens.token(user_id, tenant_id))

    def produce(self, topic: str, key: str, event: ProtoMessage) -> None:
        """Put one event into a topic, as its owner would."""
        producer = Producer({"bootstrap.servers": self.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"]})
        producer.produce(topic, event.SerializeToString(), key.encode(), headers=[("ce_type", event.DESCRIPTOR.full_name)])
        assert producer.flush(10) == 0

    def store(self, command: message_events_pb2.MessageCommand, sequence_number: int, *, publish: bool = True) -> dict[str, Any]:
        """What the router does with a command: into the log under this number, then to who listens."""
        document: dict[str, Any] = {
            "_id": command.message_id,
            "tenant_id": command.tenant_id,
            "conversation_id": command.conversation_id,
            "sequence_number": sequence_number,
            "kind": command.kind,
            "from_user_id": command.from_user_id,
            "payload": plain_content(command.content),
            "digest": command.digest,
            "created_at": command.accept_time.ToDatetime(tzinfo=UTC),
            "stored_at": datetime.now(UTC),
        }
        if command.reply_to_message_id:
            document["reply_to_message_id"] = command.reply_to_message_id
        self.database["messages"].insert_one(document)
        if publish:
            line = f"e\t{sequence_number}\t{command.from_user_id}\t{command.message_id}\t".encode() + encode_frame(document)
            self.redis.publish(f"conversation:{command.conversation_id}:events", line)
        return document

    def write(self, conversation_id: str, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Entries straight into the log, numbered from 1; each says what is not ordinary about it."""
        documents = []
        for number, entry in enumerate(entries, 1):
            at = datetime.now(UTC)
            documents.append(
                {
                    "_id": new_id(),
                    "tenant_id": "default",
                    "conversation_id": conversation_id,
                    "sequence_number": number,
                    "kind": "message",
                    "from_user_id": "",
                    "payload": {"type": "text", "text": f"entry {number}", "format": "plain"},
                    "digest": "",
                    "created_at": at.replace(microsecond=at.microsecond // 1000 * 1000),
                    "stored_at": at.replace(microsecond=at.microsecond // 1000 * 1000),
                    **entry,
                }
            )
        self.database["messages"].insert_many(documents)
        return documents


class SentReader:
    """Reads `message.sent` from where it ends now."""

    def __init__(self, world: World) -> None:
        self._consumer = Consumer({"bootstrap.servers": world.engines["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"], "group.id": new_id()})
        self._seen: list[Any] = []
        partitions = self._consumer.list_topics("message.sent", timeout=10).topics["message.sent"].partitions
        places = []
        for partition in partitions:
            end = until(partial(self._end, TopicPartition("message.sent", partition)))
            places.append(TopicPartition("message.sent", partition, end))
        self._consumer.assign(places)

    def _end(self, place: TopicPartition) -> int | None:
        try:
            return int(self._consumer.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NOT_LEADER_FOR_PARTITION:
                return None  # the topic has only just been made
            raise

    def __enter__(self) -> SentReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def records(self, conversation_id: str, count: int, seconds: float = 20.0) -> list[Any]:
        """The first `count` records of that conversation, in order."""

        def found() -> list[Any] | None:
            self._read()
            fitting = [record for record in self._seen if record.key() == conversation_id.encode()]
            return fitting if len(fitting) >= count else None

        return until(found, seconds, every=0)

    def take(self, conversation_id: str, count: int, seconds: float = 20.0) -> list[message_events_pb2.MessageCommand]:
        """The same as commands."""
        return [
            message_events_pb2.MessageCommand.FromString(record.value())
            for record in self.records(conversation_id, count, seconds)
        ]

    def all(self, conversation_id: str, seconds: float = 0.5) -> list[message_events_pb2.MessageCommand]:
        """Everything of that conversation that comes within this time: to be able to say that nothing more does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()
        return self.take(conversation_id, 0)

    def _read(self) -> None:
        self._seen += [record for record in self._consumer.consume(500, 0.05) if record.error() is None]


class MessageProcess:
    """The service as a process of its own, from `start` to `stop`."""

    def __init__(self, world: World, **changed: str) -> None:
        self._world = world
        self._changed = changed
        self.grpc_port = free_port()
        self.http_port = free_port()
        self._log = Path(tempfile.mkstemp(prefix="message-", suffix=".log")[1])
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        world = self._world
        environment = {
            "PATH": os.environ["PATH"],
            **world.engines,
            "CHAT4ALL_GRPC__PORT": str(self.grpc_port),
            "CHAT4ALL_HTTP__PORT": str(self.http_port),
            "CHAT4ALL_TOKENS__JWKS_URL": world.tokens.jwks_url,
            "CHAT4ALL_CONVERSATION__TARGET": world.conversations.server.target,
            "CHAT4ALL_FILE__TARGET": world.files.server.target,
            **self._changed,
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "chat4all_message"], env=environment, stdout=log, stderr=log)
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{self.grpc_port}", [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 100)]
        )
        self.stub = message_service_pb2_grpc.MessageServiceStub(self._channel)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Return when it says it is ready."""

        def ready() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the process ended with {self._process.returncode}:\n{self.log()[-4000:]}")
            return self.health("ready") == 200

        until(ready, seconds)

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

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        return process.wait(30)

    def __enter__(self) -> MessageProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if error is not None:
            sys.stderr.write(self.log()[-4000:])
        self._log.unlink()

    def metadata(self, user: User | None) -> tuple[tuple[str, str], ...]:
        """A user's token, or a service token when `user` is None."""
        return user.metadata if user is not None else (("x-service-token", ServiceTokens(self._world.internal, "tests").mint()),)

    def call(self, user: User | None, method: str, request: ProtoMessage, timeout: float = CALL_SECONDS) -> Any:
        """One call as a user, or as one of our processes when `user` is None."""
        return getattr(self.stub, method)(request, timeout=timeout, metadata=self.metadata(user))

    def begin(self, user: User | None, method: str, request: ProtoMessage, timeout: float = CALL_SECONDS) -> Any:
        """The same without waiting."""
        return getattr(self.stub, method).future(request, timeout=timeout, metadata=self.metadata(user))

    def send(self, user: User, request: pb.SendMessageRequest, timeout: float = CALL_SECONDS) -> pb.SendMessageResponse:
        """One message."""
        answer: pb.SendMessageResponse = self.call(user, "SendMessage", request, timeout)
        return answer


def text(conversation_id: str, words: str = "hello", message_id: str = "", **fields: Any) -> pb.SendMessageRequest:
    """A request to send a text."""
    return pb.SendMessageRequest(
        conversation_id=conversation_id,
        message_id=message_id or new_id(),
        content=message_pb2.MessageContent(type="text", text=words),
        **fields,
    )


def reason_of(status: status_pb2.Status | None) -> str:
    """The reason inside a status, empty when there is none."""
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """The whole ErrorInfo."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    raise AssertionError("no ErrorInfo")


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """Code and reason of a call that must be refused."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, reason_of(rpc_status.from_call(error))
    raise AssertionError("the call was not refused")


def texts(commands: Sequence[message_events_pb2.MessageCommand]) -> list[str]:
    """What they say."""
    return [command.content.text for command in commands]
