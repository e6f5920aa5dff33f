"""Content between its two forms: plain JSON values in the log, `MessageContent` on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from chat4all.message.v1 import message_pb2
from chat4all_message.domain.model import KIND_MESSAGE, Content, LogEntry, Sent
from chat4all_message.domain.policy import data_too_large

_OPTIONAL = ("text", "format", "file_id", "caption", "latitude", "longitude", "name")
# Whole numbers up to here have one form as a double, so they can be told apart from fractions and written as integers.
_EXACT = float(2**53)
# A struct is at most 5.5 times as long on the wire as in JSON (`1,` against 11 bytes), so this is far beyond what may be sent,
# and is refused before it is taken apart.
_MAX_STRUCT_BYTES = 64 * 1024


def timestamp(at: datetime) -> Timestamp:
    """The time as protobuf has it; `at` is aware."""
    whole = int(at.timestamp())
    return Timestamp(seconds=whole, nanos=at.microsecond * 1000)


def plain_content(content: message_pb2.MessageContent) -> Content:
    """What was sent as plain values: the fields that are set, whichever they are.

    Raises:
        DomainError: INVALID_ARGUMENT when `data` is far too large to look at.
    """
    plain: Content = {"type": content.type}
    if content.type == "text":  # the common case needs no search
        plain["text"] = content.text
        if content.format:
            plain["format"] = content.format
        return plain
    for name in _OPTIONAL:
        if content.HasField(name):
            plain[name] = getattr(content, name)
    if content.HasField("data"):
        if (size := content.data.ByteSize()) > _MAX_STRUCT_BYTES:
            raise data_too_large(size)
        plain["data"] = _plain_struct(content.data)
    return plain


def _plain_struct(struct: Struct) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain_struct(value.struct_value)
        case "list_value":
            return [_plain_value(inner) for inner in value.list_value.values]
        case _:
            return None


def content_message(plain: Mapping[str, Any]) -> message_pb2.MessageContent:
    """Plain values of the log as the contract has them; unknown names of later versions are left out."""
    if plain.get("type") == "text":
        return message_pb2.MessageContent(type="text", text=plain["text"], format=plain.get("format"))
    content = message_pb2.MessageContent(type=plain.get("type", ""))
    for name in _OPTIONAL:
        if (value := plain.get(name)) is not None:
            setattr(content, name, value)
    if data := plain.get("data"):
        content.data.update(data)
    return content


def sent_message(sent: Sent) -> message_pb2.Message:
    """An accepted or stored message."""
    draft = sent.draft
    created = timestamp(sent.create_time)
    return message_pb2.Message(
        message_id=draft.message_id,
        conversation_id=draft.conversation_id,
        sequence_number=sent.sequence_number,
        from_user_id=draft.sender_id,
        content=content_message(draft.content),
        reply_to_message_id=draft.reply_to_message_id,
        thread_id=draft.thread_id,
        create_time=created,
        update_time=created,
        kind=KIND_MESSAGE,
        state=state(sent),
        tenant_id=draft.tenant_id,
    )


def state(sent: Sent) -> message_pb2.MessageState:
    """STORED when it has its number."""
    return message_pb2.MESSAGE_STATE_STORED if sent.sequence_number else message_pb2.MESSAGE_STATE_ACCEPTED


def entry_message(entry: LogEntry) -> message_pb2.Message:
    """An entry of the log."""
    created = timestamp(entry.create_time)
    return message_pb2.Message(
        message_id=entry.message_id,
        conversation_id=entry.conversation_id,
        sequence_number=entry.sequence_number,
        from_user_id=entry.sender_id,
        content=content_message(entry.content),
        reply_to_message_id=entry.reply_to_message_id,
        thread_id=entry.thread_id,
        create_time=created,
        update_time=created,
        kind=entry.kind,
        state=message_pb2.MESSAGE_STATE_STORED,
        tenant_id=entry.tenant_id,
    )
