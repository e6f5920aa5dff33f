"""A message's content from JSON to protobuf. Only shape is checked here; limits and meaning are the message service's.

The depth of `data` is bounded here: protobuf refuses messages nested deeper than 100, and one such item would fail the whole
call that carries other people's messages too.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from chat4all.message.v1.message_pb2 import MessageContent
from chat4all_websocket_gateway.frames import FrameError

MAX_DEPTH = 16
_TEXTS = frozenset(("type", "text", "format", "file_id", "caption", "name"))
_NUMBERS = frozenset(("latitude", "longitude"))


def to_content(fields: dict[str, Any]) -> MessageContent:
    """The content to submit. Fields that are null count as absent.

    Raises:
        FrameError: FIELD_INVALID naming the field: unknown, of another JSON type, or nested too deep.
    """
    content = MessageContent()
    for name, value in fields.items():
        if value is None:
            continue
        if name in _TEXTS:
            if type(value) is not str:
                raise _wrong(name, "text")
            setattr(content, name, value)
        elif name in _NUMBERS:
            if type(value) is not float and type(value) is not int:
                raise _wrong(name, "a number")
            setattr(content, name, float(value))
        elif name == "data":
            if type(value) is not dict or not _shallow(value, MAX_DEPTH):
                raise _wrong(name, f"an object nested at most {MAX_DEPTH} deep")
            json_format.ParseDict(value, content.data)
        else:
            raise FrameError("FIELD_INVALID", "content has a field that is not known.", field=f"content.{name[:40]}")
    if not content.type:
        raise _wrong("type", "text")
    return content


def _wrong(name: str, should: str) -> FrameError:
    return FrameError("FIELD_INVALID", f"content.{name} must be {should}.", field=f"content.{name}")


def _shallow(value: Any, depth: int) -> bool:
    if type(value) is dict:
        return depth > 0 and all(_shallow(item, depth - 1) for item in value.values())
    if type(value) is list:
        return depth > 0 and all(_shallow(item, depth - 1) for item in value)
    return True
