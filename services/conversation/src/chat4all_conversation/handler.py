"""`message.stored` records → last sequence number and last activity of their conversations.

Runs in the consumer's thread; the statement runs on the event loop, which owns the connections. Safe to run twice: numbers
and times only rise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence
from datetime import UTC, datetime

from chat4all.message.v1 import message_events_pb2
from chat4all_conversation.repository import ConversationRepository
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.events import IncomingRecord, NotAnEvent, decode
from chat4all_runtime.ids import is_uuid
from chat4all_runtime.kafka_consumer import Rejected, RetryLater

TOPIC = "message.stored"


class ActivityHandler:
    """Implements `BatchHandler`: one statement per batch, however many messages are in it.

    Args:
        loop: the loop that `repository` lives on.
        timeout_seconds: longest wait for it; the batch comes again after that.
    """

    def __init__(self, repository: ConversationRepository, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> None:
        self._repository = repository
        self._loop = loop
        self._timeout_seconds = timeout_seconds

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Raise numbers and times; names records that are no stored messages.

        Raises:
            RetryLater: PostgreSQL is away.
        """
        rejected = []
        reached: dict[str, tuple[int, datetime]] = {}
        for record in records:
            try:
                event = decode(record, message_events_pb2.MessageStored)
            except NotAnEvent as error:
                rejected.append(Rejected(record, "NOT_AN_EVENT", str(error)))
                continue
            conversation_id = event.message.conversation_id
            if not is_uuid(conversation_id):
                rejected.append(Rejected(record, "CONVERSATION_ID_INVALID", "The message names no conversation."))
                continue
            number, at = event.message.sequence_number, event.store_time.ToDatetime(tzinfo=UTC)
            known = reached.get(conversation_id)
            reached[conversation_id] = (number, at) if known is None else (max(number, known[0]), max(at, known[1]))
        if reached:
            self._record([(conversation_id, *reached[conversation_id]) for conversation_id in reached])
        return rejected

    def _record(self, activity: Sequence[tuple[str, int, datetime]]) -> None:
        waiting = asyncio.run_coroutine_threadsafe(self._write(activity), self._loop)
        try:
            waiting.result(self._timeout_seconds)
        except concurrent.futures.TimeoutError as error:
            waiting.cancel()
            raise RetryLater("PostgreSQL did not answer in time") from error
        except DomainError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            raise RetryLater(error.message) from error

    async def _write(self, activity: Sequence[tuple[str, int, datetime]]) -> None:
        await self._repository.record_activity(activity)

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing is kept per partition."""

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing is kept per partition."""
