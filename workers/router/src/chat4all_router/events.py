"""Records ⇄ entries: `MessageCommand` comes in, `MessageStored` and `MessageFailed` go out, all keyed by conversation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.trace import SpanKind

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_router.content import NotStorable, payload
from chat4all_router.domain.model import Document, Entry
from chat4all_runtime import tracing
from chat4all_runtime.events import EventCodec, IncomingRecord, OutgoingRecord

SOURCE = "/workers/router"
# A text of 10,000 characters is at most 40 kB, other content 8 KiB: nothing honest comes near, and what is this small always
# fits again into the records the router writes.
MAX_COMMAND_BYTES = 256 * 1024
MAX_ID_CHARS = 64
CONFLICT = "MESSAGE_ID_CONFLICT"

_COMMAND = message_events_pb2.MessageCommand
_COMMAND_TYPE = _COMMAND.DESCRIPTOR.full_name.encode()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 253_402_300_799  # the last second of the year 9999


class NotACommand(ValueError):
    """The record can never become an entry.

    Args:
        reason: UPPER_SNAKE_CASE, for the dead letter.
        detail: the same for a person; names fields, never what they say.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_command(record: IncomingRecord) -> Entry:
    """The entry a record asks for.

    Raises:
        NotACommand: it is none, lacks an id, or lies in a partition that is not its conversation's.
    """
    value = record.value
    if len(value) > MAX_COMMAND_BYTES:
        raise NotACommand("COMMAND_TOO_LARGE", f"{len(value)} bytes; at most {MAX_COMMAND_BYTES} are taken")
    if record.headers.get("ce_type", _COMMAND_TYPE) != _COMMAND_TYPE:
        raise NotACommand("NOT_A_COMMAND", f"the record says it is {record.header('ce_type')[:100]}")
    try:
        command = _COMMAND.FromString(value)
    except DecodeError as error:
        raise NotACommand("NOT_A_COMMAND", f"the value does not parse: {error}") from error
    message_id, conversation_id = command.message_id, command.conversation_id
    sender, tenant_id = command.from_user_id, command.tenant_id
    if not (message_id and conversation_id and tenant_id and _are_ids(message_id, conversation_id, tenant_id, sender)):
        raise NotACommand(
            "MALFORMED_ID",
            f"message_id, conversation_id and tenant_id are required; ids are 1 to {MAX_ID_CHARS} printable characters",
        )
    if record.key != conversation_id.encode():
        raise NotACommand("KEY_MISMATCH", "the key is not the conversation_id: another partition owns this conversation's order")
    accept_time = command.accept_time
    if not 0 < accept_time.seconds <= _MAX_SECONDS:
        raise NotACommand("MALFORMED_TIME", "accept_time is missing or beyond the year 9999")
    try:
        content = payload(command.content)
    except NotStorable as error:
        raise NotACommand("CONTENT_NOT_STORABLE", str(error)) from error
    digest = command.digest
    row: Document = {
        "_id": message_id,
        "tenant_id": tenant_id,
        "conversation_id": conversation_id,
        "sequence_number": 0,
        "kind": command.kind or "message",
        "from_user_id": sender,
        "payload": content,
        "digest": digest,
    }
    if command.reply_to_message_id:
        row["reply_to_message_id"] = command.reply_to_message_id
    if command.thread_id:
        row["thread_id"] = command.thread_id
    # The store keeps milliseconds; cut here, so that the frame shown now and the one replayed later are the same.
    milliseconds = accept_time.nanos // 1_000_000
    accept_time.nanos = milliseconds * 1_000_000
    row["created_at"] = _EPOCH + timedelta(0, accept_time.seconds, milliseconds * 1000)
    return Entry(
        (record.topic, record.partition),
        record.offset,
        record.redelivered,
        message_id,
        conversation_id,
        sender,
        digest,
        row,
        (command, record.headers.get("traceparent")),
    )


def _are_ids(*texts: str) -> bool:
    """Short and printable: they become channel names, keys and fields of tab-separated lines."""
    together = "".join(texts)
    return together.isascii() and together.isprintable() and max(map(len, texts)) <= MAX_ID_CHARS


class RouterEvents:
    """Writes the router's events."""

    def __init__(self, stored_topic: str, failed_topic: str) -> None:
        self._codec = EventCodec(SOURCE)
        self._stored_topic = stored_topic
        self._failed_topic = failed_topic
        # Entries of one batch are stored at one time.
        self._store_moment: datetime | None = None
        self._store_time = Timestamp()

    def stored(self, entry: Entry, *, again: bool) -> OutgoingRecord:
        """The fact that the entry is in the log. `again`: the same fact may have been written before, so readers look."""
        # As read_command put them there.
        command, parent = cast("tuple[message_events_pb2.MessageCommand, bytes | None]", entry.source)
        row = entry.row
        if row["stored_at"] is not self._store_moment:
            self._store_moment = row["stored_at"]
            _set_time(self._store_time, row["stored_at"])
        event = message_events_pb2.MessageStored(digest=entry.digest, store_time=self._store_time)
        message = event.message
        message.message_id = entry.message_id
        message.conversation_id = entry.conversation_id
        message.sequence_number = row["sequence_number"]
        message.from_user_id = entry.sender
        message.content.CopyFrom(command.content)
        if reply_to := command.reply_to_message_id:
            message.reply_to_message_id = reply_to
        if thread := command.thread_id:
            message.thread_id = thread
        if entry.fresh:
            message.create_time.CopyFrom(command.accept_time)
        else:
            _set_time(message.create_time, row["created_at"])
        message.update_time.CopyFrom(self._store_time)
        message.kind = row["kind"]
        message.state = message_pb2.MESSAGE_STATE_STORED
        message.tenant_id = row["tenant_id"]
        extra = {"redelivered": b"1"} if again else None
        if parent is None or not tracing.enabled():
            return self._codec.encode(self._stored_topic, entry.conversation_id, event, row["tenant_id"], entry.message_id, extra)
        with tracing.span("process message.sent", SpanKind.CONSUMER, {"traceparent": parent.decode(errors="replace")}):
            return self._codec.encode(self._stored_topic, entry.conversation_id, event, row["tenant_id"], entry.message_id, extra)

    def conflict(self, entry: Entry, now: datetime) -> OutgoingRecord:
        """The fact that the entry's id belongs to another message. Says nothing about that one."""
        event = message_events_pb2.MessageFailed(
            tenant_id=entry.row["tenant_id"],
            conversation_id=entry.conversation_id,
            message_id=entry.message_id,
            from_user_id=entry.sender,
            channel="internal",
            reason=CONFLICT,
            detail="This message_id was used before, by another sender, in another conversation or for other content.",
        )
        _set_time(event.fail_time, now)
        # The same record always gives the same event id.
        event_id = f"{entry.place[0]}/{entry.place[1]}/{entry.offset}"
        return self._codec.encode(self._failed_topic, entry.conversation_id, event, event.tenant_id, event_id=event_id)


def _set_time(target: Timestamp, moment: datetime) -> None:
    since = moment - _EPOCH
    target.seconds = since.days * 86_400 + since.seconds
    target.nanos = since.microseconds * 1000
