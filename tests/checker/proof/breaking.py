"""What mutants are made of: picking a victim and changing the records around it, in place of the system doing so.

Mutants find their victims by the checker's own grouping (`Observations`), which judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from ..invariants import Invariant
from ..observations import Observations
from ..records import Entry, HistoryPage, Record, Recv, Send, StoreRow, TimeseriesRow
from ..verdicts import ViolationClass

Records = list[Record]
Change = Callable[[Records, Random], Records]
Item = TypeVar("Item")


class NoVictimError(Exception):
    """This history has nothing that the mutant could break."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break a history.

    Attributes:
        change: returns a broken copy; raises NoVictimError.
        violation_class: the class under which it must be reported.
        invariant: who must report it; others may as well.
    """

    change: Change
    violation_class: ViolationClass
    invariant: Invariant

    @property
    def name(self) -> str:
        """The name of the change, in words."""
        return self.change.__name__


def pick(rng: Random, candidates: Sequence[Item]) -> Item:
    """Return one candidate.

    Raises:
        NoVictimError: there is none.
    """
    if not candidates:
        raise NoVictimError
    return rng.choice(candidates)


def without(records: Records, *gone: Record) -> Records:
    """Return the records without some, told apart by identity."""
    ids = {id(record) for record in gone}
    return [record for record in records if id(record) not in ids]


def changed(records: Records, victim: Record, **values: Any) -> Records:
    """Return the records with one of them changed."""
    return [replace(record, **values) if record is victim else record for record in records]


def after(records: Records, place: Record, *new: Record) -> Records:
    """Return the records with new ones right after one of them, at its time."""
    index = next(index for index, record in enumerate(records) if record is place)
    stamped = [replace(record, monotonic_ns=place.monotonic_ns, writer=place.writer) for record in new]
    return [*records[: index + 1], *stamped, *records[index + 1 :]]


def before(records: Records, place: Record, *new: Record) -> Records:
    """Return the records with new ones right before one of them, at its time."""
    index = next(index for index, record in enumerate(records) if record is place)
    stamped = [replace(record, monotonic_ns=place.monotonic_ns, writer=place.writer) for record in new]
    return [*records[:index], *stamped, *records[index:]]


def everywhere(records: Records, conversation_id: str, change: Callable[[Entry], Entry]) -> Records:
    """Change the entries of a conversation in every delivery, page, store and time series alike."""
    result: Records = []
    for record in records:
        if getattr(record, "conversation_id", "") != conversation_id:
            result.append(record)
        elif isinstance(record, Recv | StoreRow):
            result.append(replace(record, **change(entry_of(record))._asdict()))
        elif isinstance(record, HistoryPage):
            result.append(replace(record, entries=tuple(map(change, record.entries))))
        elif isinstance(record, TimeseriesRow):
            new = change(Entry(record.sequence_number, record.message_id, record.sender_user_id, "", record.kind))
            result.append(
                replace(
                    record,
                    sequence_number=new.sequence_number,
                    message_id=new.message_id,
                    sender_user_id=new.sender_user_id,
                )
            )
        else:
            result.append(record)
    return result


def entry_of(record: Recv | StoreRow) -> Entry:
    """Return the log entry a delivery or a store row shows."""
    return Entry(
        record.sequence_number,
        record.message_id,
        record.sender_user_id,
        record.body_sha256,
        record.kind,
        record.subject_user_id,
    )


def swapped(records: Records, one: StoreRow, other: StoreRow) -> Records:
    """Let two messages of a conversation change places wherever anybody sees or is told of them."""
    places = {one.sequence_number: other, other.sequence_number: one}
    numbers = {row.message_id: number for number, row in places.items()}

    def change(entry: Entry) -> Entry:
        row = places.get(entry.sequence_number)
        return entry if row is None else entry_of(row)._replace(sequence_number=entry.sequence_number)

    return [
        replace(record, sequence_number=numbers[record.message_id])
        if isinstance(record, Send) and record.state == "stored" and record.message_id in numbers
        else record
        for record in everywhere(records, one.conversation_id, change)
    ]


def of_type(records: Records, kind: type[Item]) -> list[Item]:
    """Return the records of one type."""
    return [record for record in records if isinstance(record, kind)]


def messages(records: Records) -> list[StoreRow]:
    """Return the store rows of acknowledged messages."""
    seen = Observations(records)
    return [row for row in seen.store_rows if any(claim.first_ok is not None for claim in seen.claims.get(row.message_id, ()))]
