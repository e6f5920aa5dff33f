"""Conversations as one member sees them: the stored row with what the message service says of the log."""

from __future__ import annotations

from collections.abc import Sequence

from chat4all_conversation.domain import errors
from chat4all_conversation.domain.model import Conversation, Member, View
from chat4all_conversation.repository import ConversationRepository, MessageSummaries


class Views:
    """Finds conversations for a member and describes them."""

    def __init__(self, conversations: ConversationRepository, summaries: MessageSummaries) -> None:
        self._conversations = conversations
        self._summaries = summaries

    async def find(self, conversation_id: str, tenant_id: str, user_id: str) -> tuple[Conversation, Member]:
        """The conversation and the user's membership.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND` for everybody who is not in it.
        """
        found = await self._conversations.get(conversation_id, tenant_id, user_id)
        if found is None:
            raise errors.conversation_not_found(conversation_id)
        return found

    async def describe(self, items: Sequence[tuple[Conversation, Member]]) -> list[View]:
        """The views of one reader, at most 200, by one call of the message service.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when the message service does not answer.
        """
        if not items:
            return []
        reader = items[0][1].user_id
        asked = [(conversation.conversation_id, member.read_sequence_number) for conversation, member in items]
        summaries = await self._summaries.of(reader, asked)
        return [View(conversation, member, summary) for (conversation, member), summary in zip(items, summaries, strict=True)]
