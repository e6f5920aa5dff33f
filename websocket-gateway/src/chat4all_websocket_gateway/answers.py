"""Frames from the gateway to a client, ready for the wire. Event frames are not built here: their publisher encodes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

import orjson

from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway.wire import text_frame


def _frame(fields: Mapping[str, Any]) -> bytes:
    return text_frame(orjson.dumps(fields))


def welcome(session_id: str, user_id: str, heartbeat_seconds: float, limits: Mapping[str, int | float]) -> bytes:
    """The answer to a hello: from here on the socket follows its conversations."""
    return _frame(
        {
            "type": "welcome",
            "session_id": session_id,
            "user_id": user_id,
            "server_time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "heartbeat_seconds": heartbeat_seconds,
            "limits": limits,
        }
    )


def sent(ref: str | None, message_id: str, state: str, sequence_number: int = 0) -> bytes:
    """How far a send has come: `accepted`, or `stored` with its number."""
    fields: dict[str, Any] = {"type": "sent"}
    if ref is not None:
        fields["ref"] = ref
    fields["message_id"] = message_id
    fields["state"] = state
    if sequence_number:
        fields["sequence_number"] = sequence_number
    return _frame(fields)


def resumed(conversation_id: str, first: int, last: int, ref: str | None) -> bytes:
    """The missed part `first` to `last` is complete; `last` is `first - 1` when nothing was missed."""
    fields: dict[str, Any] = {"type": "resumed"}
    if ref is not None:
        fields["ref"] = ref
    return _frame(fields | {"conversation_id": conversation_id, "from_sequence_number": first, "to_sequence_number": last})


def reset(conversation_id: str, reason: str, last: int, ref: str | None) -> bytes:
    """Nothing is replayed: page the history; live entries follow from `last + 1` on."""
    fields: dict[str, Any] = {"type": "reset"}
    if ref is not None:
        fields["ref"] = ref
    return _frame(fields | {"conversation_id": conversation_id, "reason": reason, "last_sequence_number": last})


def pong(ref: str | None) -> bytes:
    """The answer to a ping frame."""
    return _frame({"type": "pong", "ref": ref} if ref is not None else {"type": "pong"})


def drain(reconnect_after_milliseconds: int) -> bytes:
    """This gateway stops; come back after that time."""
    return _frame({"type": "drain", "reconnect_after_ms": reconnect_after_milliseconds})


def error(
    reason: str,
    message: str,
    *,
    ref: str | None = None,
    metadata: Mapping[str, str] | None = None,
    retry_after_seconds: float | None = None,
) -> bytes:
    """A refusal. It names the frame it answers by `ref` when that had one."""
    fields: dict[str, Any] = {"type": "error"}
    if ref is not None:
        fields["ref"] = ref
    fields["reason"] = reason
    fields["message"] = message
    if metadata:
        fields["metadata"] = dict(metadata)
    if retry_after_seconds is not None:
        fields["retry_after_seconds"] = ceil(retry_after_seconds * 1000) / 1000  # never zero: that would mean at once
    return _frame(fields)


def refusal(refused: DomainError, *, ref: str | None = None, **metadata: str) -> bytes:
    """A domain error as a frame; `metadata` is added to its own."""
    retry_after = None if refused.retry_after is None else refused.retry_after.total_seconds()
    return error(refused.reason, refused.message, ref=ref, metadata=refused.metadata | metadata, retry_after_seconds=retry_after)
