"""What the use case needs from the outside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from chat4all_history.domain.model import Occurrence


class History(Protocol):
    """The time series. Both methods raise `RetryLater` when the store did not answer."""

    def find(self, occurrences: Sequence[Occurrence]) -> Collection[str]:
        """Message ids of those that are there."""
        ...

    def insert(self, occurrences: Sequence[Occurrence]) -> None:
        """Write all, durably. Without an answer some may be there."""
        ...
