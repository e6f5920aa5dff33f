"""Conversations and members for tests, with what does not matter filled in."""

from __future__ import annotations

from datetime import UTC, datetime

from chat4all_conversation.domain.model import Conversation, ConversationType, Member, Role
from chat4all_runtime.ids import new_id

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def member(role: Role = Role.MEMBER, user_id: str = "", read: int = 0, delivered: int = 0) -> Member:
    """Somebody with a role."""
    return Member(user_id or new_id(), role, AT, read, delivered)


def conversation(
    kind: ConversationType = ConversationType.GROUP,
    *,
    member_count: int = 3,
    archived: bool = False,
    title: str = "Team",
    last: int = 0,
) -> Conversation:
    """A conversation of the default tenant."""
    return Conversation(
        conversation_id=new_id(),
        tenant_id="default",
        type=kind,
        title=title,
        created_by=new_id(),
        version=1,
        member_count=member_count,
        last_sequence_number=last,
        last_activity_at=AT,
        created_at=AT,
        updated_at=AT,
        archived_at=AT if archived else None,
    )
