"""Which number each entry of a conversation gets, when rows of another owner are already there.

Numbers follow the log. The k-th different id that Kafka holds for a conversation is its entry number k, whoever writes it: the
router refuses nothing on state that can change (membership, limits), only what can never be stored, so two owners of a partition,
one of them paused and out of date, give the same id the same number. Their inserts then collide on the very same row (`_id` and
number alike) or do not collide at all, and neither a hole nor a double can come from interleaving them.

What is left are the cases in which the rows do not follow that rule, and `plan` repairs them:

- an insert that stopped half way, or on a sharded cluster reached some shards only: rows above, holes below;
- an id that was free when it was looked up and belonged to a message of another conversation when the batch was inserted (the
  same id sent to two conversations at once): its number stays empty while the entries behind it are stored.

A hole is filled by the waiting entry that precedes, in the log, the row above the hole. When none does, and the row above is of
this batch (so that everything before it in the log has been seen), the row moves down; a row from further along the log stays until
its record comes. Nobody has shown or announced a row above a hole, because an owner publishes only after it has seen the numbers up
to its last one taken without a hole, and commits only after that. So every hole lies in front of records that are not committed, the
owner who gets them looks before it numbers, and whoever died in between, the log ends whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Move:
    """A row that moves down into a hole; the one at `old` must still be this id."""

    message_id: str
    old: int
    new: int


@dataclass(slots=True)
class Plan:
    """What to write so that the numbers from `next_number` on are whole.

    Args:
        numbers: of every id, the stored ones too, after the plan is carried out.
        moves: in the order to carry them out; each goes into a number that is free by then.
        inserts: waiting ids that are still to be stored, lowest number first.
        next_number: the first number that is free afterwards.
    """

    next_number: int
    numbers: dict[str, int] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    inserts: list[str] = field(default_factory=list)


def plan(start: int, rows: Sequence[tuple[int, str]], batch: Sequence[str]) -> Plan:
    """Number what waits.

    Args:
        start: all numbers below it are taken.
        rows: (number, id) of every stored row from `start` on, ascending.
        batch: ids of the batch in the order of the log; those not among the rows wait to be stored.
    """
    position = {message_id: index for index, message_id in enumerate(batch)}
    stored = {message_id for _, message_id in rows}
    waiting = [message_id for message_id in batch if message_id not in stored]
    result = Plan(start)
    behind = len(batch)  # a row that is not in the batch comes from further along the log
    taken = 0
    whole = True
    for number, message_id in rows:
        limit = position.get(message_id, behind)
        while result.next_number < number and taken < len(waiting) and position[waiting[taken]] < limit:
            _insert(result, waiting[taken])
            taken += 1
        if result.next_number < number:
            if not whole or message_id not in position:
                # What belongs into this hole may still come: the row's record, and those before it, are not in this batch.
                whole = False
                result.numbers[message_id] = number
                continue
            result.moves.append(Move(message_id, number, result.next_number))
        result.numbers[message_id] = result.next_number
        result.next_number += 1
    for message_id in waiting[taken:]:
        _insert(result, message_id)
    return result


def _insert(result: Plan, message_id: str) -> None:
    result.inserts.append(message_id)
    result.numbers[message_id] = result.next_number
    result.next_number += 1
