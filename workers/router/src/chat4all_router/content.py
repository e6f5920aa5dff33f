"""What a message says: from protobuf to the payload that is stored and shown."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from chat4all.message.v1 import message_pb2


class NotStorable(ValueError):
    """The payload cannot be written to the store, now or later."""


def payload(content: message_pb2.MessageContent) -> dict[str, Any]:
    """The fields that are set, in the order of the contract (which is the order of their numbers).

    Raises:
        NotStorable: a name in `data` holds a NUL character, which the store refuses.
    """
    fields: dict[str, Any] = {field.name: value for field, value in content.ListFields()}
    if "data" in fields:
        fields["data"] = _object(content.data)
    return fields


def _object(struct: Struct) -> dict[str, Any]:
    """Names sorted: the order of a protobuf map means nothing and differs from one process to the next."""
    fields = struct.fields
    if any("\0" in name for name in fields):
        raise NotStorable("a name in content.data holds a NUL character")
    return {name: _value(fields[name]) for name in sorted(fields)}


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _object(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        # JSON knows one kind of number; 3 must not come back as 3.0. Beyond 2^53 a double is no exact integer any more.
        return int(number) if number.is_integer() and abs(number) <= 2**53 else number
    if kind in ("string_value", "bool_value"):
        return getattr(value, kind)
    return None
