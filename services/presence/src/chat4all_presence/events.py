"""Changes as they leave: the Kafka event and the frame that sockets get."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

import orjson

from chat4all.presence.v1 import presence_events_pb2
from chat4all_presence.domain.model import Change
from chat4all_runtime.events import EventCodec, OutgoingRecord

TOPIC = "user.presence"
CHANNEL = "presence:updates"

_codec = EventCodec("/services/presence")


def event_id(change: Change) -> str:
    """The same UUIDv7 whenever the same change is told, so that readers can drop a repeat."""
    milliseconds = round(change.changed_at.timestamp() * 1000)
    text = f"{change.tenant_id}:{change.user_id}:{milliseconds}:{int(change.state)}"
    rest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:10])
    value = milliseconds << 80 | 0x7 << 76 | (rest >> 64 & 0xFFF) << 64 | 0b10 << 62 | rest & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def record(change: Change) -> OutgoingRecord:
    """The event for topic `user.presence`, in order per user."""
    event = presence_events_pb2.PresenceChanged(
        tenant_id=change.tenant_id,
        user_id=change.user_id,
        state=f"PRESENCE_STATE_{change.state.name}",
        previous_state=f"PRESENCE_STATE_{change.previous_state.name}",
    )
    event.change_time.FromDatetime(change.changed_at)
    return _codec.encode(TOPIC, change.user_id, event, change.tenant_id, event_id(change))


def line(change: Change) -> bytes:
    """The entry for the live channel: transient, about one user, with the frame encoded once for all sockets.

    The channel is one for all tenants, so the field that is a message id elsewhere names the tenant: gateways show the change to
    sockets of that tenant only.
    """
    frame = {
        "type": "event",
        "event_id": event_id(change),
        "event_type": "presence.changed",
        "time": _text(change.changed_at),
        "data": {
            "user_id": change.user_id,
            "state": change.state.name.lower(),
            "last_seen": _text(change.last_seen) if change.last_seen else None,
        },
    }
    return b"t\t0\t" + change.user_id.encode() + b"\t" + change.tenant_id.encode() + b"\t" + orjson.dumps(frame)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
