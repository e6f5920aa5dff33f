"""Changing a conversation itself: its title, and whether it is archived.

State and event are one transaction (outbox). The answer needs the message service, which is asked before the change: when it
is away the call is refused with nothing changed, rather than answered UNAVAILABLE with the change made.
"""

from __future__ import annotations

import dataclasses

from chat4all_conversation.domain import errors, policy
from chat4all_conversation.domain.facts import ConversationUpdated, title_changed
from chat4all_conversation.domain.model import Conversation, Member, View
from chat4all_conversation.repository import ConversationRepository, LivePublisher, Transaction
from chat4all_conversation.usecases.views import Views
from chat4all_runtime.clock import Clock
from chat4all_runtime.ids import new_id


async def lock_for(transaction: Transaction, conversation_id: str, tenant_id: str, user_id: str) -> tuple[Conversation, Member]:
    """Lock a conversation for a change by one of its members; both as they are now.

    Raises:
        DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND` for everybody who is not in it.
    """
    conversation = await transaction.lock(conversation_id, tenant_id)
    # Read after the lock: a removal that was under way is seen.
    member = None if conversation is None else await transaction.member(conversation_id, user_id)
    if conversation is None or member is None:
        raise errors.conversation_not_found(conversation_id)
    return conversation, member


class UpdateConversation:
    """Changes the title; owners and admins."""

    def __init__(self, conversations: ConversationRepository, views: Views, live: LivePublisher, clock: Clock) -> None:
        self._conversations = conversations
        self._views = views
        self._live = live
        self._clock = clock

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str, *, title: str, etag: str) -> View:
        """Change it, unless it has that title already. An empty `etag` changes it whatever it is now.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; PERMISSION_DENIED `NOT_ALLOWED`; ABORTED `ETAG_MISMATCH`;
                FAILED_PRECONDITION `DIRECT_CONVERSATION` or `CONVERSATION_ARCHIVED`; UNAVAILABLE.
        """
        found = await self._views.find(conversation_id, tenant_id, user_id)
        view = (await self._views.describe([found]))[0]
        async with self._conversations.transaction() as transaction:
            conversation, member = await lock_for(transaction, conversation_id, tenant_id, user_id)
            policy.require_open(conversation)
            policy.require(policy.Action.CHANGE_TITLE, member.role)
            if etag and etag != conversation.etag:
                raise errors.etag_mismatch(conversation.etag)
            if title == conversation.title:
                return dataclasses.replace(view, conversation=conversation, membership=member)
            now = self._clock.now()
            conversation = await transaction.change(conversation_id, now, title=title)
            fact = title_changed(conversation, user_id, now)
            transaction.record(fact)
        self._live.tell([fact])
        return dataclasses.replace(view, conversation=conversation, membership=member)


class ArchiveConversation:
    """Archives: it stays readable and takes no new messages; owners. Archiving it again changes nothing."""

    def __init__(self, conversations: ConversationRepository, views: Views, live: LivePublisher, clock: Clock) -> None:
        self._conversations = conversations
        self._views = views
        self._live = live
        self._clock = clock

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str) -> View:
        """Archive it.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; PERMISSION_DENIED `NOT_ALLOWED`; FAILED_PRECONDITION
                `DIRECT_CONVERSATION`; UNAVAILABLE.
        """
        found = await self._views.find(conversation_id, tenant_id, user_id)
        view = (await self._views.describe([found]))[0]
        async with self._conversations.transaction() as transaction:
            conversation, member = await lock_for(transaction, conversation_id, tenant_id, user_id)
            policy.require_group(conversation)
            policy.require(policy.Action.ARCHIVE, member.role)
            if conversation.archived_at is not None:
                return dataclasses.replace(view, conversation=conversation, membership=member)
            now = self._clock.now()
            conversation = await transaction.change(conversation_id, now, archive=True)
            fact = ConversationUpdated(new_id(), conversation, user_id, now, archived=True)
            transaction.record(fact)
        self._live.tell([fact])
        return dataclasses.replace(view, conversation=conversation, membership=member)
