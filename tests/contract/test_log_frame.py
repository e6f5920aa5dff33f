"""The two encoders of log entries write the same bytes: a client cannot tell a replayed entry from a live one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from chat4all_message.log_frame import encode_frame as message_frame
from chat4all_router.log_frame import encode_frame as router_frame


def document(**fields: Any) -> dict[str, Any]:
    """An entry as MongoDB gives it."""
    return {
        "_id": "01968f3e-0000-7000-8000-000000000001",
        "tenant_id": "default",
        "conversation_id": "01968f3e-0000-7000-8000-0000000000c0",
        "sequence_number": 7,
        "kind": "message",
        "from_user_id": "01968f3e-0000-7000-8000-0000000000a0",
        "payload": {"type": "text", "text": "hello", "format": "plain"},
        "digest": "0" * 64,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
        "stored_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
        **fields,
    }


DOCUMENTS = [
    document(),
    document(payload={"type": "text", "text": 'tab\tnewline\n"quote" \\ ünïcode 😀 \u2028', "format": "markdown"}),
    document(reply_to_message_id="01968f3e-0000-7000-8000-000000000002"),
    document(thread_id="01968f3e-0000-7000-8000-000000000003"),
    document(reply_to_message_id="01968f3e-0000-7000-8000-000000000002", thread_id="01968f3e-0000-7000-8000-000000000003"),
    document(reply_to_message_id="", thread_id=None),
    document(payload={"type": "image", "file_id": "f", "caption": "c"}),
    document(payload={"type": "location", "latitude": -0.0, "longitude": 12.25, "name": "n"}),
    document(payload={"type": "contact", "data": {"b": [1, 2.5, None, True], "a": {"c": ""}}}),
    document(
        kind="member_removed", from_user_id="", payload={"type": "system", "data": {"removed_user_id": "u", "changed_by": "v"}}
    ),
    document(kind="member_added", from_user_id="", payload={"type": "system", "data": {"added_user_ids": ["u", "w"]}}),
    document(kind="member_added", from_user_id="", payload={"type": "system"}),
    document(kind="conversation_updated", from_user_id="", payload={"type": "system", "data": {"title": "t"}}),
    document(kind="reaction", payload={"type": "reaction", "emoji": "👍"}),
    document(created_at=datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    document(created_at=datetime(2026, 1, 1, tzinfo=UTC), sequence_number=4_294_967_295),
]


@pytest.mark.parametrize("entry", DOCUMENTS)
def test_both_encoders_write_the_same_bytes(entry: dict[str, Any]) -> None:
    """Replay and live are byte for byte the same, and fit one line of the live channel."""
    frame = message_frame(entry)
    assert frame == router_frame(entry)
    assert b"\n" not in frame
    assert b"\t" not in frame


def test_the_frame_is_the_one_of_the_contract() -> None:
    """Names and order of keys, types of events, and what is lifted for gateways."""
    frame = message_frame(DOCUMENTS[4])
    assert frame.startswith(b'{"type":"event","event_id":"01968f3e-0000-7000-8000-000000000001","event_type":"message.stored",')
    assert list(orjson.loads(frame)) == ["type", "event_id", "event_type", "conversation_id", "sequence_number", "time", "data"]
    data = orjson.loads(frame)["data"]
    assert list(data) == ["message_id", "from_user_id", "content", "reply_to_message_id", "thread_id", "kind"]
    assert orjson.loads(frame)["time"] == "2026-01-02T03:04:05.006Z"
    removed = orjson.loads(message_frame(DOCUMENTS[9]))
    assert (removed["event_type"], removed["data"]["removed_user_id"]) == ("conversation.member_removed", "u")
    added = orjson.loads(message_frame(DOCUMENTS[10]))
    assert (added["event_type"], added["data"]["added_user_ids"]) == ("conversation.member_added", ["u", "w"])
    assert orjson.loads(message_frame(DOCUMENTS[12]))["event_type"] == "conversation.updated"
    assert orjson.loads(message_frame(DOCUMENTS[13]))["event_type"] == "message.stored"
