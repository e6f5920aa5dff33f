"""Reading conversations, members and memberships."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chat4all_conversation.domain import errors
from chat4all_conversation.domain.model import Conversation, ListPosition, Member, View
from chat4all_conversation.repository import ConversationRepository
from chat4all_conversation.usecases.views import Views


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Some of a user's conversations; `next_position` is None on the last page."""

    views: list[View]
    next_position: ListPosition | None
    sync_marker: int


@dataclass(frozen=True, slots=True)
class MemberPage:
    """Some members of a conversation in order of joining; `more` tells whether there are others after them."""

    conversation: Conversation
    members: list[Member]
    more: bool


class GetConversation:
    """One conversation of the caller."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str) -> View:
        """Find and describe it.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; UNAVAILABLE.
        """
        found = await self._views.find(conversation_id, tenant_id, user_id)
        return (await self._views.describe([found]))[0]


class ListConversations:
    """The caller's conversations, newest activity first, or those that changed since a marker."""

    def __init__(self, conversations: ConversationRepository, views: Views) -> None:
        self._conversations = conversations
        self._views = views

    async def __call__(
        self, tenant_id: str, user_id: str, *, after: ListPosition | None, changed_since: int | None, page_size: int
    ) -> ConversationPage:
        """One page, at most 200, and the marker from before it was read: with it no change is missed, some may come twice.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when PostgreSQL or the message service does not answer.
        """
        page = await self._conversations.list_page(
            tenant_id, user_id, after=after, changed_since=changed_since, limit=page_size + 1
        )
        items = page.items[:page_size]
        last = items[-1][0] if len(page.items) > page_size else None
        position = None if last is None else ListPosition(last.last_activity_at, last.conversation_id)
        return ConversationPage(await self._views.describe(items), position, page.sync_marker)


class ListMembers:
    """Who is in a conversation: for a member of it, or for one of our processes."""

    def __init__(self, conversations: ConversationRepository, views: Views) -> None:
        self._conversations = conversations
        self._views = views

    async def for_user(
        self, tenant_id: str, user_id: str, conversation_id: str, after: tuple[datetime, str] | None, page_size: int
    ) -> MemberPage:
        """A page for a member.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; UNAVAILABLE.
        """
        conversation, _ = await self._views.find(conversation_id, tenant_id, user_id)
        return await self._page(conversation, after, page_size)

    async def for_service(self, conversation_id: str, after: tuple[datetime, str] | None, page_size: int) -> MemberPage:
        """A page for one of our processes, of any tenant.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; UNAVAILABLE.
        """
        conversation = await self._conversations.get_any(conversation_id)
        if conversation is None:
            raise errors.conversation_not_found(conversation_id)
        return await self._page(conversation, after, page_size)

    async def _page(self, conversation: Conversation, after: tuple[datetime, str] | None, page_size: int) -> MemberPage:
        members = await self._conversations.list_members(conversation.conversation_id, after=after, limit=page_size + 1)
        return MemberPage(conversation, members[:page_size], len(members) > page_size)


class ListMemberships:
    """The conversations somebody is in, by id."""

    def __init__(self, conversations: ConversationRepository) -> None:
        self._conversations = conversations

    async def __call__(self, tenant_id: str, user_id: str, after: str, page_size: int) -> tuple[list[str], bool]:
        """Ids in order, and whether there are more after them."""
        found = await self._conversations.list_memberships(tenant_id, user_id, after=after, limit=page_size + 1)
        return found[:page_size], len(found) > page_size
