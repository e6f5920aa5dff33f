"""What a client may send: each frame checked for shape and turned into a plain object. Pure; no I/O, no state.

Unknown fields are ignored, so that newer clients work with older gateways. Whether a content makes sense is for the message
service to say; here only its JSON shape counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from chat4all_runtime.ids import is_uuid, is_uuid7

MAX_TOKEN_CHARS = 8192
MAX_REF_CHARS = 100
MAX_DEVICE_CHARS = 100
MAX_WATCHED = 200
MAX_SEQUENCE_NUMBER = 2**32 - 1


class FrameError(Exception):
    """A frame that is not as the protocol says; the socket stays open until there are too many of them."""

    def __init__(self, reason: str, message: str, *, field: str | None = None, ref: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.ref = ref


@dataclass(frozen=True, slots=True)
class Hello:
    """Sign the socket in and say how far each conversation was seen."""

    token: str
    device_id: str | None
    cursors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Send:
    """Put a message into a conversation."""

    ref: str | None
    conversation_id: str
    message_id: str
    content: dict[str, Any]
    reply_to_message_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Delivered (`ack`) or seen (`read`) up to a number."""

    conversation_id: str
    sequence_number: int
    read: bool


@dataclass(frozen=True, slots=True)
class Typing:
    """Somebody writes, or stopped."""

    conversation_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether this device is in use, and whose presence to follow; None leaves as it is."""

    away: bool | None
    watch: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Sync:
    """Replay one conversation from a number."""

    ref: str | None
    conversation_id: str
    after_sequence_number: int


@dataclass(frozen=True, slots=True)
class Refresh:
    """A newer token of the same user."""

    token: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer me."""

    ref: str | None


Frame = Hello | Send | Mark | Typing | Presence | Sync | Refresh | Ping


def parse(payload: bytes) -> Frame:
    """The frame in the bytes of one text message.

    Raises:
        FrameError: FRAME_MALFORMED, FRAME_TYPE_UNKNOWN, or FIELD_INVALID (TOKEN_INVALID for a token) with the field's name.
    """
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FrameError("FRAME_MALFORMED", "The frame is not valid JSON.") from error
    if type(fields) is not dict:
        raise FrameError("FRAME_MALFORMED", "The frame is not a JSON object.")
    ref = fields.get("ref")
    if ref is not None and (type(ref) is not str or len(ref) > MAX_REF_CHARS):
        raise FrameError("FIELD_INVALID", f"ref must be text of at most {MAX_REF_CHARS} characters.", field="ref")
    kind = fields.get("type")
    reader = _READERS.get(kind) if type(kind) is str else None
    if reader is None:
        if type(kind) is not str:
            raise FrameError("FIELD_INVALID", "type must be text.", field="type", ref=ref)
        raise FrameError("FRAME_TYPE_UNKNOWN", "There is no frame of this type.", field="type", ref=ref)
    try:
        return reader(fields, ref)
    except FrameError as error:
        error.ref = ref
        raise


def _wrong(field: str, should: str) -> FrameError:
    return FrameError("FIELD_INVALID", f"{field} must be {should}.", field=field)


def _id(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is not str or not is_uuid(value):
        raise _wrong(name, "a UUID in lower case")
    return value


def _optional_id(fields: dict[str, Any], name: str) -> str:
    return "" if fields.get(name) is None else _id(fields, name)


def _number(fields: dict[str, Any], name: str, least: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= MAX_SEQUENCE_NUMBER:
        raise _wrong(name, f"a whole number from {least} to {MAX_SEQUENCE_NUMBER}")
    return value


def _choice(fields: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name)
    if type(value) is not str or value not in choices:
        raise _wrong(name, " or ".join(choices))
    return value


def _token(fields: dict[str, Any]) -> str:
    value = fields.get("token")
    if type(value) is not str or not 0 < len(value) <= MAX_TOKEN_CHARS or not value.isascii():
        message = f"token must be an access token of at most {MAX_TOKEN_CHARS} characters."
        raise FrameError("TOKEN_INVALID", message, field="token")
    return value


def _hello(fields: dict[str, Any], ref: str | None) -> Hello:
    device_id = fields.get("device_id")
    if device_id is not None and (
        type(device_id) is not str or not 0 < len(device_id) <= MAX_DEVICE_CHARS or not device_id.isprintable()
    ):
        raise _wrong("device_id", f"printable text of 1 to {MAX_DEVICE_CHARS} characters")
    if type(fields.get("client") or {}) is not dict:
        raise _wrong("client", "an object")
    cursors = fields.get("cursors")
    if cursors is None:
        cursors = {}
    if type(cursors) is not dict:
        raise _wrong("cursors", "an object of conversation ids and sequence numbers")
    for conversation_id, number in cursors.items():
        if not is_uuid(conversation_id) or type(number) is not int or not 0 <= number <= MAX_SEQUENCE_NUMBER:
            raise _wrong("cursors", "an object of conversation ids and sequence numbers")
    return Hello(_token(fields), device_id, cursors)


def _send(fields: dict[str, Any], ref: str | None) -> Send:
    message_id = fields.get("message_id")
    if type(message_id) is not str or not is_uuid7(message_id):
        raise _wrong("message_id", "a UUID of version 7 in lower case")
    content = fields.get("content")
    if type(content) is not dict:
        raise _wrong("content", "an object")
    return Send(
        ref,
        _id(fields, "conversation_id"),
        message_id,
        content,
        _optional_id(fields, "reply_to_message_id"),
        _optional_id(fields, "thread_id"),
    )


def _ack(fields: dict[str, Any], ref: str | None) -> Mark:
    return Mark(_id(fields, "conversation_id"), _number(fields, "sequence_number", 1), read=False)


def _read(fields: dict[str, Any], ref: str | None) -> Mark:
    return Mark(_id(fields, "conversation_id"), _number(fields, "sequence_number", 1), read=True)


def _typing(fields: dict[str, Any], ref: str | None) -> Typing:
    return Typing(_id(fields, "conversation_id"), _choice(fields, "state", ("started", "stopped")))


def _presence(fields: dict[str, Any], ref: str | None) -> Presence:
    state, watch = fields.get("state"), fields.get("watch")
    if state is None and watch is None:
        raise _wrong("state", "active or away, unless watch is given")
    away = None if state is None else _choice(fields, "state", ("active", "away")) == "away"
    if watch is None:
        return Presence(away, None)
    if type(watch) is not list or len(watch) > MAX_WATCHED:
        raise _wrong("watch", f"a list of at most {MAX_WATCHED} user ids")
    if not all(type(user_id) is str and is_uuid(user_id) for user_id in watch):
        raise _wrong("watch", f"a list of at most {MAX_WATCHED} user ids")
    return Presence(away, frozenset(watch))


def _sync(fields: dict[str, Any], ref: str | None) -> Sync:
    return Sync(ref, _id(fields, "conversation_id"), _number(fields, "after_sequence_number", 0))


def _refresh(fields: dict[str, Any], ref: str | None) -> Refresh:
    return Refresh(_token(fields))


def _ping(fields: dict[str, Any], ref: str | None) -> Ping:
    return Ping(ref)


_READERS: dict[str, Callable[[dict[str, Any], str | None], Frame]] = {
    "hello": _hello,
    "send": _send,
    "ack": _ack,
    "read": _read,
    "typing": _typing,
    "presence": _presence,
    "sync": _sync,
    "refresh": _refresh,
    "ping": _ping,
}
