"""Records → occurrences: `MessageStored` comes in, nothing goes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chat4all.message.v1 import message_events_pb2
from chat4all_history.domain.model import Occurrence
from chat4all_runtime.events import IncomingRecord, NotAnEvent, decode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 2**31 - 1  # beyond 2038 the store keeps a time series in a slower, extended form


# Less than the shortest consumer session: within it no other router can have told the same. The clocks of routers and brokers must
# agree to a second or so: a router's that is ahead hides its sleep, one that is behind only costs look-ups.
_LATE_SECONDS = 5.0


class NotAFact(ValueError):
    """The record can never become history.

    Args:
        reason: UPPER_SNAKE_CASE, for the dead letter.
        detail: the same for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_stored(record: IncomingRecord) -> Occurrence:
    """What a record says happened.

    Raises:
        NotAFact: it is no `MessageStored`, or lacks an id, a number or a time.
    """
    try:
        event = decode(record, message_events_pb2.MessageStored)
    except NotAnEvent as error:
        raise NotAFact("NOT_A_STORED_MESSAGE", str(error)[:200]) from error
    message = event.message
    if not (message.message_id and message.conversation_id and message.tenant_id and message.sequence_number):
        raise NotAFact("MISSING_ID", "message_id, conversation_id, tenant_id and sequence_number are required")
    time = message.create_time
    if not 0 < time.seconds <= _MAX_SECONDS:
        raise NotAFact("MALFORMED_TIME", "create_time is missing or beyond 2038")
    content = message.content
    return Occurrence(
        (record.topic, record.partition),
        record.redelivered or "redelivered" in record.headers or _came_late(record, event),
        # Cut to what the store keeps, so that a repeat is found under exactly this time.
        _EPOCH + timedelta(0, time.seconds, time.nanos // 1_000_000 * 1000),
        message.tenant_id,
        message.conversation_id,
        message.message_id,
        message.sequence_number,
        message.kind or "message",
        message.from_user_id,
        len(content.text or content.caption),
        bool(content.file_id),
    )


def _came_late(record: IncomingRecord, event: message_events_pb2.MessageStored) -> bool:
    """Whether the router slept between storing and telling; another may have told it meanwhile, and this one cannot say so."""
    stored = event.store_time
    return record.append_ms / 1000 - (stored.seconds + stored.nanos / 1e9) > _LATE_SECONDS
