"""Which entries were written lately, or may have been."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from chat4all_history.domain.model import Occurrence, Place


class Recent:
    """Bounded; the oldest goes first. Forgotten per partition when it goes. Used from one thread.

    Args:
        bound: ids remembered as written.
    """

    def __init__(self, bound: int) -> None:
        self._written: OrderedDict[str, Place] = OrderedDict()
        self._uncertain: dict[str, Place] = {}
        self._bound = bound

    def is_written(self, message_id: str) -> bool:
        """Written by this process while it owned the partition."""
        return message_id in self._written

    def is_uncertain(self, message_id: str) -> bool:
        """An attempt to write it ended without an answer."""
        return message_id in self._uncertain

    def begin(self, occurrences: Iterable[Occurrence]) -> None:
        """They are about to be written: without an answer it is not known whether they were."""
        self._uncertain.update((item.message_id, item.place) for item in occurrences)

    def written(self, occurrences: Iterable[Occurrence]) -> None:
        """They are there."""
        for item in occurrences:
            self._uncertain.pop(item.message_id, None)
            self._written[item.message_id] = item.place
        while len(self._written) > self._bound:
            self._written.popitem(last=False)

    def forget(self, places: Iterable[Place]) -> None:
        """Another owner writes there now; whatever comes back from there is looked up."""
        gone = set(places)
        self._written = OrderedDict((key, place) for key, place in self._written.items() if place not in gone)
        self._uncertain = {key: place for key, place in self._uncertain.items() if place not in gone}
