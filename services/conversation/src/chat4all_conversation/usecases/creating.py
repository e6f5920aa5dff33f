"""Creating conversations, once per pair or request however often it is asked."""

from __future__ import annotations

from chat4all_conversation.domain import errors
from chat4all_conversation.domain.facts import ConversationCreated
from chat4all_conversation.domain.model import ConversationDraft, ConversationType, View
from chat4all_conversation.repository import ConversationRepository, Directory, Existing, LivePublisher
from chat4all_conversation.usecases.views import Views
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import invalid
from chat4all_runtime.ids import new_id


class CreateConversation:
    """Creates a conversation, or gives the one that the pair or the request has already.

    State and event are one transaction (outbox). Two calls at the same moment: the unique index lets one of them insert, the
    other waits for its commit and finds it.
    """

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

    async def __call__(self, draft: ConversationDraft) -> View:
        """Create it.

        Raises:
            DomainError: INVALID_ARGUMENT `MEMBER_IDS_INVALID`, `TOO_MANY_MEMBERS` or `MEMBER_NOT_FOUND`; ALREADY_EXISTS
                `REQUEST_ID_CONFLICT`; NOT_FOUND when it exists and the caller has left it; UNAVAILABLE.
        """
        self._check_members(draft)
        existing = await self._conversations.find_existing(draft)
        if existing is None:
            # Asked outside the transaction: no lock waits for another service.
            missing = await self._directory.missing(draft.tenant_id, draft.member_ids)
            if missing:
                raise errors.unknown_users("member_ids", missing)
            created = await self._insert(draft)
            if created is not None:
                return created
            existing = await self._conversations.find_existing(draft)
        if existing is None:
            raise RuntimeError("a conversation stood in the way of the insert and cannot be found")
        return await self._repeat(draft, existing)

    def _check_members(self, draft: ConversationDraft) -> None:
        if draft.type is ConversationType.DIRECT and len(draft.member_ids) != 1:
            raise invalid("member_ids", "MEMBER_IDS_INVALID", "A direct conversation is with exactly one other user.")
        if not draft.member_ids:
            raise invalid("member_ids", "MEMBER_IDS_INVALID", "member_ids must name somebody other than you.")
        if len(draft.member_ids) + 1 > self._max_members:
            maximum = str(self._max_members - 1)
            raise invalid("member_ids", "TOO_MANY_MEMBERS", f"member_ids takes at most {maximum} others.", maximum=maximum)

    async def _insert(self, draft: ConversationDraft) -> View | None:
        now = self._clock.now()
        async with self._conversations.transaction() as transaction:
            conversation = await transaction.create(new_id(), draft, now)
            if conversation is None:
                return None
            members = await transaction.join(conversation, draft.roles(), now)
            fact = ConversationCreated(new_id(), conversation, tuple(members), now)
            transaction.record(fact)
        self._live.tell([fact])
        own = next(member for member in members if member.user_id == draft.creator_id)
        return View(conversation, own, None)

    async def _repeat(self, draft: ConversationDraft, existing: Existing) -> View:
        if draft.type is not ConversationType.DIRECT and existing.request_digest != draft.digest:
            raise errors.request_id_conflict(draft.request_id)
        found = await self._views.find(existing.conversation_id, draft.tenant_id, draft.creator_id)
        return (await self._views.describe([found]))[0]
