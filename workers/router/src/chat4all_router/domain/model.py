"""The entries the router works on, between the record they came in and the row they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Place = tuple[str, int]
Document = dict[str, Any]


@dataclass(slots=True, eq=False)
class Entry:
    """One accepted command and what became of it.

    Args:
        place: topic and partition of the record; `offset` is its place in the log.
        redelivered: an owner before us may have handled it.
        row: the document to store, without its number (`sequence_number`), which `number` holds.
        source: the command as it came, for the events about it; not read here.
    """

    place: Place
    offset: int
    redelivered: bool
    message_id: str
    conversation_id: str
    sender: str
    digest: str
    row: Document
    source: object
    number: int | None = None
    # Stored by us in this attempt; False for a repeat of what was there before.
    fresh: bool = False
    # Its id belongs to another message.
    conflict: bool = False

    def claims(self) -> tuple[str, str, str]:
        """What a repeat must have in common with the first use of its id."""
        return (self.conversation_id, self.sender, self.digest)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the log says about an id."""

    message_id: str
    conversation_id: str
    sender: str
    digest: str
    number: int
    created_at: datetime
    stored_at: datetime

    def claims(self) -> tuple[str, str, str]:
        """What a repeat must have in common with it."""
        return (self.conversation_id, self.sender, self.digest)


@dataclass(slots=True, eq=False)
class Conversation:
    """One conversation's part of a batch.

    Args:
        entries: in the order of the log, each id once, conflicts left out as they become known.
        next_number: every number below it is taken and was seen so.
        added: entries given the numbers from there on in this attempt.
        unsettled: somebody else wrote here, or may have: look at the rows before numbering.
    """

    conversation_id: str
    place: Place
    entries: list[Entry] = field(default_factory=list)
    next_number: int = 0
    added: int = 0
    unsettled: bool = False
