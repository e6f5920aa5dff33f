"""One conversation's log as it passes this gateway: pure order, no I/O.

A feed has one position for all sockets that are live on it. A numbered line is delivered when it is the next one, dropped when
it was delivered already, and held while lines before it are missing; the owner then fetches those from the log and gives them
to `fill()`. Sockets that come back are brought to the feed's position by a replay and then join.

Lines arrive as publishers write them: `kind TAB sequence_number TAB sender TAB message_id TAB frame`, joined by newlines.
Kinds here: `e` a log entry, `r` a log entry that ends somebody's membership, `t` transient, without number or order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import orjson
import structlog

from chat4all_websocket_gateway import metrics
from chat4all_websocket_gateway.connection import Connection, Flusher
from chat4all_websocket_gateway.wire import payload_of, text_frame

log = structlog.get_logger()

REMOVAL = b"r"
TYPING_MARK = b"typing"
_MAX_RECENT_BYTES = 1024 * 1024


class Entry(NamedTuple):
    """One numbered entry, framed for the wire."""

    sequence_number: int
    removal: bool
    sender: bytes
    message_id: bytes
    wire: bytes


class FeedOwner(Protocol):
    """Who looks after feeds."""

    awaited: dict[bytes, list[object]]

    def stored(self, feed: Feed, entry: Entry) -> None:
        """An entry whose id somebody here waits for took its place in the log."""

    def behind(self, feed: Feed, found_by: str) -> None:
        """Entries are missing: fetch those after `feed.last` and give them to `fill()`."""

    def removed(self, feed: Feed, user_id: str, sequence_number: int) -> None:
        """The entry that was just delivered ended this membership."""

    def removed_long_ago(self, feed: Feed, user_id: str) -> None:
        """A removal came again, or before this feed had a position: ask who is right."""


class Feed:
    """See the module. `last` is -1 until the first position is known; what comes before that is held."""

    __slots__ = (
        "_flusher",
        "_held",
        "_held_limit",
        "_owner",
        "_recent",
        "_recent_bytes",
        "closed",
        "conversation_id",
        "filling",
        "joining",
        "last",
        "live",
        "members",
        "somebody",
        "target",
    )

    def __init__(self, conversation_id: str, somebody: str, owner: FeedOwner, flusher: Flusher, held_limit: int) -> None:
        self.conversation_id = conversation_id
        # A member on whose behalf positions are asked for.
        self.somebody = somebody
        self._owner = owner
        self._flusher = flusher
        self._held_limit = held_limit
        self._held: dict[int, Entry] | None = None
        # The highest number known to exist; above `last` it says how far behind the feed is.
        self.target = 0
        self._recent: deque[Entry] | None = None
        self._recent_bytes = 0
        self.last = -1
        self.live: set[Connection] = set()
        self.joining = 0
        self.members = 0
        self.filling = False
        self.closed = False

    @property
    def channel(self) -> bytes:
        """Where its lines are published."""
        return b"conversation:" + self.conversation_id.encode() + b":events"

    @property
    def is_behind(self) -> bool:
        """Whether entries are known to exist that were not delivered."""
        return self.target > self.last >= 0

    # What comes in

    def receive(self, payload: bytes) -> None:
        """Take one publish.

        Raises:
            ValueError: a line is not as it should be; the lines before it are delivered, a hole is filled later.
        """
        out: list[bytes] = []
        try:
            for line in payload.split(b"\n"):
                kind, number, sender, message_id, frame = line.split(b"\t", 4)
                if kind == b"t":
                    if message_id == TYPING_MARK:
                        self._deliver_to_others(text_frame(frame), sender.decode())
                    else:
                        out.append(text_frame(frame))
                    continue
                entry = Entry(int(number), kind == REMOVAL, sender, message_id, text_frame(frame))
                if entry.sequence_number == self.last + 1:
                    self._take(entry, out)
                    if self._held:
                        self._take_held(out)
                else:
                    self._out_of_turn(entry)
        finally:
            self._deliver(out)
        if self.is_behind and not self.filling:
            self._owner.behind(self, "live")

    def position(self, last: int) -> None:
        """The log ends at `last` as far as the store knows: where a new feed begins, or how far an old one is behind."""
        if self.last < 0:
            self.last = last
            out: list[bytes] = []
            self._take_held(out)
            self._deliver(out)
        self.target = max(self.target, last)

    def fill(self, entries: Sequence[Entry]) -> bool:
        """Take entries read from the log, in order; what is delivered already or not next is ignored. True when it got on."""
        before = self.last
        out: list[bytes] = []
        for entry in entries:
            if entry.sequence_number == self.last + 1:
                self._take(entry, out)
        self._take_held(out)
        self._deliver(out)
        return self.last > before

    def _take(self, entry: Entry, out: list[bytes]) -> None:
        self.last = entry.sequence_number
        out.append(entry.wire)
        recent = self._recent
        if recent is not None:
            recent.append(entry)
            self._recent_bytes += len(entry.wire)
            while self._recent_bytes > _MAX_RECENT_BYTES:
                self._recent_bytes -= len(recent.popleft().wire)
        if entry.message_id in self._owner.awaited:
            self._owner.stored(self, entry)
        if entry.removal:
            self._deliver(out)  # the removed see the entry of their removal, and nothing after it
            out.clear()
            self._owner.removed(self, removed_user(entry), entry.sequence_number)

    def _out_of_turn(self, entry: Entry) -> None:
        if entry.sequence_number <= self.last:
            if entry.removal:
                self._owner.removed_long_ago(self, removed_user(entry))
            return
        self.target = max(self.target, entry.sequence_number)
        if self._held is None:
            self._held = {}
        # Beyond the bound the entry is fetched from the log instead.
        if len(self._held) < self._held_limit:
            self._held[entry.sequence_number] = entry

    def _take_held(self, out: list[bytes]) -> None:
        held = self._held
        if not held:
            return
        for number in [number for number in held if number <= self.last]:
            passed = held.pop(number)
            if passed.removal:
                self._owner.removed_long_ago(self, removed_user(passed))
        while (entry := held.pop(self.last + 1, None)) is not None:
            self._take(entry, out)
        if not held:
            self._held = None

    # What goes out

    def _deliver(self, out: list[bytes]) -> None:
        live = self.live
        if not out or not live:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        dirty = self._flusher.dirty
        for connection in live:
            pending = connection.pending
            if not pending:
                dirty.append(connection)
            pending.append(data)
        self._flusher.schedule()
        metrics.deliveries.inc(len(live) * len(out))

    def _deliver_to_others(self, wire: bytes, user_id: str) -> None:
        for connection in self.live:
            user = connection.user
            if user is not None and user.user_id != user_id:
                connection.write(wire)

    # Who comes back

    def begin_join(self) -> None:
        """Remember what is delivered from now on, for a socket that is brought to this position."""
        self.joining += 1
        if self._recent is None:
            self._recent = deque()

    def end_join(self) -> None:
        """One socket less is on its way."""
        self.joining -= 1
        if self.joining == 0:
            self._recent = None
            self._recent_bytes = 0

    def recent_after(self, position: int) -> Iterable[Entry] | None:
        """The delivered entries from `position + 1` to `last`; None when some of them are no longer remembered."""
        if position >= self.last:
            return ()
        recent = self._recent
        if not recent or recent[0].sequence_number > position + 1:
            return None
        return [entry for entry in recent if entry.sequence_number > position]


def removed_user(entry: Entry) -> str:
    """Whom a removal names; empty, with a log line, when it names nobody."""
    data = orjson.loads(payload_of(entry.wire)).get("data")
    user_id = data.get("removed_user_id") if isinstance(data, dict) else None
    if not isinstance(user_id, str):
        log.warning("removal_without_user", message_id=entry.message_id.decode(errors="replace"))
        return ""
    return user_id
