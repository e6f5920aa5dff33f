"""A log that keeps MongoDB's two unique indexes and lets a test step in between any two of its operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_router.domain.memory import Memory
from chat4all_router.domain.model import Entry, Stored
from chat4all_router.domain.numbering import Move
from chat4all_router.events import RouterEvents, read_command
from chat4all_router.usecases import RouteBatch
from chat4all_runtime.events import EventCodec, IncomingRecord, OutgoingRecord

Hook = Callable[[str], None]
NOON = datetime(2026, 1, 2, 12, 0, 0, 123_000, tzinfo=UTC)
CODEC = EventCodec("/services/message")


class FakeLog:
    """Rows by id and by (conversation, number)."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.slots: dict[tuple[str, int], str] = {}

    def numbers(self, conversation_id: str) -> list[int]:
        """Taken numbers, ascending."""
        return sorted(number for name, number in self.slots if name == conversation_id)

    def order(self, conversation_id: str) -> list[str]:
        """Ids by number."""
        return [self.slots[conversation_id, number] for number in self.numbers(conversation_id)]

    def put(self, row: dict[str, Any]) -> bool:
        """Insert one row; False when an index refuses it."""
        slot = (row["conversation_id"], row["sequence_number"])
        if row["_id"] in self.rows or slot in self.slots:
            return False
        self.rows[row["_id"]] = dict(row)
        self.slots[slot] = row["_id"]
        return True


class LogView:
    """One owner's way to the log; `hook` is called before and after everything it does."""

    def __init__(self, log: FakeLog, hook: Hook, choose: Callable[[int], Collection[int] | None] = lambda count: None) -> None:
        self._log = log
        self._hook = hook
        self._choose = choose

    def find(self, message_ids: Collection[str]) -> dict[str, Stored]:
        """See MessageLog."""
        self._hook("before find")
        found = {
            name: Stored(
                name,
                row["conversation_id"],
                row["from_user_id"],
                row["digest"],
                row["sequence_number"],
                row["created_at"],
                row["stored_at"],
            )
            for name in message_ids
            if (row := self._log.rows.get(name)) is not None
        }
        self._hook("after find")
        return found

    def await_durable(self, message_ids: Collection[str]) -> None:
        """See MessageLog."""
        self._hook("before await_durable")

    def last_numbers(self, conversation_ids: Collection[str]) -> dict[str, int]:
        """See MessageLog."""
        self._hook("before last_numbers")
        last = {name: max(numbers) for name in conversation_ids if (numbers := self._log.numbers(name))}
        self._hook("after last_numbers")
        return last

    def first_holes(self, last_numbers: Mapping[str, int]) -> dict[str, int]:
        """See MessageLog."""
        self._hook("before first_holes")
        return {
            name: min(missing)
            for name, last in last_numbers.items()
            if (missing := set(range(1, last + 1)) - set(self._log.numbers(name)))
        }

    def insert(self, documents: Sequence[dict[str, Any]]) -> list[int]:
        """See MessageLog; `choose` may lose the answer half way."""
        self._hook("before insert")
        reached = self._choose(len(documents))
        failed = []
        for index, row in enumerate(documents):
            if reached is not None and index not in reached:
                continue
            self._hook("between inserts")
            if not self._log.put(row):
                failed.append(index)
        if reached is not None:
            raise Unanswered
        self._hook("after insert")
        return failed

    def rows_from(self, conversation_id: str, number: int) -> list[tuple[int, str]]:
        """See MessageLog."""
        self._hook("before rows_from")
        rows = [(one, self._log.slots[conversation_id, one]) for one in self._log.numbers(conversation_id) if one >= number]
        self._hook("after rows_from")
        return rows

    def move(self, conversation_id: str, moves: Sequence[Move]) -> bool:
        """See MessageLog."""
        done = True
        for one in moves:
            self._hook("before move")
            row = self._log.rows[one.message_id]
            if (row["conversation_id"], row["sequence_number"]) != (conversation_id, one.old):
                done = False
                continue
            if (conversation_id, one.new) in self._log.slots:
                return False
            del self._log.slots[conversation_id, one.old]
            row["sequence_number"] = one.new
            self._log.slots[conversation_id, one.new] = one.message_id
        return done


class Unanswered(Exception):
    """The store stopped half way."""


class Recorder:
    """Takes what is shown and what is announced."""

    def __init__(self, hook: Hook = lambda point: None) -> None:
        self._hook = hook
        self.lines: dict[str, list[bytes]] = {}
        self.records: list[OutgoingRecord] = []

    def publish(self, lines: Mapping[str, Sequence[bytes]]) -> None:
        """Keep the lines."""
        self._hook("before publish")
        for name, some in lines.items():
            self.lines.setdefault(name, []).extend(some)

    def send_and_wait(self, records: Sequence[OutgoingRecord]) -> None:
        """Keep the records."""
        self._hook("before produce")
        self.records.extend(records)
        self._hook("after produce")

    def stored(self) -> list[tuple[str, int, bool]]:
        """(message id, number, marked as repeated) of every announcement."""
        result = []
        for record in self.records:
            if record.topic == "message.stored":
                message = message_events_pb2.MessageStored.FromString(record.value).message
                result.append((message.message_id, message.sequence_number, "redelivered" in dict(record.headers)))
        return result

    def failed(self) -> list[message_events_pb2.MessageFailed]:
        """The events of message.failed."""
        return [
            message_events_pb2.MessageFailed.FromString(record.value)
            for record in self.records
            if record.topic == "message.failed"
        ]


class Clock:
    """A clock the test turns."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        """The time."""
        return self.time

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)


def make_route(
    log: FakeLog,
    recorder: Recorder,
    memory: Memory,
    clock: Clock,
    hook: Hook = lambda point: None,
    choose: Callable[[int], Collection[int] | None] = lambda count: None,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> RouteBatch:
    """The use case on these fakes."""
    events = RouterEvents("message.stored", "message.failed")
    return RouteBatch(LogView(log, hook, choose), recorder, recorder, events, memory, clock, 5.0, monotonic)


def make_record(
    message_id: str,
    conversation_id: str = "c1",
    *,
    offset: int = 0,
    partition: int = 0,
    digest: str = "d",
    sender: str = "u1",
    kind: str = "message",
    content: message_pb2.MessageContent | None = None,
    redelivered: bool = False,
    **more: Any,
) -> IncomingRecord:
    """A record of message.sent as the message service writes it."""
    command = message_events_pb2.MessageCommand(
        tenant_id="default",
        conversation_id=conversation_id,
        message_id=message_id,
        from_user_id=sender,
        kind=kind,
        content=content or message_pb2.MessageContent(type="text", text=f"text of {message_id}"),
        digest=digest,
        **more,
    )
    command.accept_time.FromDatetime(NOON)
    record = CODEC.encode("message.sent", conversation_id, command, "default", event_id=message_id)
    headers = {name: value if isinstance(value, bytes) else b"" for name, value in record.headers}
    return IncomingRecord("message.sent", partition, offset, record.key, record.value, headers, redelivered)


def make_entry(message_id: str, conversation_id: str = "c1", **more: Any) -> Entry:
    """The entry of such a record."""
    return read_command(make_record(message_id, conversation_id, **more))
