"""Conversations, members and marks as the use cases see them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ConversationType(StrEnum):
    """Shapes a conversation can have; the value is the word in the database and in frames."""

    DIRECT = "direct"
    GROUP = "group"
    CHANNEL = "channel"


class Role(StrEnum):
    """What a member may do; the value is the word in the database and in frames."""

    MEMBER = "member"
    ADMIN = "admin"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who is in a conversation now. Both marks are sequence numbers and only ever grow."""

    user_id: str
    role: Role
    joined_at: datetime
    read_sequence_number: int
    delivered_sequence_number: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation as it is stored.

    `version` grows by one with each change of title, archive state, members or roles. `last_sequence_number` and
    `last_activity_at` follow the log with a delay of up to a second.
    """

    conversation_id: str
    tenant_id: str
    type: ConversationType
    title: str
    created_by: str
    version: int
    member_count: int
    last_sequence_number: int
    last_activity_at: datetime
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None

    @property
    def etag(self) -> str:
        """Opaque for clients: they send it back to refuse a change made on stale data."""
        return f"v{self.version}"


@dataclass(frozen=True, slots=True)
class ConversationDraft:
    """A conversation that somebody asks to create.

    Attributes:
        member_ids: the others, each once, without the creator.
        request_id: chosen by the client; empty for direct conversations, which are known by their pair.
    """

    tenant_id: str
    creator_id: str
    type: ConversationType
    title: str
    member_ids: tuple[str, ...]
    request_id: str

    @property
    def direct_key(self) -> str | None:
        """The pair of a direct conversation in an order that does not depend on who asks; None for the other types."""
        if self.type is not ConversationType.DIRECT:
            return None
        return ":".join(sorted((self.creator_id, *self.member_ids)))

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was asked for; tells a repeated request from another one under the same id."""
        # Unit separator cannot occur in a title: control characters are refused.
        parts = (self.type.value, self.title, *sorted(self.member_ids))
        return hashlib.sha256("\x1f".join(parts).encode()).digest()

    def roles(self) -> list[tuple[str, Role]]:
        """Everybody who is in it at the start. A direct conversation belongs to both equally."""
        own = Role.MEMBER if self.type is ConversationType.DIRECT else Role.OWNER
        return [(self.creator_id, own), *((user_id, Role.MEMBER) for user_id in self.member_ids)]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody got; 0 leaves a number as it is."""

    conversation_id: str
    user_id: str
    read_sequence_number: int
    delivered_sequence_number: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the message service says of one conversation for one reader.

    `last_message` is the message service's own answer, passed on as it came; the use cases never look inside.
    """

    last_sequence_number: int
    last_message: object | None
    unread_count: int
    last_activity_at: datetime | None


@dataclass(frozen=True, slots=True)
class View:
    """A conversation as one member sees it. Without a summary the log is known to be empty."""

    conversation: Conversation
    membership: Member
    summary: Summary | None


@dataclass(frozen=True, slots=True)
class ListPosition:
    """Where a page of conversations starts: after this one, newest activity first."""

    last_activity_at: datetime
    conversation_id: str


def without_repeats(user_ids: Sequence[str], except_for: str = "") -> tuple[str, ...]:
    """The ids in their order, each once, without one that does not count."""
    return tuple(user_id for user_id in dict.fromkeys(user_ids) if user_id != except_for)
