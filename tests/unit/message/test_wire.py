"""Content between the wire and the log."""

from __future__ import annotations

from typing import Any

import pytest

from chat4all.message.v1 import message_pb2
from chat4all_message.wire import content_message, plain_content
from chat4all_runtime.errors import DomainError
from chat4all_runtime.ids import new_id


@pytest.mark.parametrize(
    "plain",
    [
        {"type": "text", "text": "hello", "format": "markdown"},
        {"type": "image", "file_id": new_id(), "caption": "hi"},
        {"type": "location", "latitude": 0.0, "longitude": -0.5, "name": "zero"},
        {"type": "contact", "data": {"a": [1, 2.5, "x", True, None, {"b": {}}], "big": 2**53, "huge": 1e300}},
        {"type": "system", "data": {"removed_user_id": "u"}},
    ],
)
def test_content_survives_both_ways(plain: dict[str, Any]) -> None:
    """What was sent is what is read, numbers included; whole numbers stay whole."""
    wire = content_message(plain)
    again = plain_content(message_pb2.MessageContent.FromString(wire.SerializeToString()))
    assert again == plain
    assert type((again.get("data") or {}).get("big", 0)) is int


def test_content_of_later_versions_can_be_read() -> None:
    """Names in the log that this version does not know do not break an answer."""
    assert content_message({"type": "poll", "question": "?", "text": "x"}) == message_pb2.MessageContent(type="poll", text="x")


def test_huge_data_is_refused_before_it_is_taken_apart() -> None:
    """A struct far beyond the limit costs no time."""
    content = message_pb2.MessageContent(type="contact")
    content.data.update({"a": "x" * 70_000})
    with pytest.raises(DomainError) as caught:
        plain_content(content)
    assert caught.value.reason == "CONTENT_DATA_TOO_LARGE"
