"""How far members have read and received. Marks only move forward; state and event are one transaction (outbox)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from chat4all_conversation.domain import errors
from chat4all_conversation.domain.model import Mark, Member
from chat4all_conversation.repository import ConversationRepository, LivePublisher, MessageSummaries
from chat4all_conversation.usecases.views import Views
from chat4all_runtime.clock import Clock


class MarkConversationRead:
    """Moves the caller's read mark, and with it what is delivered to them."""

    def __init__(
        self,
        conversations: ConversationRepository,
        summaries: MessageSummaries,
        views: Views,
        live: LivePublisher,
        clock: Clock,
    ) -> None:
        self._conversations = conversations
        self._summaries = summaries
        self._views = views
        self._live = live
        self._clock = clock

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str, sequence_number: int) -> Member:
        """Move it; a smaller number changes nothing.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; INVALID_ARGUMENT `SEQUENCE_NUMBER_TOO_HIGH`; UNAVAILABLE.
        """
        conversation, member = await self._views.find(conversation_id, tenant_id, user_id)
        if sequence_number <= member.read_sequence_number:
            return member
        last = conversation.last_sequence_number
        if sequence_number > last:
            # Our own number follows the log with a delay; the message service reads the log.
            summary = (await self._summaries.of(user_id, [(conversation_id, sequence_number)]))[0]
            last = max(last, summary.last_sequence_number)
        if sequence_number > last:
            raise errors.sequence_number_too_high(sequence_number, last)
        mark = Mark(conversation_id, user_id, sequence_number, 0)
        async with self._conversations.transaction() as transaction:
            facts = await transaction.move_marks([mark], self._clock.now())
        self._live.tell(facts)
        if not facts:  # moved further by another device in the meantime, or out of the conversation
            return (await self._views.find(conversation_id, tenant_id, user_id))[1]
        return dataclasses.replace(
            member,
            read_sequence_number=facts[0].read_sequence_number,
            delivered_sequence_number=facts[0].delivered_sequence_number,
        )


class RecordMarks:
    """Moves many marks at once, for gateways. Marks of people who are not in are ignored."""

    def __init__(self, conversations: ConversationRepository, live: LivePublisher, clock: Clock) -> None:
        self._conversations = conversations
        self._live = live
        self._clock = clock

    async def __call__(self, marks: Sequence[Mark]) -> int:
        """Move them; answers how many members' marks moved.

        The caller vouches for the numbers: they are of entries that it delivered.

        Raises:
            DomainError: UNAVAILABLE `POSTGRES_UNAVAILABLE`.
        """
        if not marks:
            return 0
        async with self._conversations.transaction() as transaction:
            facts = await transaction.move_marks(marks, self._clock.now())
        self._live.tell(facts)
        return len(facts)
