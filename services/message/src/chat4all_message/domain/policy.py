"""What may be sent: the rules of the contract for ids and for every type of content, and the digest that identifies content.

Normalising comes with checking, so that a message has one form wherever it goes: texts lose the blanks around them, `format` is
always said, fields that do not count for the type are dropped.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

from chat4all_message.domain.model import Content, Draft
from chat4all_runtime.errors import DomainError, invalid
from chat4all_runtime.ids import is_uuid, is_uuid7

MAX_TEXT_CHARS = 10_000
MAX_CAPTION_CHARS = 1_000
MAX_NAME_CHARS = 200
MAX_DATA_BYTES = 8 * 1024

# C0 without tab and newline, DEL, C1, and halves of surrogate pairs, which no UTF-8 can carry.
_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def prepare(draft: Draft) -> None:
    """Check the whole draft, put its content into normal form and set its digest. Costs 5 to 10 µs for a short text.

    Raises:
        DomainError: INVALID_ARGUMENT with the field at fault; the draft is then half done and must be dropped.
    """
    check_ids(draft)
    normal = _TYPES.get(draft.content.get("type", ""))
    if normal is None:
        raise _unknown_type()
    draft.content = normal(draft.content)
    draft.digest = digest(draft.content, draft.reply_to_message_id, draft.thread_id)


def check_ids(draft: Draft) -> None:
    """Check the shape of every id in the draft.

    Raises:
        DomainError: INVALID_ARGUMENT with the field at fault.
    """
    if not is_uuid(draft.conversation_id):
        raise invalid("conversation_id", "CONVERSATION_ID_INVALID", "conversation_id must be a lower-case UUID.")
    if not is_uuid7(draft.message_id):
        raise invalid("message_id", "MESSAGE_ID_INVALID", "message_id must be a lower-case UUIDv7 chosen by the sender.")
    if draft.reply_to_message_id and not is_uuid(draft.reply_to_message_id):
        raise invalid("reply_to_message_id", "REPLY_TO_MESSAGE_ID_INVALID", "reply_to_message_id must be a lower-case UUID.")
    if draft.thread_id and not is_uuid(draft.thread_id):
        raise invalid("thread_id", "THREAD_ID_INVALID", "thread_id must be a lower-case UUID.")
    if not is_uuid(draft.sender_id):
        raise invalid("sender_user_id", "SENDER_USER_ID_INVALID", "sender_user_id must be a lower-case UUID.")
    if not draft.tenant_id:
        raise invalid("tenant_id", "TENANT_ID_REQUIRED", "tenant_id is required.")


def digest(content: Content, reply_to_message_id: str, thread_id: str) -> str:
    """SHA-256 in hex over the content with its references as JSON with sorted keys: equal exactly for equal messages."""
    whole = {"content": content, "reply_to_message_id": reply_to_message_id, "thread_id": thread_id}
    return hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()


def data_too_large(size_bytes: int) -> DomainError:
    """The free part of the content is larger than allowed."""
    message = f"data has {size_bytes} bytes; {MAX_DATA_BYTES} are allowed as JSON."
    return invalid("content.data", "CONTENT_DATA_TOO_LARGE", message, size_bytes=str(size_bytes), maximum=str(MAX_DATA_BYTES))


def _text(content: Content) -> Content:
    text = content.get("text", "")
    if _REFUSED.search(text) is not None:
        raise invalid("content.text", "TEXT_CONTROL_CHARACTER", "Text holds a control character other than newline and tab.")
    text = text.strip()
    if not text:
        raise invalid("content.text", "TEXT_EMPTY", "Text must have at least one character that is not blank.")
    if len(text) > MAX_TEXT_CHARS:
        message = f"Text has {len(text)} characters; {MAX_TEXT_CHARS} are allowed."
        raise invalid("content.text", "MESSAGE_TOO_LONG", message, length=str(len(text)), maximum=str(MAX_TEXT_CHARS))
    form = content.get("format") or "plain"
    if form not in ("plain", "markdown"):
        raise invalid("content.format", "TEXT_FORMAT_UNKNOWN", "format must be plain or markdown.")
    return {"type": "text", "text": text, "format": form}


def _file(content: Content) -> Content:
    file_id = content.get("file_id", "")
    if not file_id:
        raise invalid("content.file_id", "FILE_ID_REQUIRED", "file_id must name a completed upload.")
    if not is_uuid(file_id):
        raise invalid("content.file_id", "FILE_ID_INVALID", "file_id must be a lower-case UUID.")
    normal = {"type": content["type"], "file_id": file_id}
    if caption := _short_text(content, "caption", MAX_CAPTION_CHARS):
        normal["caption"] = caption
    return normal


def _location(content: Content) -> Content:
    normal: Content = {"type": "location"}
    for name, limit in (("latitude", 90.0), ("longitude", 180.0)):
        value = content.get(name)
        # A comparison with NaN is false, so NaN is refused here as well.
        if value is None or not -limit <= value <= limit:
            message = f"{name} must be a number from -{limit:g} to {limit:g}."
            raise invalid(f"content.{name}", f"{name.upper()}_INVALID", message, maximum=f"{limit:g}")
        normal[name] = float(value)
    if called := _short_text(content, "name", MAX_NAME_CHARS):
        normal["name"] = called
    return normal


def _structured(content: Content) -> Content:
    data = content.get("data")
    if not data:
        raise invalid("content.data", "CONTENT_DATA_REQUIRED", f"Content of type {content['type']} needs data.")
    _check_plain(data)
    size = len(orjson.dumps(data))
    if size > MAX_DATA_BYTES:
        raise data_too_large(size)
    return {"type": content["type"], "data": data}


def _system(_: Content) -> Content:
    raise invalid("content.type", "CONTENT_TYPE_RESERVED", "Content of type system is written by the system only.")


def _short_text(content: Content, name: str, maximum: int) -> str:
    text = str(content.get(name, ""))
    if _REFUSED.search(text) is not None:
        raise invalid(f"content.{name}", "TEXT_CONTROL_CHARACTER", f"{name} holds a control character.")
    text = text.strip()
    if len(text) > maximum:
        message = f"{name} has {len(text)} characters; {maximum} are allowed."
        raise invalid(f"content.{name}", f"{name.upper()}_TOO_LONG", message, length=str(len(text)), maximum=str(maximum))
    return text


def _check_plain(value: Any) -> None:
    """Every text in it is clean and every number is one that JSON has."""
    if isinstance(value, str):
        if _REFUSED.search(value) is not None:
            raise invalid("content.data", "TEXT_CONTROL_CHARACTER", "data holds a control character.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_plain(key)
            _check_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise invalid("content.data", "CONTENT_NUMBER_INVALID", "data holds a number that is not finite.")


def _unknown_type() -> DomainError:
    known = ", ".join(sorted(name for name in _TYPES if name != "system"))
    return invalid("content.type", "CONTENT_TYPE_UNKNOWN", f"content.type must be one of {known}.", known=known)


_TYPES: dict[str, Callable[[Content], Content]] = {
    "text": _text,
    "image": _file,
    "video": _file,
    "audio": _file,
    "file": _file,
    "location": _location,
    "contact": _structured,
    "interactive": _structured,
    "template": _structured,
    "system": _system,
}
