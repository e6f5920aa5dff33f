"""What `/health/live` and `/health/ready` answer.

Live means the process can still do its work after a wait; ready means send it work now. A part that can be away adds a check.
"""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], str | None]


class Health:
    """The state of one process. Not thread-safe for writes; reads are plain lookups."""

    def __init__(self) -> None:
        self._ready_checks: dict[str, Check] = {}
        self._live_checks: dict[str, Check] = {}
        self._state = "starting"

    def require(self, name: str, check: Check) -> None:
        """Ready only while `check()` answers None; otherwise it answers why not, in one sentence."""
        self._ready_checks[name] = check

    def require_alive(self, name: str, check: Check) -> None:
        """Live only while `check()` answers None."""
        self._live_checks[name] = check

    def serving(self) -> None:
        """Everything is open."""
        self._state = "serving"

    def draining(self) -> None:
        """No new work, please."""
        self._state = "draining"

    def not_ready(self) -> dict[str, str]:
        """Why not, by name; empty when ready."""
        reasons = {} if self._state == "serving" else {"process": self._state}
        return reasons | _failing(self._ready_checks) | _failing(self._live_checks)

    def not_live(self) -> dict[str, str]:
        """Why not, by name; empty when live."""
        return _failing(self._live_checks)


def _failing(checks: dict[str, Check]) -> dict[str, str]:
    return {name: reason for name, check in checks.items() if (reason := check()) is not None}
