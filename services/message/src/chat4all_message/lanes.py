"""Order of one sender in one conversation, when some sends must wait (for a membership or a file check) before they go to Kafka.

The rule: what arrived first is handed to Kafka first. A send that needs no wait and finds its lane free goes at once, in the same
step of the loop it arrived in, and never comes here. One that must wait takes a turn; those that arrive in its lane meanwhile take
turns behind it, whether they need to wait or not. A turn may cover several lanes (a batch); it comes when all turns taken before
in any of them are over. Turns are taken without an await, so their order is total and they cannot wait for each other in a ring.

Used from the event loop only. The number of turns is bounded by the calls in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

Lane = tuple[str, str]


class Turn:
    """A place in one or more lanes, from `Lanes.take` to `leave`."""

    def __init__(self, lanes: dict[Lane, Turn], names: set[Lane]) -> None:
        self._lanes = lanes
        self._names = names
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._before = [lanes[name] for name in names if name in lanes]
        lanes.update(dict.fromkeys(names, self))

    async def come(self) -> None:
        """Return when all who were before are through. Whoever waits here must go on without an await, then `leave`."""
        for turn in self._before:
            # Shielded: who gives up waiting must not end the turn of the one before.
            await asyncio.shield(turn._over)

    def leave(self) -> None:
        """Let the next one go. A turn given up early ends only when those before it do, so nobody behind overtakes them."""
        waiting = next((turn for turn in self._before if not turn._over.done()), None)
        if waiting is not None:
            waiting._over.add_done_callback(lambda _: self.leave())
            return
        if not self._over.done():
            self._over.set_result(None)
        self._before = []
        for name in self._names:
            if self._lanes.get(name) is self:
                del self._lanes[name]


class Lanes:
    """All lanes in which somebody waits."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, Turn] = {}

    def busy(self, lane: Lane) -> bool:
        """Whether somebody waits in this lane."""
        return lane in self._lanes

    def take(self, names: Iterable[Lane]) -> Turn:
        """A place at the end of each of these lanes. The caller must `leave()` it whatever happens."""
        return Turn(self._lanes, set(names))

    def __len__(self) -> int:
        return len(self._lanes)
