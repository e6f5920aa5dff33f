"""Opaque page tokens: where the next page starts, as the server wrote it. They hold no secret and are checked on return."""

from __future__ import annotations

import base64
import binascii

import orjson

from chat4all_runtime.errors import invalid

_MAX_TOKEN_CHARS = 1000


def encode(*parts: str | int) -> str:
    """Make a token from where the next page starts."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode(token: str, *kinds: type[str] | type[int], field: str = "page_token") -> list[str | int] | None:
    """Read a token back; None for an empty one.

    Raises:
        DomainError: INVALID_ARGUMENT `PAGE_TOKEN_INVALID` when it is not one of ours or has other parts.
    """
    if not token:
        return None
    try:
        if len(token) > _MAX_TOKEN_CHARS:
            raise ValueError("too long")
        parts = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error) as error:
        raise _refused(field) from error
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise _refused(field)
    return parts


def _refused(field: str) -> Exception:
    return invalid(field, "PAGE_TOKEN_INVALID", f"{field} is not one that this service gave out.")


def page_size(asked: int, default: int = 50, maximum: int = 200) -> int:
    """The number of rows to answer with.

    Raises:
        DomainError: INVALID_ARGUMENT `PAGE_SIZE_INVALID` when negative or above the maximum.
    """
    if asked < 0 or asked > maximum:
        raise invalid("page_size", "PAGE_SIZE_INVALID", f"page_size must be 0 to {maximum}.", maximum=str(maximum))
    return asked or default
