"""What runs beside the calls: the relay's order, the lines for sockets, the activity of the log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from chat4all.message.v1 import message_events_pb2
from chat4all_conversation import live_redis
from chat4all_conversation.domain.facts import MarkMoved
from chat4all_conversation.handler import ActivityHandler
from chat4all_conversation.live_redis import RedisLive, live_lines
from chat4all_conversation.relay import _acknowledged
from chat4all_runtime.errors import unavailable
from chat4all_runtime.events import IncomingRecord
from chat4all_runtime.ids import new_id
from chat4all_runtime.kafka_consumer import RetryLater

FAILED = KafkaError(KafkaError._MSG_TIMED_OUT)


def test_behind_a_failed_row_those_of_its_key_stay() -> None:
    """Promise: order per key holds when Kafka refuses some: they are sent again from the first that failed."""
    rows = [
        {"id": n, "topic": topic, "key": key} for n, topic, key in [(1, "t", "a"), (2, "t", "b"), (3, "t", "a"), (4, "u", "a")]
    ]
    assert _acknowledged(rows, [None] * 4) == [1, 2, 3, 4]
    assert _acknowledged(rows, [FAILED, None, None, None]) == [2, 4]
    assert _acknowledged(rows, [None, None, FAILED, None]) == [1, 2, 4]


class RecordingPipeline:
    """Takes publishes like the client's pipeline."""

    def __init__(self, client: RecordingRedis) -> None:
        self._client = client
        self._waiting: list[tuple[str, bytes]] = []

    async def __aenter__(self) -> RecordingPipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._waiting = []

    def publish(self, channel: str, payload: bytes) -> None:
        """Keep it for `execute`."""
        self._waiting.append((channel, payload))

    async def execute(self) -> None:
        """Send what was kept, in one go."""
        self._client.tried.set()
        await self._client.gate.wait()
        if self._client.away:
            raise ConnectionError("away")
        self._client.published.append(self._waiting)


class RecordingRedis:
    """A client that remembers each pipeline; closed `gate` makes it slow, `away` unreachable."""

    def __init__(self) -> None:
        self.published: list[list[tuple[str, bytes]]] = []
        self.gate = asyncio.Event()
        self.tried = asyncio.Event()
        self.away = False
        self.gate.set()

    def pipeline(self, *, transaction: bool) -> RecordingPipeline:
        """A pipeline without a transaction."""
        assert not transaction
        return RecordingPipeline(self)

    async def aclose(self) -> None:
        """Nothing to close."""


def mark(conversation_id: str, number: int) -> MarkMoved:
    return MarkMoved(new_id(), "default", conversation_id, new_id(), number, number, True, datetime.now(UTC))


def outcome(name: str) -> float:
    return float(live_lines.labels(name)._value.get())


def failed(error: BaseException) -> None:
    raise AssertionError from error


async def test_one_publish_per_conversation_and_batch() -> None:
    """Promise: what waits together goes out together, in order; the end sends what is left."""
    client = RecordingRedis()
    first, second = new_id(), new_id()
    async with RedisLive(client, 100, failed) as live:  # type: ignore[arg-type]  # plays the client
        live.tell([mark(first, 1), mark(second, 1), mark(first, 2)])
    [batch] = client.published
    assert [channel for channel, _ in batch] == [f"conversation:{first}:events", f"conversation:{second}:events"]
    assert [line.count(b"\t") for line in batch[0][1].split(b"\n")] == [4, 4]
    assert b'"sequence_number":1' in batch[0][1].split(b"\n")[0]


async def test_a_slow_redis_costs_lines_not_memory() -> None:
    """Promise: the queue is bounded; what does not fit is dropped and counted, and callers never wait."""
    client = RecordingRedis()
    client.gate.clear()
    before = outcome("dropped")
    async with RedisLive(client, 10, failed) as live:  # type: ignore[arg-type]
        live.tell([mark(new_id(), n) for n in range(25)])
        assert outcome("dropped") - before == 15
        client.gate.set()
    assert sum(len(batch) for batch in client.published) == 10


