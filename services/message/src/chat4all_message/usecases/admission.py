"""May these messages be sent? For those that cannot be told at once: memberships to load, files to check.

A refusal never changes what happened before: who sends a message again that was accepted while they were in the conversation, or
while the file was there, gets the first result, not the refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chat4all_message.domain.errors import conversation_archived, conversation_not_found
from chat4all_message.domain.model import Draft, Membership
from chat4all_message.id_lookup import Answer
from chat4all_message.memberships import Memberships
from chat4all_message.recent_ids import Progress, RecentIds
from chat4all_message.repository import AttachmentChecker
from chat4all_runtime.errors import DomainError


def refusal(membership: Membership, draft: Draft) -> DomainError | None:
    """Why this membership does not let the draft in, None when it does."""
    if not membership.includes(draft.tenant_id, draft.sender_id):
        return conversation_not_found(draft.conversation_id)
    if membership.archived:
        return conversation_archived(draft.conversation_id)
    return None


class Admission:
    """Decides about messages that have to wait for the decision."""

    def __init__(self, memberships: Memberships, attachments: AttachmentChecker, recent: RecentIds) -> None:
        self._memberships = memberships
        self._attachments = attachments
        self._recent = recent

    async def decide(self, drafts: Sequence[Draft], used: asyncio.Future[Answer]) -> list[DomainError | None]:
        """The refusal of each draft, None for those let in. At most 200; makes at most one call to the file service.

        Args:
            drafts: checked for their form.
            used: which of their ids are in the log, under way.
        """
        refusals = await self._check_members(drafts)
        with_file = [index for index, draft in enumerate(drafts) if draft.file_id and refusals[index] is None]
        doubtful = with_file + [index for index, refused in enumerate(refusals) if refused is not None]
        if not doubtful:
            return refusals
        stored = await asyncio.shield(used) or {}
        repeats = {index for index in doubtful if self._sent_before(drafts[index], stored)}
        for index in repeats:
            refusals[index] = None
        await self._check_files(drafts, [index for index in with_file if index not in repeats], refusals)
        return refusals

    def _sent_before(self, draft: Draft, stored: Answer) -> bool:
        identity = (stored or {}).get(draft.message_id)
        if identity is not None:
            return identity.same_as(draft)
        recent = self._recent.get(draft.message_id)
        return recent is not None and recent.progress is not Progress.FAILED and recent.same_as(draft)

    async def _check_members(self, drafts: Sequence[Draft]) -> list[DomainError | None]:
        by_conversation: dict[str, list[int]] = {}
        for index, draft in enumerate(drafts):
            by_conversation.setdefault(draft.conversation_id, []).append(index)
        # Asked together, answered one after the other; the memory of memberships bounds how many are under way.
        names = list(by_conversation)
        answers = await asyncio.gather(*(self._members(name, [drafts[i] for i in by_conversation[name]]) for name in names))
        refusals: list[DomainError | None] = [None] * len(drafts)
        for name, answer in zip(names, answers, strict=True):
            for index in by_conversation[name]:
                refusals[index] = answer if isinstance(answer, DomainError) else refusal(answer, drafts[index])
        return refusals

    async def _members(self, conversation_id: str, drafts: list[Draft]) -> Membership | DomainError:
        """Members as remembered if that lets everybody in, else as they are now."""
        people = {(draft.tenant_id, draft.sender_id) for draft in drafts}
        return await self._memberships.find(conversation_id, lambda members: all(members.includes(*who) for who in people))

    async def _check_files(self, drafts: Sequence[Draft], indexes: list[int], refusals: list[DomainError | None]) -> None:
        if not indexes:
            return
        try:
            answers = await self._attachments.check([drafts[index] for index in indexes])
        except DomainError as error:
            answers = [error] * len(indexes)
        for index, answer in zip(indexes, answers, strict=True):
            refusals[index] = answer
