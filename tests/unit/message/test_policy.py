"""What may be sent, and what identifies it."""

from __future__ import annotations

from typing import Any

import pytest

from chat4all_message.domain import policy
from chat4all_message.domain.model import Draft
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id


def make(content: dict[str, Any], **fields: Any) -> Draft:
    base = {"tenant_id": "default", "sender_id": new_id(), "conversation_id": new_id(), "message_id": new_id()}
    return Draft(**(base | fields), content=content)


def reason(content: dict[str, Any], **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(DomainError) as caught:
        policy.prepare(make(content, **fields))
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.reason, caught.value.field


TEXT = {"type": "text", "text": "hello"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "TEXT_EMPTY"),
        (" \n\t ", "TEXT_EMPTY"),
        ("x" * 10_001, "MESSAGE_TOO_LONG"),
        ("😀" * 10_001, "MESSAGE_TOO_LONG"),
        ("a\rb", "TEXT_CONTROL_CHARACTER"),
        ("a\x00b", "TEXT_CONTROL_CHARACTER"),
        ("a\x1b[31m", "TEXT_CONTROL_CHARACTER"),
        ("\x1f hello", "TEXT_CONTROL_CHARACTER"),
        ("a\x7f", "TEXT_CONTROL_CHARACTER"),
        ("a\x85", "TEXT_CONTROL_CHARACTER"),
        ("half \ud83d", "TEXT_CONTROL_CHARACTER"),
    ],
)
def test_texts_that_are_refused(text: str, expected: str) -> None:
    """Text is 1 to 10,000 characters after trimming, without control characters but newline and tab."""
    assert reason({"type": "text", "text": text}) == (expected, "content.text")


@pytest.mark.parametrize(
    "text", ["x", "x" * 10_000, "two\nlines\tand a tab", "😀" * 10_000, "مرحبا", " " * 50 + "x" * 10_000 + " "]
)
def test_texts_that_are_taken(text: str) -> None:
    """The limits themselves, any script, and blanks around the text are fine."""
    draft = make({"type": "text", "text": text})
    policy.prepare(draft)
    assert draft.content == {"type": "text", "text": text.strip(), "format": "plain"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"type": ""}, ("CONTENT_TYPE_UNKNOWN", "content.type")),
        ({"type": "hologram"}, ("CONTENT_TYPE_UNKNOWN", "content.type")),
        ({"type": "system", "data": {"a": 1}}, ("CONTENT_TYPE_RESERVED", "content.type")),
        ({**TEXT, "format": "html"}, ("TEXT_FORMAT_UNKNOWN", "content.format")),
        ({"type": "image"}, ("FILE_ID_REQUIRED", "content.file_id")),
        ({"type": "video", "file_id": "7"}, ("FILE_ID_INVALID", "content.file_id")),
        ({"type": "file", "file_id": new_id(), "caption": "x" * 1001}, ("CAPTION_TOO_LONG", "content.caption")),
        ({"type": "audio", "file_id": new_id(), "caption": "a\x07"}, ("TEXT_CONTROL_CHARACTER", "content.caption")),
        ({"type": "location", "longitude": 0.0}, ("LATITUDE_INVALID", "content.latitude")),
        ({"type": "location", "latitude": 0.0}, ("LONGITUDE_INVALID", "content.longitude")),
        ({"type": "location", "latitude": 90.1, "longitude": 0.0}, ("LATITUDE_INVALID", "content.latitude")),
        ({"type": "location", "latitude": 0.0, "longitude": -180.1}, ("LONGITUDE_INVALID", "content.longitude")),
        ({"type": "location", "latitude": float("nan"), "longitude": 0.0}, ("LATITUDE_INVALID", "content.latitude")),
        ({"type": "location", "latitude": 0.0, "longitude": 0.0, "name": "x" * 201}, ("NAME_TOO_LONG", "content.name")),
        ({"type": "contact"}, ("CONTENT_DATA_REQUIRED", "content.data")),
        ({"type": "template", "data": {"a": "x" * 8192}}, ("CONTENT_DATA_TOO_LARGE", "content.data")),
        ({"type": "interactive", "data": {"a": [{"b": "\x01"}]}}, ("TEXT_CONTROL_CHARACTER", "content.data")),
        ({"type": "interactive", "data": {"a\x00": 1}}, ("TEXT_CONTROL_CHARACTER", "content.data")),
        ({"type": "contact", "data": {"a": float("inf")}}, ("CONTENT_NUMBER_INVALID", "content.data")),
    ],
)
def test_contents_that_are_refused(content: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each type has its own rules, and the field at fault is named."""
    assert reason(content) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"message_id": ""}, ("MESSAGE_ID_INVALID", "message_id")),
        ({"message_id": "123e4567-e89b-42d3-a456-426614174000"}, ("MESSAGE_ID_INVALID", "message_id")),
        ({"message_id": new_id().upper()}, ("MESSAGE_ID_INVALID", "message_id")),
        ({"message_id": new_id() + "\n"}, ("MESSAGE_ID_INVALID", "message_id")),
        ({"conversation_id": "x"}, ("CONVERSATION_ID_INVALID", "conversation_id")),
        ({"reply_to_message_id": "x"}, ("REPLY_TO_MESSAGE_ID_INVALID", "reply_to_message_id")),
        ({"thread_id": "x"}, ("THREAD_ID_INVALID", "thread_id")),
        ({"sender_id": "x"}, ("SENDER_USER_ID_INVALID", "sender_user_id")),
        ({"tenant_id": ""}, ("TENANT_ID_REQUIRED", "tenant_id")),
    ],
)
def test_ids_that_are_refused(fields: dict[str, str], expected: tuple[str, str]) -> None:
    """Ids have one canonical form; a message id is a UUIDv7."""
    assert reason(dict(TEXT), **fields) == expected


def test_fields_of_other_types_are_dropped() -> None:
    """The type decides which fields count."""
    file_id = new_id()
    draft = make({"type": "image", "file_id": file_id, "caption": " hi ", "text": "x", "latitude": 1.0, "data": {"a": 1}})
    policy.prepare(draft)
    assert draft.content == {"type": "image", "file_id": file_id, "caption": "hi"}
    draft = make({"type": "location", "latitude": -90, "longitude": 180, "name": "pole", "text": "x"})
    policy.prepare(draft)
    assert draft.content == {"type": "location", "latitude": -90.0, "longitude": 180.0, "name": "pole"}


def prepared_digest(content: dict[str, Any], **fields: Any) -> str:
    draft = make(content, **fields)
    policy.prepare(draft)
    return draft.digest


def test_digest_tells_a_repeat_from_another_message() -> None:
    """Equal for equal messages whatever the order of keys, other for any other content or reference."""
    reply = new_id()
    first = prepared_digest(dict(TEXT))
    assert len(first) == 64
    assert prepared_digest({"text": " hello ", "type": "text", "format": "plain"}) == first
    assert prepared_digest({"type": "text", "text": "hello!"}) != first
    assert prepared_digest({"type": "text", "text": "hello", "format": "markdown"}) != first
    replying = prepared_digest(dict(TEXT), reply_to_message_id=reply)
    assert replying != first
    assert prepared_digest(dict(TEXT), thread_id=reply) not in (first, replying)
    assert prepared_digest({"type": "contact", "data": {"a": 1, "b": [2]}}) == prepared_digest(
        {"type": "contact", "data": {"b": [2], "a": 1}}
    )
