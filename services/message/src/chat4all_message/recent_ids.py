"""Ids accepted by this process lately: what makes a quick resend cheap and lets it share the first send's acknowledgement.

Bounded, and only a shortcut: the log is what decides for ever. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from chat4all_message.domain.model import Draft


class Progress(Enum):
    """How far Kafka got with a message."""

    UNDER_WAY = 1
    ACKNOWLEDGED = 2
    FAILED = 3  # it may or may not be there


class Accepted:
    """One id with who used it, for what, and how far it got."""

    __slots__ = ("conversation_id", "create_time", "digest", "failure", "handover", "message_id", "progress", "sender_id")

    def __init__(self, draft: Draft, create_time: datetime) -> None:
        self.message_id = draft.message_id
        self.sender_id = draft.sender_id
        self.conversation_id = draft.conversation_id
        self.digest = draft.digest
        self.create_time = create_time
        self.progress = Progress.UNDER_WAY
        self.failure: object | None = None
        # What it went to Kafka with; None once Kafka's word on it is written down here.
        self.handover: Handover | None = None

    def same_as(self, draft: Draft) -> bool:
        """Whether the draft is this message sent again."""
        return self.digest == draft.digest and self.sender_id == draft.sender_id and self.conversation_id == draft.conversation_id


class Handover:
    """Messages that were given to Kafka together; `outcome` ends with its word on each, which is then written down once."""

    __slots__ = ("entries", "noted", "outcome")

    def __init__(self, entries: list[Accepted], outcome: asyncio.Future[Sequence[object | None]]) -> None:
        self.entries = entries
        self.outcome = outcome
        self.noted = False


class RecentIds:
    """The newest `size` accepted ids; the oldest go first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, Accepted] = OrderedDict()

    def get(self, message_id: str) -> Accepted | None:
        """What is remembered of this id."""
        return self._entries.get(message_id)

    def add(self, entry: Accepted) -> None:
        """Remember it, in place of what was remembered of the same id."""
        self._entries[entry.message_id] = entry
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def discard(self, entry: Accepted) -> None:
        """Forget it, unless another has taken its place."""
        if self._entries.get(entry.message_id) is entry:
            del self._entries[entry.message_id]
