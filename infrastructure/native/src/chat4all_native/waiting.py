"""Waiting for a condition with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Deadline:
    """A point in time on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic()
        self._end = self._started + seconds

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started

    @property
    def passed(self) -> bool:
        """No time is left."""
        return time.monotonic() >= self._end


class Cancelled(Exception):
    """Another part failed, so there is nothing to wait for."""


def wait_until(
    why_not: Callable[[], str | None],
    deadline: Deadline,
    *,
    cancelled: threading.Event | None = None,
    interval_seconds: float = 0.1,
) -> str | None:
    """Ask `why_not` until it answers None; at least once, then until the deadline.

    Returns:
        None when the condition came true, else the last reason why not.

    Raises:
        Cancelled: `cancelled` was set meanwhile.
    """
    stop = cancelled or threading.Event()
    while (reason := why_not()) is not None:
        if deadline.passed:
            return reason
        if stop.wait(min(interval_seconds, deadline.remaining_seconds)):
            raise Cancelled
    return None
