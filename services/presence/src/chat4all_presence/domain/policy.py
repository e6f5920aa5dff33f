"""What a request may look like."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from chat4all_presence.domain.model import Heartbeat, State
from chat4all_runtime.errors import DomainError, invalid
from chat4all_runtime.ids import is_uuid

MAX_USERS = 200
MAX_HEARTBEATS = 1000
MAX_DEVICE_ID_CHARS = 100

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_user_ids(user_ids: Sequence[str]) -> None:
    """1 to 200 ids.

    Raises:
        DomainError: INVALID_ARGUMENT that names the field.
    """
    if not user_ids:
        raise invalid("user_ids", "USER_IDS_MISSING", "Ask for at least one user.")
    if len(user_ids) > MAX_USERS:
        raise _too_many("user_ids", "TOO_MANY_USERS", MAX_USERS)
    for index, user_id in enumerate(user_ids):
        if not is_uuid(user_id):
            raise invalid(f"user_ids[{index}]", "USER_ID_INVALID", "A user id is a UUID in lower case.")


def check_device(field: str, device_id: str) -> None:
    """1 to 100 printable characters.

    Raises:
        DomainError: INVALID_ARGUMENT that names the field.
    """
    if not 1 <= len(device_id) <= MAX_DEVICE_ID_CHARS:
        message = f"A device id has 1 to {MAX_DEVICE_ID_CHARS} characters."
        raise invalid(field, "DEVICE_ID_INVALID", message, max_chars=str(MAX_DEVICE_ID_CHARS))
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in device_id):
        raise invalid(field, "DEVICE_ID_INVALID", "A device id has no control characters.")


def check_state(field: str, number: int) -> State:
    """ONLINE, AWAY or OFFLINE.

    Raises:
        DomainError: INVALID_ARGUMENT that names the field.
    """
    try:
        return State(number)
    except ValueError:
        raise invalid(field, "STATE_INVALID", "The state is ONLINE, AWAY or OFFLINE.") from None


def check_heartbeats(heartbeats: Sequence[Heartbeat]) -> None:
    """At most 1,000, each with whom it is about.

    Raises:
        DomainError: INVALID_ARGUMENT that names the field; nothing was recorded.
    """
    if len(heartbeats) > MAX_HEARTBEATS:
        raise _too_many("heartbeats", "TOO_MANY_HEARTBEATS", MAX_HEARTBEATS)
    for index, heartbeat in enumerate(heartbeats):
        field = f"heartbeats[{index}]"
        if not _TENANT.fullmatch(heartbeat.tenant_id):
            raise invalid(f"{field}.tenant_id", "TENANT_ID_INVALID", "A tenant id has 1 to 100 letters, digits, dots and dashes.")
        if not is_uuid(heartbeat.user_id):
            raise invalid(f"{field}.user_id", "USER_ID_INVALID", "A user id is a UUID in lower case.")
        check_device(f"{field}.device_id", heartbeat.device_id)


def _too_many(field: str, reason: str, limit: int) -> DomainError:
    return invalid(field, reason, f"At most {limit} at a time.", limit=str(limit))
