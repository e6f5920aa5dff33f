"""What the use case needs from the outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chat4all_router.domain.model import Document, Stored
from chat4all_router.domain.numbering import Move
from chat4all_runtime.events import OutgoingRecord


class MessageLog(Protocol):
    """The log of every conversation. Each method raises `RetryLater` when the store did not answer or the outcome is unknown."""

    def find(self, message_ids: Collection[str]) -> dict[str, Stored]:
        """Those of the ids that are stored, as the primary sees it."""
        ...

    def await_durable(self, message_ids: Collection[str]) -> None:
        """Return when a majority holds these ids; `RetryLater` when it does not yet."""
        ...

    def last_numbers(self, conversation_ids: Collection[str]) -> dict[str, int]:
        """Highest number of each conversation that has entries."""
        ...

    def first_holes(self, last_numbers: Mapping[str, int]) -> dict[str, int]:
        """Lowest free number below the given last one, for the conversations that have one near the top."""
        ...

    def insert(self, documents: Sequence[Document]) -> list[int]:
        """Store all that collide with nothing, durably; the places of those that do."""
        ...

    def rows_from(self, conversation_id: str, number: int) -> list[tuple[int, str]]:
        """(number, id) of the entries from this number on, ascending."""
        ...

    def move(self, conversation_id: str, moves: Sequence[Move]) -> bool:
        """Renumber; False when a row was not where it should be or its new place was taken."""
        ...


class Live(Protocol):
    """The way to the sockets. Lossy: they fill gaps from the log."""

    def publish(self, lines: Mapping[str, Sequence[bytes]]) -> None:
        """Lines by conversation, in order. Never raises for a live channel that is away."""
        ...


class Announcer(Protocol):
    """The way to the other services."""

    def send_and_wait(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when all are durable; `RetryLater` otherwise."""
        ...
