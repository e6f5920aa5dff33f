"""What the use cases need from stores and peers, as protocols; `server.py` chooses who implements them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chat4all_conversation.domain.facts import Fact, MarkMoved
from chat4all_conversation.domain.model import Conversation, ConversationDraft, ListPosition, Mark, Member, Role, Summary


@dataclass(frozen=True, slots=True)
class Existing:
    """A conversation that a create request would make again."""

    conversation_id: str
    request_digest: bytes | None


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some of a user's conversations, and the marker to ask for later changes with."""

    items: list[tuple[Conversation, Member]]
    sync_marker: int


class Transaction(Protocol):
    """One PostgreSQL transaction. Facts recorded in it are in the outbox exactly when its changes are in the tables.

    Every change of a conversation begins with `lock`, which makes changes of one conversation take turns: that is what keeps
    its outbox rows in the order of the changes.
    """

    async def create(self, conversation_id: str, draft: ConversationDraft, at: datetime) -> Conversation | None:
        """Insert the conversation; None when the pair or the request has one already (also one made at this moment)."""
        ...

    async def lock(self, conversation_id: str, tenant_id: str) -> Conversation | None:
        """The conversation as it is now, unchanged by others until the end; None when there is none."""
        ...

    async def member(self, conversation_id: str, user_id: str) -> Member | None:
        """The membership, None when there is none now."""
        ...

    async def members_among(self, conversation_id: str, user_ids: Sequence[str]) -> list[Member]:
        """Those of the users who are in now, in order of joining."""
        ...

    async def owner_count(self, conversation_id: str) -> int:
        """How many owners there are now."""
        ...

    async def join(self, conversation: Conversation, people: Sequence[tuple[str, Role]], at: datetime) -> list[Member]:
        """Bring people in, those who left before included; answers the ones who were not in."""
        ...

    async def leave(self, conversation_id: str, user_id: str, at: datetime) -> None:
        """Take somebody out; marks are kept for a return."""
        ...

    async def set_role(self, conversation_id: str, user_id: str, role: Role) -> Member:
        """Give a member another role."""
        ...

    async def change(
        self,
        conversation_id: str,
        at: datetime,
        *,
        title: str | None = None,
        archive: bool = False,
        member_delta: int = 0,
    ) -> Conversation:
        """Write what changed and count the version up; answers the conversation after it."""
        ...

    def record(self, fact: Fact) -> None:
        """Put the fact's Kafka records into the outbox when the transaction commits."""
        ...

    async def move_marks(self, marks: Sequence[Mark], at: datetime) -> list[MarkMoved]:
        """Move marks forward in one statement, ignore those of people who are not in, and record what moved."""
        ...


class ConversationRepository(Protocol):
    """Conversations and members. Every method raises UNAVAILABLE `POSTGRES_UNAVAILABLE` while PostgreSQL is away."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that commits when the block ends without an error."""
        ...

    async def find_existing(self, draft: ConversationDraft) -> Existing | None:
        """What the pair or the request already has."""
        ...

    async def get(self, conversation_id: str, tenant_id: str, user_id: str) -> tuple[Conversation, Member] | None:
        """The conversation and the user's membership, None when they are not in it."""
        ...

    async def get_any(self, conversation_id: str) -> Conversation | None:
        """The conversation, whoever asks."""
        ...

    async def list_page(
        self, tenant_id: str, user_id: str, *, after: ListPosition | None, changed_since: int | None, limit: int
    ) -> ListPage:
        """The user's conversations, newest activity first, after a position; only what changed since a marker if given."""
        ...

    async def list_members(self, conversation_id: str, *, after: tuple[datetime, str] | None, limit: int) -> list[Member]:
        """Members in order of joining, after (joined_at, user_id)."""
        ...

    async def list_memberships(self, tenant_id: str, user_id: str, *, after: str, limit: int) -> list[str]:
        """Ids of the conversations the user is in, in order, after one (empty for the first page)."""
        ...

    async def record_activity(self, activity: Sequence[tuple[str, int, datetime]]) -> int:
        """Raise last number and last activity of conversations: (id, number, time) each; answers how many rose."""
        ...


class Directory(Protocol):
    """Who the users of a tenant are."""

    async def missing(self, tenant_id: str, user_ids: Sequence[str]) -> list[str]:
        """Those of the ids that are no users of the tenant, in their order.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when the auth service does not answer.
        """
        ...


class MessageSummaries(Protocol):
    """What the message service knows of conversations."""

    async def of(self, user_id: str, items: Sequence[tuple[str, int]]) -> list[Summary]:
        """One summary for each (conversation_id, read mark), in their order, at most 200, for one reader.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when the message service does not answer.
        """
        ...


class LivePublisher(Protocol):
    """Tells connected clients, best effort: they learn it from the log or the next sync otherwise."""

    def tell(self, facts: Sequence[Fact]) -> None:
        """Queue what connected clients should see now. Never waits, never fails."""
        ...