async def test_redis_away_is_counted_and_not_the_end() -> None:
    """Promise: a failed publish loses only its lines."""
    client = RecordingRedis()
    client.away = True
    before = outcome("failed")
    async with RedisLive(client, 10, failed) as live:  # type: ignore[arg-type]
        live.tell([mark(new_id(), 1)])
        await asyncio.wait_for(client.tried.wait(), 5)
        client.away = False
        live.tell([mark(new_id(), 2)])
    assert len(client.published) == 1
    assert outcome("failed") - before == 1


async def test_the_end_does_not_wait_for_a_dead_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: shutdown is bounded."""
    monkeypatch.setattr(live_redis, "_STOP_SECONDS", 0.05)
    client = RecordingRedis()
    client.gate.clear()
    async with asyncio.timeout(5), RedisLive(client, 10, failed) as live:  # type: ignore[arg-type]
        live.tell([mark(new_id(), 1)])
    assert client.published == []


class Activity:
    """Remembers what the handler writes; fails when told to."""

    def __init__(self) -> None:
        self.written: list[list[tuple[str, int, datetime]]] = []
        self.error: Exception | None = None
        self.hang = False

    async def record_activity(self, activity: Sequence[tuple[str, int, datetime]]) -> int:
        """Take the write."""
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.written.append(list(activity))
        return len(activity)


@pytest.fixture
def loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, as the process has beside the consumer's thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def stored(conversation_id: str, number: int, second: int = 0, **changed: Any) -> IncomingRecord:
    event = message_events_pb2.MessageStored()
    event.message.conversation_id = conversation_id
    event.message.sequence_number = number
    event.store_time.seconds = second
    fields: dict[str, Any] = {
        "topic": "message.stored",
        "partition": 0,
        "offset": number,
        "key": conversation_id.encode(),
        "value": event.SerializeToString(),
        "headers": {},
        "redelivered": False,
        **changed,
    }
    return IncomingRecord(**fields)


def test_a_batch_is_one_statement_with_the_highest_of_each(loop_thread: asyncio.AbstractEventLoop) -> None:
    """Promise: cost grows with conversations, not with messages; order in the batch does not matter."""
    repository, a, b = Activity(), new_id(), new_id()
    handler = ActivityHandler(repository, loop_thread, 5)  # type: ignore[arg-type]  # the one method it needs
    assert handler.handle([stored(a, 2, 20), stored(b, 1, 5), stored(a, 3, 10), stored(a, 1, 1)]) == []
    assert repository.written == [
        [(a, 3, datetime.fromtimestamp(20, UTC)), (b, 1, datetime.fromtimestamp(5, UTC))],
    ]


def test_what_is_no_stored_message_is_rejected_and_the_rest_written(loop_thread: asyncio.AbstractEventLoop) -> None:
    """Promise: a poison record never blocks its partition."""
    repository, a = Activity(), new_id()
    handler = ActivityHandler(repository, loop_thread, 5)  # type: ignore[arg-type]
    rejected = handler.handle(
        [
            stored(a, 1),
            stored(a, 2, value=b"\xff\xff"),
            stored("not-an-id", 1),
            stored(a, 3, headers={"ce_type": b"chat4all.message.v1.MessageCommand"}),
        ]
    )
    assert [item.reason for item in rejected] == ["NOT_AN_EVENT", "CONVERSATION_ID_INVALID", "NOT_AN_EVENT"]
    assert [[entry[:2] for entry in batch] for batch in repository.written] == [[(a, 1)]]


def test_postgres_away_means_later(loop_thread: asyncio.AbstractEventLoop) -> None:
    """Promise: the batch comes again when PostgreSQL is away or too slow, and nothing else is hidden so."""
    repository = Activity()
    handler = ActivityHandler(repository, loop_thread, 0.05)  # type: ignore[arg-type]
    repository.error = unavailable("postgres")
    with pytest.raises(RetryLater):
        handler.handle([stored(new_id(), 1)])
    repository.error = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        handler.handle([stored(new_id(), 1)])
    repository.hang = True
    with pytest.raises(RetryLater, match="in time"):
        handler.handle([stored(new_id(), 1)])
