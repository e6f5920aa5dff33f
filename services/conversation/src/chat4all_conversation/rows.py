"""Rows of the `conversation` schema as domain objects; the column lists that every query uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat4all_conversation.domain.model import Conversation, ConversationType, Member, Role

CONVERSATION_COLUMNS = (
    "c.conversation_id, c.tenant_id, c.type, c.title, c.created_by, c.version, c.member_count, c.last_sequence_number,"
    " c.last_activity_at, c.created_at, c.updated_at, c.archived_at"
)
MEMBER_COLUMNS = "m.user_id, m.role, m.joined_at, m.read_sequence_number, m.delivered_sequence_number"


def conversation(row: Mapping[str, Any]) -> Conversation:
    """The conversation in a row that has CONVERSATION_COLUMNS."""
    return Conversation(
        conversation_id=str(row["conversation_id"]),
        tenant_id=row["tenant_id"],
        type=ConversationType(row["type"]),
        title=row["title"],
        created_by=str(row["created_by"]),
        version=row["version"],
        member_count=row["member_count"],
        last_sequence_number=row["last_sequence_number"],
        last_activity_at=row["last_activity_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        archived_at=row["archived_at"],
    )


def member(row: Mapping[str, Any]) -> Member:
    """The member in a row that has MEMBER_COLUMNS."""
    return Member(
        user_id=str(row["user_id"]),
        role=Role(row["role"]),
        joined_at=row["joined_at"],
        read_sequence_number=row["read_sequence_number"],
        delivered_sequence_number=row["delivered_sequence_number"],
    )
