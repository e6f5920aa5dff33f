"""What the use cases need from stores and peers.

Provided by `store_mongodb.py`, `memberships_grpc.py`, `attachments_grpc.py`, `publisher_kafka.py` and `hints_redis.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from chat4all_message.domain.model import Draft, EncodedEntry, LogEntry, Membership, StoredIdentity, Summary, SummaryItem
from chat4all_runtime.errors import DomainError


class IdentityStore(Protocol):
    """Knows which ids are in the log."""

    async def identities(self, message_ids: Sequence[str]) -> Mapping[str, StoredIdentity]:
        """Those of the ids that are stored.

        Raises:
            StoreAway: the store did not answer.
        """
        ...


class MessageLog(Protocol):
    """Reads the log of conversations. Every method raises DomainError UNAVAILABLE when the store is away."""

    async def page(self, conversation_id: str, position: int | None, ascending: bool, size: int) -> tuple[list[LogEntry], bool]:
        """Up to `size` entries from beside `position` (None: the newest), and whether more follow."""
        ...

    async def frames(
        self, conversation_id: str, position: int | None, ascending: bool, size: int
    ) -> tuple[list[EncodedEntry], bool]:
        """The same, already encoded for sockets."""
        ...

    async def last_sequence_number(self, conversation_id: str) -> int:
        """The highest number, 0 when the log is empty."""
        ...

    async def get(self, message_id: str) -> LogEntry | None:
        """One entry by its id."""
        ...

    async def summarize(self, items: Sequence[SummaryItem]) -> list[Summary]:
        """One summary for each item, in order."""
        ...


class MembershipSource(Protocol):
    """Who is in a conversation, from the service that decides it."""

    async def load(self, conversation_id: str) -> Membership:
        """Everybody in it.

        Raises:
            DomainError: NOT_FOUND, or UNAVAILABLE when it cannot be asked.
        """
        ...


class AttachmentChecker(Protocol):
    """Whether files may be sent."""

    async def check(self, drafts: Sequence[Draft]) -> list[DomainError | None]:
        """The refusal of each draft's file, None when usable. At most 200.

        Raises:
            DomainError: the file service cannot be asked.
        """
        ...


class CommandPublisher(Protocol):
    """Hands messages to the log's only writer."""

    def publish(self, commands: Sequence[tuple[Draft, datetime]]) -> asyncio.Future[Sequence[object | None]]:
        """Hand over, calls and items in this order; the future ends when each is acknowledged by all replicas (None) or not (why)."""
        ...

    def explain(self, failure: object) -> DomainError:
        """The answer for a message that was not acknowledged."""
        ...

    def never_sent(self, failure: object) -> bool:
        """Whether that failure means for certain that the message is not on its way."""
        ...


class Hints(Protocol):
    """Tells early, but not for certain, that something was stored in a conversation."""

    def follow(self, conversation_id: str) -> None:
        """Listen to this conversation."""
        ...

    def unfollow(self, conversation_id: str) -> None:
        """Listen no longer."""
        ...


class StoreAway(Exception):
    """The store did not answer; nothing is known."""
