"""Who could see which entries of a conversation, as ranges of sequence numbers.

Two views: *spells* are the ranges in which a user was a member (what must come live), *readable* adds older entries
that a member was allowed to read (what may come as replay or page). Both include the entry that began and the one that
ended it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .records import ADDED_KIND, REMOVED_KIND, Join, Leave, Record

FOREVER = 2**63

Ranges = tuple[tuple[int, int], ...]


class LogEntry(Protocol):
    """What is needed of a log entry to know whether it changes members."""

    @property
    def conversation_id(self) -> str:
        """The log it is in."""

    @property
    def sequence_number(self) -> int:
        """Its place."""

    @property
    def kind(self) -> str:
        """What it does."""

    @property
    def subject_user_id(self) -> str:
        """Whom it adds or removes."""


@dataclass(frozen=True, slots=True)
class Membership:
    """One user's memberships of one conversation.

    Attributes:
        spells: from the joining to the leaving.
        readable: all that the user was ever allowed to read, merged.
        windows: for each spell what could be read in it: at least the spell, at most from the beginning of the log.
    """

    spells: Ranges = ()
    readable: Ranges = ()
    windows: Ranges = ()

    @property
    def current(self) -> bool:
        """Whether the user is a member at the end of the run."""
        return bool(self.spells) and self.spells[-1][1] == FOREVER

    def due(self, number: int) -> Ranges:
        """Return what an answer that reaches up to a number must hold: the window of the last spell begun by then.

        The first window when none had begun, for then an earlier part was read that new members are shown.
        A user who came back may have lost sight of an earlier spell, so that is not due, though it may be shown.
        """
        begun = [window for spell, window in zip(self.spells, self.windows, strict=True) if spell[0] <= number]
        return tuple(begun[-1:]) or self.windows[:1]


NEVER = Membership()


def covers(ranges: Ranges, sequence_number: int) -> bool:
    """Tell whether a number lies in one of the ranges."""
    for first, last in ranges:  # noqa: SIM110 - asked millions of times; a generator for `any` costs twice as much
        if first <= sequence_number <= last:
            return True
    return False


def membership(joins: dict[int, int], leaves: Iterable[int]) -> Membership:
    """Fold joinings (number of the entry → first readable number) and leavings into ranges.

    A leaving without an open spell and a joining inside one change nothing: both are repeats of what is known.
    """
    events = sorted([(number, 0) for number in joins] + [(number, 1) for number in leaves])
    spells: list[tuple[int, int]] = []
    windows: list[tuple[int, int]] = []
    start: int | None = None
    for number, is_leave in events:
        if not is_leave and start is None:
            start = number
        elif is_leave and start is not None:
            spells.append((start, number))
            windows.append((min(start, joins[start]), number))
            start = None
    if start is not None:
        spells.append((start, FOREVER))
        windows.append((min(start, joins[start]), FOREVER))
    return Membership(tuple(spells), _merged(windows), tuple(windows))


def memberships(
    joins: Iterable[Join], leaves: Mapping[tuple[str, str], Iterable[Leave]], log: Iterable[LogEntry]
) -> tuple[dict[tuple[str, str], Membership], list[Record]]:
    """Return the membership of each (conversation, user), and the changes that cannot be placed in the log.

    Args:
        joins: what clients were told; their `visible_from_sequence_number` goes before the log, which does not know it.
        leaves: the same for leavings.
        log: entries of the conversations; those that change members count.
    """
    started: dict[tuple[str, str], dict[int, int]] = {}
    ended: dict[tuple[str, str], set[int]] = {}
    unplaced: list[Record] = []
    for entry in log:
        who = (entry.conversation_id, entry.subject_user_id)
        if entry.kind == ADDED_KIND:
            started.setdefault(who, {})[entry.sequence_number] = entry.sequence_number
        elif entry.kind == REMOVED_KIND:
            ended.setdefault(who, set()).add(entry.sequence_number)
    for join in joins:
        who = (join.conversation_id, join.user_id)
        if join.sequence_number is not None:
            visible = join.visible_from_sequence_number
            started.setdefault(who, {})[join.sequence_number] = join.sequence_number if visible is None else visible
        elif who not in started:
            unplaced.append(join)
    for who, records in leaves.items():
        for leave in records:
            if leave.sequence_number is not None:
                ended.setdefault(who, set()).add(leave.sequence_number)
            elif who not in ended:
                unplaced.append(leave)
    who_ever = sorted(started.keys() | ended.keys())  # in one order, whatever the hash seed: a run can be repeated
    return {who: membership(started.get(who, {}), ended.get(who, ())) for who in who_ever}, unplaced


def _merged(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
