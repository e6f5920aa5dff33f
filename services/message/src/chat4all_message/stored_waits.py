"""Waiting until a message is in the log, for callers who want its number.

The log is asked, and what it says is what counts: it knows the sender and the digest. When to ask comes from two sides: a hint on
the conversation's live channel (at once, but lossy), and a growing interval (25 to 500 ms) in case no hint comes. All questions
that are due go into one query.

Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from types import TracebackType

from chat4all_message.domain.model import StoredIdentity
from chat4all_message.id_lookup import IdLookup
from chat4all_message.repository import Hints
from chat4all_runtime.errors import Code, DomainError

_FIRST_SECONDS = 0.025
_LONGEST_SECONDS = 0.5
_GROWTH = 1.6


class Ticket:
    """One message waited for, from `StoredWaits.watch` to `close`. `stored` ends when it is in the log."""

    __slots__ = ("_owner", "conversation_id", "interval", "message_id", "stored")

    def __init__(self, owner: StoredWaits, message_id: str, conversation_id: str) -> None:
        self._owner = owner
        self.message_id = message_id
        self.conversation_id = conversation_id
        self.interval = _FIRST_SECONDS
        self.stored: asyncio.Future[StoredIdentity] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """No longer wanted. Safe to call twice."""
        self._owner._close(self)


class StoredWaits:
    """All messages waited for, from `__aenter__` to `__aexit__`. `hinted` is to be called by whoever hears the hints."""

    def __init__(self, lookup: IdLookup, max_waiting: int) -> None:
        self._lookup = lookup
        self._max_waiting = max_waiting
        self._hints: Hints | None = None
        self._tickets: dict[str, list[Ticket]] = {}
        self._conversations: dict[str, int] = {}
        self._count = 0
        self._due: list[tuple[float, int, Ticket]] = []
        self._order = itertools.count()
        self._kick = asyncio.Event()

    def use_hints(self, hints: Hints) -> None:
        """Whom to tell which conversations matter."""
        self._hints = hints

    async def __aenter__(self) -> StoredWaits:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def watch(self, message_id: str, conversation_id: str) -> Ticket:
        """Begin to wait. Call it before the message goes out, so that no hint is missed; `close()` it whatever happens.

        Raises:
            DomainError: RESOURCE_EXHAUSTED when too many are waited for; send without waiting then.
        """
        if self._count >= self._max_waiting:
            raise DomainError(
                Code.RESOURCE_EXHAUSTED,
                "TOO_MANY_WAITING",
                "Too many calls wait for their message to be stored; send it without wait_for.",
            )
        ticket = Ticket(self, message_id, conversation_id)
        self._tickets.setdefault(message_id, []).append(ticket)
        self._count += 1
        waiting = self._conversations.get(conversation_id, 0)
        self._conversations[conversation_id] = waiting + 1
        if waiting == 0 and self._hints is not None:
            self._hints.follow(conversation_id)
        self._schedule(ticket, ticket.interval)
        return ticket

    def hinted(self, message_ids: Iterable[str]) -> None:
        """These may have been stored just now."""
        for message_id in message_ids:
            for ticket in self._tickets.get(message_id, ()):
                self._schedule(ticket, 0.0)

    def _close(self, ticket: Ticket) -> None:
        tickets = self._tickets.get(ticket.message_id)
        if tickets is None or ticket not in tickets:
            return
        tickets.remove(ticket)
        if not tickets:
            del self._tickets[ticket.message_id]
        self._count -= 1
        ticket.stored.cancel()
        waiting = self._conversations[ticket.conversation_id] - 1
        if waiting:
            self._conversations[ticket.conversation_id] = waiting
        else:
            del self._conversations[ticket.conversation_id]
            if self._hints is not None:
                self._hints.unfollow(ticket.conversation_id)

    def _schedule(self, ticket: Ticket, seconds: float) -> None:
        heapq.heappush(self._due, (self._loop.time() + seconds, next(self._order), ticket))
        if self._due[0][2] is ticket:
            self._kick.set()

    async def _run(self) -> None:
        while True:
            self._kick.clear()
            try:
                async with asyncio.timeout_at(self._due[0][0] if self._due else None):
                    await self._kick.wait()
            except TimeoutError:
                pass  # something is due
            await self._ask(self._take_due())

    def _take_due(self) -> dict[str, list[Ticket]]:
        now = self._loop.time()
        due: dict[str, list[Ticket]] = {}
        while self._due and self._due[0][0] <= now:
            ticket = heapq.heappop(self._due)[2]
            if not ticket.stored.done():
                due.setdefault(ticket.message_id, []).append(ticket)
        return due

    async def _ask(self, due: dict[str, list[Ticket]]) -> None:
        if not due:
            return
        found = await self._lookup.find(list(due)) or {}
        for message_id, tickets in due.items():
            identity = found.get(message_id)
            for ticket in tickets:
                if ticket.stored.done():
                    continue
                if identity is not None:
                    ticket.stored.set_result(identity)
                else:
                    ticket.interval = min(ticket.interval * _GROWTH, _LONGEST_SECONDS)
                    self._schedule(ticket, ticket.interval)
