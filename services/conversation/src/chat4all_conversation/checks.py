"""Checks of what a request says, before anything is read. Each raises INVALID_ARGUMENT naming the field."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from chat4all_runtime.errors import invalid
from chat4all_runtime.ids import is_uuid

MAX_TITLE_CHARS = 200
MAX_REQUEST_ID_CHARS = 100
MAX_ADDED_MEMBERS = 200
# Ids in one create request before repeats are dropped; the limit of members is a setting.
MAX_IDS = 10_000
MAX_MARKS = 1000
_CONTROL_CATEGORIES = ("Cc", "Cs")


def identifier(field: str, value: str) -> str:
    """The value when it is a UUID in canonical lower-case form."""
    if not is_uuid(value):
        raise invalid(field, _reason(field), f"{field} must be a UUID in lower case.")
    return value


def _reason(field: str) -> str:
    """`conversation_id` → CONVERSATION_ID_INVALID, as every service says it; a list is named by one of its ids."""
    name = field.rsplit(".", 1)[-1].partition("[")[0]
    return f"{name.removesuffix('s').upper()}_INVALID"


def identifiers(field: str, values: Sequence[str], maximum: int) -> Sequence[str]:
    """The values when there are 1 to `maximum` of them, all UUIDs."""
    if not values:
        raise invalid(field, "FIELD_REQUIRED", f"{field} must name at least one user.")
    if len(values) > maximum:
        raise invalid(field, "TOO_MANY_MEMBERS", f"{field} takes at most {maximum} ids.", maximum=str(maximum))
    for index, value in enumerate(values):
        identifier(f"{field}[{index}]", value)
    return values


def title(field: str, value: str) -> str:
    """The title without blanks around it, at most 200 characters, none of them a control character."""
    trimmed = value.strip()
    if len(trimmed) > MAX_TITLE_CHARS:
        raise invalid(field, "TITLE_TOO_LONG", f"{field} has at most {MAX_TITLE_CHARS} characters.", maximum=str(MAX_TITLE_CHARS))
    return _without_control_characters(field, trimmed)


def request_id(field: str, value: str) -> str:
    """The id when it has 1 to 100 characters, none of them a control character."""
    if not value:
        raise invalid(field, "FIELD_REQUIRED", f"{field} is required.")
    if len(value) > MAX_REQUEST_ID_CHARS:
        maximum = str(MAX_REQUEST_ID_CHARS)
        raise invalid(field, "REQUEST_ID_TOO_LONG", f"{field} has at most {maximum} characters.", maximum=maximum)
    return _without_control_characters(field, value)


def _without_control_characters(field: str, value: str) -> str:
    if any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in value):
        raise invalid(field, "CONTROL_CHARACTER", f"{field} must not contain control characters.")
    return value
