"""Frames from clients: right ones are read, wrong ones are refused with a reason, nothing else ever happens."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat4all_runtime.ids import new_id
from chat4all_websocket_gateway import frames
from chat4all_websocket_gateway.content import to_content
from chat4all_websocket_gateway.frames import FrameError, parse

CONVERSATION, MESSAGE = new_id(), new_id()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
TYPES = ["hello", "send", "ack", "read", "typing", "presence", "sync", "refresh", "ping", "edit"]
FIELDS = ["ref", "token", "device_id", "client", "cursors", "conversation_id", "message_id", "content", "reply_to_message_id"]
FIELDS += ["thread_id", "sequence_number", "after_sequence_number", "state", "watch"]


def read(**fields: Any) -> Any:
    """Parse one frame."""
    return parse(orjson.dumps(fields))


def test_each_frame() -> None:
    """The frames of the contract, one by one."""
    hello = read(type="hello", token="t", device_id="d", client={"name": "n"}, cursors={CONVERSATION: 41}, user_cursor="x")
    assert hello == frames.Hello("t", "d", {CONVERSATION: 41})
    content = {"type": "text", "text": "hi"}
    send = read(
        type="send", ref="c1", conversation_id=CONVERSATION, message_id=MESSAGE, content=content, reply_to_message_id=None
    )
    assert send == frames.Send("c1", CONVERSATION, MESSAGE, content, "", "")
    assert read(type="ack", conversation_id=CONVERSATION, sequence_number=42) == frames.Mark(CONVERSATION, 42, read=False)
    assert read(type="read", conversation_id=CONVERSATION, sequence_number=42).read
    assert read(type="typing", conversation_id=CONVERSATION, state="started").state == "started"
    assert read(type="presence", state="away", watch=[MESSAGE]) == frames.Presence(away=True, watch=frozenset([MESSAGE]))
    assert read(type="presence", watch=[]) == frames.Presence(away=None, watch=frozenset())
    sync = read(type="sync", ref="c3", conversation_id=CONVERSATION, after_sequence_number=0)
    assert sync == frames.Sync("c3", CONVERSATION, 0)
    assert read(type="refresh", token="t") == frames.Refresh("t")
    assert read(type="ping", ref="p1", more="ignored") == frames.Ping("p1")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "ack", "conversation_id": CONVERSATION, "sequence_number": True}, "sequence_number"),
        ({"type": "ack", "conversation_id": CONVERSATION, "sequence_number": 0}, "sequence_number"),
        ({"type": "ack", "conversation_id": CONVERSATION, "sequence_number": 2**32}, "sequence_number"),
        ({"type": "ack", "conversation_id": CONVERSATION, "sequence_number": 1.0}, "sequence_number"),
        ({"type": "ack", "conversation_id": CONVERSATION.upper(), "sequence_number": 1}, "conversation_id"),
        ({"type": "send", "conversation_id": CONVERSATION, "message_id": "42", "content": {}}, "message_id"),
        ({"type": "send", "conversation_id": CONVERSATION, "message_id": MESSAGE, "content": 5}, "content"),
        ({"type": "presence", "watch": [MESSAGE] * 201}, "watch"),
        ({"type": "presence", "watch": [7]}, "watch"),
        ({"type": "hello", "token": "t", "cursors": {CONVERSATION: -1}}, "cursors"),
        ({"type": "hello", "token": "t", "cursors": {"x": 1}}, "cursors"),
        ({"type": "hello", "token": "t", "client": "x"}, "client"),
        ({"type": "hello", "token": "t", "device_id": "a\nb"}, "device_id"),
        ({"type": "typing", "conversation_id": CONVERSATION, "state": "dancing"}, "state"),
        ({"type": 7}, "type"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], field: str) -> None:
    """The refusal names the field and the frame's ref."""
    with pytest.raises(FrameError) as refused:
        read(**fields, ref="r")
    assert (refused.value.reason, refused.value.field, refused.value.ref) == ("FIELD_INVALID", field, "r")


@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes) -> None:
    """Whatever the bytes: a frame or a refusal."""
    try:
        parse(payload)
    except FrameError as error:
        assert error.reason.isupper()  # noqa: PT017  # either outcome is right


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json(kind: str, fields: dict[str, Any]) -> None:
    """Whatever the fields: a frame or a refusal."""
    try:
        read(**{"type": kind, **fields})
    except FrameError as error:
        assert error.reason.isupper()  # noqa: PT017  # either outcome is right
    except orjson.JSONEncodeError:
        return  # an integer that no JSON of ours can hold


@given(st.dictionaries(st.sampled_from(["type", "text", "latitude", "data", "file_id", "other"]), JSON))
def test_any_content(fields: dict[str, Any]) -> None:
    """Whatever the content: protobuf that can be read back, or a refusal that names the field."""
    try:
        content = to_content(fields)
    except FrameError as error:
        assert (error.field or "").startswith("content.")  # noqa: PT017  # either outcome is right
    else:
        assert type(content).FromString(content.SerializeToString()) == content


def test_deepest_data_can_be_read_back() -> None:
    """The bound on depth is below what protobuf refuses."""
    data: Any = {}
    for _ in range(15):
        data = {"d": data}
    content = to_content({"type": "interactive", "data": data})
    assert type(content).FromString(content.SerializeToString()) == content
    with pytest.raises(FrameError):
        to_content({"type": "interactive", "data": {"d": data}})
