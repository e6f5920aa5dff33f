"""Who comes in, who goes out, and who may do what. State and event are one transaction (outbox) in each."""

from __future__ import annotations

from collections.abc import Sequence

from chat4all_conversation.domain import errors, policy
from chat4all_conversation.domain.facts import ConversationUpdated, member_removed, members_added
from chat4all_conversation.domain.model import Member, Role
from chat4all_conversation.repository import ConversationRepository, Directory, LivePublisher
from chat4all_conversation.usecases.changing import lock_for
from chat4all_conversation.usecases.views import Views
from chat4all_runtime.clock import Clock
from chat4all_runtime.ids import new_id


class AddMembers:
    """Brings users of the tenant in. Who is in already stays as they are."""

    def __init__(
        self,
        conversations: ConversationRepository,
        directory: Directory,
        views: Views,
        live: LivePublisher,
        clock: Clock,
        max_members: int,
    ) -> None:
        self._conversations = conversations
        self._directory = directory
        self._views = views
        self._live = live
        self._clock = clock
        self._max_members = max_members

    async def __call__(
        self, tenant_id: str, user_id: str, conversation_id: str, user_ids: Sequence[str], role: Role
    ) -> list[Member]:
        """Add them; answers all who were named, as they are now.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND`; PERMISSION_DENIED `NOT_ALLOWED`; INVALID_ARGUMENT
                `MEMBER_NOT_FOUND`; FAILED_PRECONDITION `DIRECT_CONVERSATION`, `CONVERSATION_ARCHIVED` or
                `TOO_MANY_MEMBERS`; UNAVAILABLE.
        """
        # Looked at first without a lock, so that nobody who may not add learns from the directory who exists.
        conversation, actor = await self._views.find(conversation_id, tenant_id, user_id)
        policy.require_addition(conversation, actor, role)
        missing = await self._directory.missing(tenant_id, user_ids)
        if missing:
            raise errors.unknown_users("user_ids", missing)
        async with self._conversations.transaction() as transaction:
            conversation, actor = await lock_for(transaction, conversation_id, tenant_id, user_id)
            policy.require_addition(conversation, actor, role)
            now = self._clock.now()
            added = await transaction.join(conversation, [(person, role) for person in user_ids], now)
            if conversation.member_count + len(added) > self._max_members:
                raise errors.too_many_members(self._max_members)
            members = await transaction.members_among(conversation_id, user_ids)
            if not added:
                return members
            conversation = await transaction.change(conversation_id, now, member_delta=len(added))
            fact = members_added(conversation, user_id, added, now)
            transaction.record(fact)
        self._live.tell([fact])
        return members


class UpdateMember:
    """Gives a member another role; owners."""

    def __init__(self, conversations: ConversationRepository, live: LivePublisher, clock: Clock) -> None:
        self._conversations = conversations
        self._live = live
        self._clock = clock

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str, target_id: str, role: Role) -> Member:
        """Change the role, unless the member has it already.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND` or `MEMBER_NOT_FOUND`; PERMISSION_DENIED `NOT_ALLOWED`;
                FAILED_PRECONDITION `DIRECT_CONVERSATION`, `CONVERSATION_ARCHIVED` or `LAST_OWNER`; UNAVAILABLE.
        """
        async with self._conversations.transaction() as transaction:
            conversation, actor = await lock_for(transaction, conversation_id, tenant_id, user_id)
            target = await transaction.member(conversation_id, target_id)
            if target is None:
                raise errors.member_not_found(target_id)
            owner_count = await transaction.owner_count(conversation_id)
            policy.require_role_change(conversation, actor, target, role, owner_count)
            if target.role is role:
                return target
            now = self._clock.now()
            changed = await transaction.set_role(conversation_id, target_id, role)
            conversation = await transaction.change(conversation_id, now)
            fact = ConversationUpdated(new_id(), conversation, user_id, now, changed=(changed,))
            transaction.record(fact)
        self._live.tell([fact])
        return changed


class RemoveMember:
    """Takes somebody out, or lets the caller leave."""

    def __init__(self, conversations: ConversationRepository, live: LivePublisher, clock: Clock) -> None:
        self._conversations = conversations
        self._live = live
        self._clock = clock

    async def __call__(self, tenant_id: str, user_id: str, conversation_id: str, target_id: str) -> None:
        """Remove the target.

        Raises:
            DomainError: NOT_FOUND `CONVERSATION_NOT_FOUND` or `MEMBER_NOT_FOUND`; PERMISSION_DENIED `NOT_ALLOWED`;
                FAILED_PRECONDITION `DIRECT_CONVERSATION` or `LAST_OWNER`; UNAVAILABLE.
        """
        async with self._conversations.transaction() as transaction:
            conversation, actor = await lock_for(transaction, conversation_id, tenant_id, user_id)
            target = await transaction.member(conversation_id, target_id)
            if target is None:
                raise errors.member_not_found(target_id)
            owner_count = await transaction.owner_count(conversation_id)
            policy.require_removal(conversation, actor, target, owner_count)
            now = self._clock.now()
            await transaction.leave(conversation_id, target_id, now)
            conversation = await transaction.change(conversation_id, now, member_delta=-1)
            fact = member_removed(conversation, user_id, target_id, now)
            transaction.record(fact)
        self._live.tell([fact])
