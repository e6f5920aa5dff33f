"""Messages as this service sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Plain JSON values as the contract has them: {"type": "text", "text": …}. The log stores exactly this.
Content = dict[str, Any]

KIND_MESSAGE = "message"
KIND_MEMBER_ADDED = "member_added"
KIND_MEMBER_REMOVED = "member_removed"
KIND_CONVERSATION_UPDATED = "conversation_updated"


@dataclass(slots=True)
class Draft:
    """A message as somebody asks to send it. `policy.prepare` normalises `content` and sets `digest`."""

    tenant_id: str
    sender_id: str
    conversation_id: str
    message_id: str
    content: Content
    reply_to_message_id: str = ""
    thread_id: str = ""
    wait_for_stored: bool = False
    digest: str = ""

    @property
    def file_id(self) -> str:
        """The file it carries, empty when none."""
        return str(self.content.get("file_id", ""))


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """What the log knows about one id: enough to tell a repeat from a conflict."""

    message_id: str
    conversation_id: str
    sender_id: str
    digest: str
    sequence_number: int
    create_time: datetime

    def same_as(self, draft: Draft) -> bool:
        """Whether the draft is this message sent again."""
        return self.digest == draft.digest and self.sender_id == draft.sender_id and self.conversation_id == draft.conversation_id


@dataclass(frozen=True, slots=True)
class Sent:
    """The good end of a send: accepted, or stored when it has a number."""

    draft: Draft
    create_time: datetime
    sequence_number: int = 0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a conversation's log."""

    message_id: str
    tenant_id: str
    conversation_id: str
    sequence_number: int
    kind: str
    sender_id: str
    content: Mapping[str, Any]
    reply_to_message_id: str
    thread_id: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class EncodedEntry:
    """One entry as sockets get it; `marker` is `r` when it removes a member, else `e`."""

    sequence_number: int
    marker: str
    sender_id: str
    message_id: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in a conversation."""

    tenant_id: str
    members: frozenset[str]
    archived: bool

    def includes(self, tenant_id: str, user_id: str) -> bool:
        """Whether this user of this tenant is in it."""
        return user_id in self.members and tenant_id == self.tenant_id


@dataclass(frozen=True, slots=True)
class SummaryItem:
    """One conversation with its reader and their mark."""

    conversation_id: str
    user_id: str
    read_sequence_number: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list of conversations shows of each."""

    conversation_id: str
    last_sequence_number: int = 0
    last_message: LogEntry | None = None
    unread_count: int = 0
    last_activity_time: datetime | None = None
