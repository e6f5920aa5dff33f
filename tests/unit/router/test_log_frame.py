"""The frame is a promise to the byte: the message service encodes the same from the same document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chat4all_router.log_frame import encode_frame

DOCUMENT: dict[str, Any] = {
    "_id": "m1",
    "tenant_id": "default",
    "conversation_id": "c1",
    "sequence_number": 7,
    "kind": "message",
    "from_user_id": "u1",
    "payload": {"type": "text", "text": 'a\tb\n"ü"'},
    "digest": "d",
    "created_at": datetime(2026, 1, 2, 3, 4, 5, 60_000, tzinfo=UTC),
    "stored_at": datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC),
}


def test_every_byte_of_a_message() -> None:
    """Names, order, escapes: no tab and no newline is left in it, for it travels in a line of tab-separated fields."""
    assert (
        encode_frame(DOCUMENT)
        == (
            '{"type":"event","event_id":"m1","event_type":"message.stored","conversation_id":"c1","sequence_number":7,'
            '"time":"2026-01-02T03:04:05.060Z","data":{"message_id":"m1","from_user_id":"u1",'
            '"content":{"type":"text","text":"a\\tb\\n\\"ü\\""},"kind":"message"}}'
        ).encode()
    )


def test_references_are_there_only_when_set() -> None:
    """Between the content and the kind, in this order."""
    document = DOCUMENT | {"thread_id": "t", "reply_to_message_id": "r", "payload": {}}
    assert b'"content":{},"reply_to_message_id":"r","thread_id":"t","kind":"message"}}' in encode_frame(document)


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [
        ("message", "message.stored"),
        ("member_added", "conversation.member_added"),
        ("member_removed", "conversation.member_removed"),
        ("conversation_updated", "conversation.updated"),
        ("note", "message.stored"),
    ],
)
def test_kinds_are_open(kind: str, event_type: str) -> None:
    """A kind of a later part is shown as a stored message, with its own name beside it."""
    frame = encode_frame(DOCUMENT | {"kind": kind})
    assert f'"event_type":"{event_type}"'.encode() in frame
    assert frame.endswith(f'"kind":"{kind}"}}}}'.encode())


def test_changes_of_members_say_who() -> None:
    """Gateways detach by `removed_user_id` without looking into the content."""
    removed = DOCUMENT | {"kind": "member_removed", "payload": {"type": "system", "data": {"removed_user_id": "u9"}}}
    assert encode_frame(removed).endswith(b'"kind":"member_removed","removed_user_id":"u9"}}')
    added = DOCUMENT | {"kind": "member_added", "payload": {"type": "system", "data": {"added_user_ids": ["u8", "u9"]}}}
    assert encode_frame(added).endswith(b'"kind":"member_added","added_user_ids":["u8","u9"]}}')


@pytest.mark.parametrize(("microseconds", "text"), [(0, "05.000Z"), (999_999, "05.999Z"), (1_000, "05.001Z")])
def test_times_always_have_milliseconds(microseconds: int, text: str) -> None:
    """Cut, not rounded: the store cuts as well."""
    moment = datetime(2026, 1, 2, 3, 4, 5, microseconds, tzinfo=UTC)
    assert f'"time":"2026-01-02T03:04:{text}"'.encode() in encode_frame(DOCUMENT | {"created_at": moment})
