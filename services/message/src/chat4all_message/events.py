"""Drafts as Kafka records: a `MessageCommand` on `message.sent`, key conversation_id, event id message_id."""

from __future__ import annotations

from datetime import datetime

from chat4all.message.v1 import message_events_pb2
from chat4all_message.domain.model import KIND_MESSAGE, Draft
from chat4all_message.wire import content_message, timestamp
from chat4all_runtime.events import EventCodec, OutgoingRecord

TOPIC = "message.sent"


class CommandCodec:
    """Makes the record of a draft. The same draft sent twice carries the same event id."""

    def __init__(self) -> None:
        self._codec = EventCodec("/services/message")

    def record(self, draft: Draft, accept_time: datetime) -> OutgoingRecord:
        """The command to write this message into its conversation's log."""
        command = message_events_pb2.MessageCommand(
            tenant_id=draft.tenant_id,
            conversation_id=draft.conversation_id,
            message_id=draft.message_id,
            from_user_id=draft.sender_id,
            kind=KIND_MESSAGE,
            content=content_message(draft.content),
            reply_to_message_id=draft.reply_to_message_id,
            thread_id=draft.thread_id,
            accept_time=timestamp(accept_time),
            digest=draft.digest,
        )
        return self._codec.encode(TOPIC, draft.conversation_id, command, draft.tenant_id, draft.message_id)
