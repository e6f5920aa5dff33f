"""Time-ordered identifiers (UUIDv7, RFC 9562): index pages stay warm because neighbours in time are neighbours on disk."""

from __future__ import annotations

import re

import uuid_utils

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id() -> str:
    """A new UUIDv7 in its canonical lower-case form, 36 characters."""
    return str(uuid_utils.uuid7())


def is_uuid(value: str) -> bool:
    """Whether the text is a UUID in canonical lower-case form."""
    return _UUID.fullmatch(value) is not None


def is_uuid7(value: str) -> bool:
    """Whether the text is a UUIDv7 in canonical lower-case form."""
    return _UUID7.fullmatch(value) is not None
