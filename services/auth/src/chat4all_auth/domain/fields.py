"""What each field of a request may hold. Nothing reaches a store that has not passed here.

Each function gives the value as it is kept, or raises INVALID_ARGUMENT with a stable reason and the field's name.
"""

from __future__ import annotations

import re
import unicodedata

from chat4all_auth.domain.model import DEFAULT_TENANT, SessionId, TenantId, UserId
from chat4all_runtime.errors import DomainError, invalid
from chat4all_runtime.ids import is_uuid

USERNAME_CHARS = (3, 64)
PASSWORD_CHARS = (8, 256)
DISPLAY_NAME_MAX_CHARS = 100
EMAIL_MAX_CHARS = 254  # the longest path SMTP carries (source: RFC 5321 §4.5.3.1.3, less the brackets)
DEVICE_MAX_CHARS = 100
QUERY_MAX_CHARS = 100
TOKEN_MAX_CHARS = 4096
BATCH_MAX_IDS = 200

_USERNAME = re.compile(r"[A-Za-z0-9._-]+")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters (NUL too), lone surrogates, line separators


def is_printable(text: str) -> bool:
    """Whether the text is free of control characters, lone surrogates and line separators."""
    return all(unicodedata.category(char) not in _UNPRINTABLE for char in text)


def username(value: str) -> str:
    """A name to register under; case is folded. Only ASCII passes, so that no two names look alike."""
    low, high = USERNAME_CHARS
    if not low <= len(value) <= high or _USERNAME.fullmatch(value) is None:
        message = f"username must be {low} to {high} characters of a-z, 0-9, dot, dash and underscore."
        raise invalid("username", "USERNAME_INVALID", message, minimum=str(low), maximum=str(high))
    return value.lower()


def login_name(value: str) -> str | None:
    """A name somebody wants to sign in with; None for one that nobody can have, which must look like an unknown one."""
    if not value:
        raise invalid("username", "USERNAME_REQUIRED", "username is required.")
    high = USERNAME_CHARS[1]
    if len(value) > high or not is_printable(value):
        message = f"username must be at most {high} printable characters."
        raise invalid("username", "USERNAME_INVALID", message, maximum=str(high))
    return value.lower() if _USERNAME.fullmatch(value) else None


def new_password(value: str) -> str:
    """A password to set, in normal form C so that every keyboard gives the same (source: RFC 8265 §4.2)."""
    low, high = PASSWORD_CHARS
    if len(value) < low:
        raise invalid("password", "PASSWORD_TOO_SHORT", f"password must be at least {low} characters.", minimum=str(low))
    if len(value) > high:
        raise _password_too_long()
    if not is_printable(value):
        raise invalid("password", "PASSWORD_INVALID", "password must not hold control characters.")
    return unicodedata.normalize("NFC", value)


def login_password(value: str) -> str:
    """A password to check; any that could have been set, and others, which are merely wrong."""
    if not value:
        raise invalid("password", "PASSWORD_REQUIRED", "password is required.")
    if len(value) > PASSWORD_CHARS[1]:
        raise _password_too_long()
    if not is_printable(value):
        raise invalid("password", "PASSWORD_INVALID", "password must not hold control characters.")
    return unicodedata.normalize("NFC", value)


def _password_too_long() -> DomainError:
    high = PASSWORD_CHARS[1]
    return invalid("password", "PASSWORD_TOO_LONG", f"password must be at most {high} characters.", maximum=str(high))


def display_name(value: str, field: str = "display_name") -> str:
    """A name for people to read, trimmed."""
    value = value.strip()
    if not 1 <= len(value) <= DISPLAY_NAME_MAX_CHARS or not is_printable(value):
        message = f"display_name must be 1 to {DISPLAY_NAME_MAX_CHARS} printable characters."
        raise invalid(field, "DISPLAY_NAME_INVALID", message, maximum=str(DISPLAY_NAME_MAX_CHARS))
    return value


def email(value: str, field: str = "email") -> str:
    """An address in lower case, or empty. Whether mail arrives there is not checked."""
    if not value:
        return ""
    if len(value) > EMAIL_MAX_CHARS or not is_printable(value) or _EMAIL.fullmatch(value) is None:
        message = f"email must be an address of at most {EMAIL_MAX_CHARS} characters."
        raise invalid(field, "EMAIL_INVALID", message, maximum=str(EMAIL_MAX_CHARS))
    return value.lower()


def tenant_id(value: str) -> TenantId:
    """A tenant, `default` when empty."""
    if not value:
        return DEFAULT_TENANT
    if _TENANT.fullmatch(value) is None:
        message = "tenant_id must be 1 to 63 characters of a-z, 0-9 and dash, not starting with a dash."
        raise invalid("tenant_id", "TENANT_ID_INVALID", message)
    return TenantId(value)


def device(value: str, field: str) -> str:
    """What a client says of its device; may be empty."""
    if len(value) > DEVICE_MAX_CHARS or not is_printable(value):
        message = f"{field} must be at most {DEVICE_MAX_CHARS} printable characters."
        raise invalid(field, f"{field.upper()}_INVALID", message, maximum=str(DEVICE_MAX_CHARS))
    return value


def query(value: str) -> str:
    """Start of a name, ready to be compared with `search_key` of names."""
    if len(value) > QUERY_MAX_CHARS or not is_printable(value):
        message = f"query must be at most {QUERY_MAX_CHARS} printable characters."
        raise invalid("query", "QUERY_INVALID", message, maximum=str(QUERY_MAX_CHARS))
    return search_key(value.strip())


def search_key(name: str) -> str:
    """A name as it is searched by: composed and case-folded here, so that no database locale decides."""
    return unicodedata.normalize("NFKC", name).casefold()


def token(value: str, field: str) -> str:
    """A token as text; whether it is any good is decided elsewhere."""
    if not value:
        raise invalid(field, f"{field.upper()}_REQUIRED", f"{field} is required.")
    if len(value) > TOKEN_MAX_CHARS:
        message = f"{field} must be at most {TOKEN_MAX_CHARS} characters."
        raise invalid(field, f"{field.upper()}_TOO_LONG", message, maximum=str(TOKEN_MAX_CHARS))
    return value


def user_id(value: str, field: str = "user_id") -> UserId:
    """The id of an account."""
    if not is_uuid(value):
        raise invalid(field, "USER_ID_INVALID", f"{field} must be a UUID in lower case.")
    return UserId(value)


def session_id(value: str) -> SessionId:
    """The id of a session."""
    if not is_uuid(value):
        raise invalid("session_id", "SESSION_ID_INVALID", "session_id must be a UUID in lower case.")
    return SessionId(value)


def user_ids(values: list[str]) -> list[UserId]:
    """Ids of a batch, each once."""
    if len(values) > BATCH_MAX_IDS:
        message = f"user_ids must be at most {BATCH_MAX_IDS}."
        raise invalid("user_ids", "TOO_MANY_USER_IDS", message, maximum=str(BATCH_MAX_IDS))
    return [user_id(value, "user_ids") for value in dict.fromkeys(values)]
