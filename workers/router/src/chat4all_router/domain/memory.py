"""What the router remembers about the partitions it owns. All of it can be read again; it is forgotten when they go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from chat4all_router.domain.model import Place


class Memory:
    """Bounded; the least recently used goes first. Used from one thread.

    Args:
        recent_ids: ids of entries whose whole effect has been had.
        known_conversations: conversations whose next number is known.
    """

    def __init__(self, recent_ids: int, known_conversations: int) -> None:
        self._recent: OrderedDict[str, tuple[Place, int]] = OrderedDict()
        self._next: OrderedDict[str, tuple[Place, int]] = OrderedDict()
        self._begun: dict[str, Place] = {}
        self._recent_bound = recent_ids
        self._next_bound = known_conversations

    def claims_of(self, message_id: str) -> int | None:
        """Hash of what the id stands for, None when it is not remembered."""
        known = self._recent.get(message_id)
        return None if known is None else known[1]

    def next_number(self, conversation_id: str) -> int | None:
        """The number the next entry gets, None when it must be read."""
        known = self._next.get(conversation_id)
        if known is None:
            return None
        self._next.move_to_end(conversation_id)
        return known[1]

    def numbered(self, place: Place, conversation_id: str, next_number: int) -> None:
        """All numbers below are taken, without a hole."""
        self._next[conversation_id] = (place, next_number)
        self._next.move_to_end(conversation_id)
        while len(self._next) > self._next_bound:
            self._next.popitem(last=False)

    def begin(self, place: Place, message_id: str) -> None:
        """It is about to be stored; until `finish`, it may be stored and not announced."""
        self._begun[message_id] = place

    def has_begun(self, message_id: str) -> bool:
        """Whether an attempt to store it, by us, did not come to its end."""
        return message_id in self._begun

    def finish(self, place: Place, message_id: str, claims: tuple[str, str, str]) -> None:
        """It is stored, shown and announced."""
        self._begun.pop(message_id, None)
        self._recent[message_id] = (place, hash(claims))
        if len(self._recent) > self._recent_bound:
            self._recent.popitem(last=False)

    def forget(self, places: Iterable[Place]) -> None:
        """Another owner may write there now."""
        gone = set(places)
        self._recent = OrderedDict((key, value) for key, value in self._recent.items() if value[0] not in gone)
        self._next = OrderedDict((key, value) for key, value in self._next.items() if value[0] not in gone)
        self._begun = {key: place for key, place in self._begun.items() if place not in gone}
