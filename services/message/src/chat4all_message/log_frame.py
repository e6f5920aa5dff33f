"""A log entry as the JSON frame that sockets get, encoded the same way by whoever reads the log and whoever publishes it.

The router publishes entries live and this service serves the missed ones: a client must not be able to tell which it got, so the
bytes are equal. The two packages do not import each other; a contract test compares both encoders on the same documents.
"""

from __future__ import annotations

from typing import Any

import orjson

# By kind of entry; kinds to come are plain entries to a client that does not know them.
EVENT_TYPES = {
    "member_added": "conversation.member_added",
    "member_removed": "conversation.member_removed",
    "conversation_updated": "conversation.updated",
}
# What an entry of that kind says about itself in `data` of its content, lifted to where gateways look for it.
_LIFTED = {"member_added": "added_user_ids", "member_removed": "removed_user_id"}


def encode_frame(document: dict[str, Any]) -> bytes:
    """The frame of one document of the `messages` collection: UTF-8 JSON with a fixed order of keys."""
    kind = document["kind"]
    content = document["payload"]
    data: dict[str, Any] = {
        "message_id": document["_id"],
        "from_user_id": document["from_user_id"],
        "content": content,
    }
    for name in ("reply_to_message_id", "thread_id"):
        if value := document.get(name):
            data[name] = value
    data["kind"] = kind
    if (lifted := _LIFTED.get(kind)) is not None and lifted in (inner := content.get("data") or {}):
        data[lifted] = inner[lifted]
    return orjson.dumps(
        {
            "type": "event",
            "event_id": document["_id"],
            "event_type": EVENT_TYPES.get(kind, "message.stored"),
            "conversation_id": document["conversation_id"],
            "sequence_number": document["sequence_number"],
            # UTC always; the store keeps milliseconds.
            "time": document["created_at"].isoformat(timespec="milliseconds")[:23] + "Z",
            "data": data,
        }
    )
