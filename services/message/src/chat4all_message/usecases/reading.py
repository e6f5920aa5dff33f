"""Reading the log: pages, one message, and what a list of conversations shows. People read what they are members of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chat4all_message.domain.errors import message_not_found
from chat4all_message.domain.model import EncodedEntry, LogEntry, Summary, SummaryItem
from chat4all_message.memberships import Memberships
from chat4all_message.repository import MessageLog
from chat4all_runtime.errors import Code, DomainError


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a user of a tenant, or one of our own processes (`internal`), which may read everything."""

    tenant_id: str = ""
    user_id: str = ""
    internal: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the log; `frames` for our own processes, else `entries`. `next_position` is None on the last page."""

    last_sequence_number: int
    entries: list[LogEntry] = field(default_factory=list)
    frames: list[EncodedEntry] = field(default_factory=list)
    next_position: int | None = None


class ListMessages:
    """A page of a conversation's log."""

    def __init__(self, log: MessageLog, memberships: Memberships) -> None:
        self._log = log
        self._memberships = memberships

    async def __call__(self, reader: Reader, conversation_id: str, position: int | None, ascending: bool, size: int) -> Page:
        """Up to `size` entries after `position` (ascending) or before it (descending; None begins with the newest).

        Raises:
            DomainError: NOT_FOUND for people who are not members, UNAVAILABLE when the store is away.
        """
        entries: list[LogEntry] = []
        frames: list[EncodedEntry] = []
        if reader.internal:
            frames, more = await self._log.frames(conversation_id, position, ascending, size)
        else:
            await self._memberships.require(conversation_id, reader.tenant_id, reader.user_id)
            entries, more = await self._log.page(conversation_id, position, ascending, size)
        numbers = [entry.sequence_number for entry in entries or frames]
        if numbers and ascending and not more:
            last = numbers[-1]
        elif numbers and not ascending and position is None:
            last = numbers[0]
        else:
            last = await self._log.last_sequence_number(conversation_id)
        return Page(last, entries, frames, numbers[-1] if more else None)


class GetMessage:
    """One message by its id."""

    def __init__(self, log: MessageLog, memberships: Memberships) -> None:
        self._log = log
        self._memberships = memberships

    async def __call__(self, reader: Reader, message_id: str) -> LogEntry:
        """The entry.

        Raises:
            DomainError: NOT_FOUND `MESSAGE_NOT_FOUND` when it is not there or not the reader's to know of; UNAVAILABLE.
        """
        entry = await self._log.get(message_id)
        if entry is None:
            raise message_not_found(message_id)
        if not reader.internal:
            try:
                await self._memberships.require(entry.conversation_id, reader.tenant_id, reader.user_id)
            except DomainError as error:
                raise (message_not_found(message_id) if error.code is Code.NOT_FOUND else error) from error
        return entry


class SummarizeConversations:
    """Newest message and unread count of many conversations."""

    def __init__(self, log: MessageLog) -> None:
        self._log = log

    async def __call__(self, items: Sequence[SummaryItem]) -> list[Summary]:
        """One summary for each item, in order; at most 200.

        Raises:
            DomainError: UNAVAILABLE when the store is away.
        """
        return await self._log.summarize(items)
