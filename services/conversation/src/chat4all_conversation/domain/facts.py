"""What happened: the facts that use cases record. `events.py` makes Kafka records of them, `frames.py` lines for sockets.

Ids are drawn once, when the fact is made, and kept with the outbox rows: the same fact told twice carries the same ids, so
whoever hears it twice can know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from chat4all_conversation.domain.model import Conversation, Member
from chat4all_runtime.ids import new_id

MEMBER_ADDED = "member_added"
MEMBER_REMOVED = "member_removed"
CONVERSATION_UPDATED = "conversation_updated"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry the change takes in the conversation's log: the router gives it its number like any message."""

    message_id: str
    kind: str
    data: Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class ConversationCreated:
    """A conversation exists, with everybody in it at the start."""

    event_id: str
    conversation: Conversation
    members: tuple[Member, ...]
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationUpdated:
    """Something about a conversation or its members changed; `conversation` is how it is after the change."""

    event_id: str
    conversation: Conversation
    changed_by: str
    happened_at: datetime
    added: tuple[Member, ...] = ()
    removed_user_ids: tuple[str, ...] = ()
    changed: tuple[Member, ...] = ()
    title: str | None = None
    archived: bool | None = None
    entries: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkMoved:
    """A member's mark moved forward. `read_moved` tells which of the two did; what is read is delivered as well."""

    event_id: str
    tenant_id: str
    conversation_id: str
    user_id: str
    read_sequence_number: int
    delivered_sequence_number: int
    read_moved: bool
    happened_at: datetime


Fact = ConversationCreated | ConversationUpdated | MarkMoved


def members_added(conversation: Conversation, by: str, members: Sequence[Member], at: datetime) -> ConversationUpdated:
    """People came in: one entry in the log for all of them."""
    data = {"added_user_ids": [member.user_id for member in members], "changed_by": by}
    entry = LogEntry(new_id(), MEMBER_ADDED, data)
    return ConversationUpdated(new_id(), conversation, by, at, added=tuple(members), entries=(entry,))


def member_removed(conversation: Conversation, by: str, user_id: str, at: datetime) -> ConversationUpdated:
    """Somebody went out: the entry's number is where their stream ends."""
    entry = LogEntry(new_id(), MEMBER_REMOVED, {"removed_user_id": user_id, "changed_by": by})
    return ConversationUpdated(new_id(), conversation, by, at, removed_user_ids=(user_id,), entries=(entry,))


def title_changed(conversation: Conversation, by: str, at: datetime) -> ConversationUpdated:
    """The title is another one."""
    entry = LogEntry(new_id(), CONVERSATION_UPDATED, {"title": conversation.title, "changed_by": by})
    return ConversationUpdated(new_id(), conversation, by, at, title=conversation.title, entries=(entry,))
