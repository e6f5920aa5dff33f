"""One batch of accepted commands: number, store, show, announce. The caller commits when this returns.

The Kafka record is the first write; the row, the live line and the event are derived from it, each safe to do again. What holds
when an owner dies, or sleeps and wakes as a zombie, between any two steps:

- *no double*: `_id` is the message id. A second insert of it fails, whoever does it.
- *no two orders*: the index on (conversation, number) is unique. A zombie collides instead of writing a second order.
- *no hole*: an entry's number follows from the log alone (`domain/numbering.py` says why), so owners agree; where an insert
  stopped half way, the next owner settles the conversation before it numbers anything there. Nothing is shown, announced or
  committed before the numbers up to it were taken without a hole.
- *nothing unsaid*: an entry is announced by the owner that stored it. Another owner that finds it stored announces it again, marked
  as repeated, when its record may have been handled before (`redelivered`), when an attempt of its own did not come to its end,
  or when it was stored so lately that the owner who did may have died before saying so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from chat4all_router import metrics
from chat4all_router.domain.memory import Memory
from chat4all_router.domain.model import Conversation, Entry, Stored
from chat4all_router.domain.numbering import Plan, plan
from chat4all_router.events import RouterEvents
from chat4all_router.log_frame import encode_frame
from chat4all_router.repository import Announcer, Live, MessageLog
from chat4all_runtime.clock import Clock
from chat4all_runtime.kafka_consumer import RetryLater

log = structlog.get_logger()

SETTLE_ROUNDS = 8
# Longer than a session, a stall and a restart together; within it an entry found stored may never have been announced.
FOREIGN_WRITE_AGE = timedelta(minutes=5)


class RouteBatch:
    """The router's one use case. Used from one thread.

    Args:
        memory: what is known about the partitions owned.
        stale_after_seconds: half a consumer session; an attempt that takes longer may have been overtaken by another owner.
        monotonic: seconds that go on while the process is stopped.
    """

    def __init__(
        self,
        messages: MessageLog,
        live: Live,
        announcer: Announcer,
        events: RouterEvents,
        memory: Memory,
        clock: Clock,
        stale_after_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._messages = messages
        self._live = live
        self._announcer = announcer
        self._events = events
        self._memory = memory
        self._clock = clock
        self._stale_after_seconds = stale_after_seconds
        self._monotonic = monotonic

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Have the whole effect of these entries, which are in the order of the log.

        Raises:
            RetryLater: a store or Kafka is unwell; call again with the same entries, decoded anew.
        """
        began = self._monotonic()
        batch = _Batch(self._memory)
        with stage("number"):
            batch.take(entries)
            last_numbers = self._read_numbers(batch)
        with stage("lookup"):
            batch.compare(self._messages.find(batch.by_id))
            self._look_twice(batch, last_numbers)
        with stage("insert"):
            self._store(batch)
            batch.decide_contested()
            self._messages.await_durable([entry.message_id for entry in batch.by_id.values() if not entry.fresh])
        told = batch.to_tell(self._clock.now() - FOREIGN_WRITE_AGE)
        with stage("publish"):
            self._live.publish(_lines(told))
        with stage("produce"):
            late = self._monotonic() - began > self._stale_after_seconds
            records = [
                self._events.stored(entry, again=late or not entry.fresh or entry.message_id in batch.begun_before)
                for entry in told
            ]
            if batch.conflicts:
                now = self._clock.now()
                records += [self._events.conflict(entry, now) for entry in batch.conflicts]
            self._announcer.send_and_wait(records)
        batch.finish(told)

    def _read_numbers(self, batch: _Batch) -> dict[str, int]:
        """Know the next number of every conversation; answers the last numbers that were read and not checked for holes.

        Before the ids are looked up, not after: what lies below a number seen without holes never moves again, so a row found
        there later is where it stays; one found at or above it is looked at again by `_settle`.
        """
        unknown: list[Conversation] = []
        for name, conversation in batch.conversations.items():
            known = self._memory.next_number(name)
            if known is None:
                unknown.append(conversation)
            else:
                conversation.next_number = known
        if not unknown:
            return {}
        last = self._messages.last_numbers([conversation.conversation_id for conversation in unknown])
        for conversation in unknown:
            conversation.next_number = last.get(conversation.conversation_id, 0) + 1
        # Met for the first time, it may hold the half-done work of an owner before us.
        doubtful = {
            conversation.conversation_id: last.pop(conversation.conversation_id)
            for conversation in unknown
            if conversation.conversation_id in last and any(entry.redelivered for entry in conversation.entries)
        }
        self._check_holes(batch, doubtful)
        return last

    def _check_holes(self, batch: _Batch, last_numbers: Mapping[str, int]) -> None:
        for name, hole in (self._messages.first_holes(last_numbers) if last_numbers else {}).items():
            batch.conversations[name].next_number = hole
            batch.conversations[name].unsettled = True

    def _look_twice(self, batch: _Batch, unchecked: Mapping[str, int]) -> None:
        """Where rows were found, make sure that nobody is still at work on them."""
        found = [entry for entry in batch.by_id.values() if entry.number is not None]
        if not found:
            return
        if doubtful := {
            entry.conversation_id: unchecked[entry.conversation_id] for entry in found if entry.conversation_id in unchecked
        }:
            self._check_holes(batch, doubtful)
            batch.compare(self._messages.find([entry.message_id for entry in found]))
        for entry in found:
            if not entry.conflict and entry.number is not None:
                conversation = batch.conversations[entry.conversation_id]
                conversation.unsettled = conversation.unsettled or entry.number >= conversation.next_number

    def _store(self, batch: _Batch) -> None:
        stored_at = _milliseconds(self._clock.now())
        writes: list[Entry] = []
        for conversation in batch.conversations.values():
            if conversation.unsettled:
                continue
            number = conversation.next_number
            for entry in conversation.entries:
                if entry.number is None:
                    entry.number = number
                    number += 1
                    writes.append(entry)
            conversation.added = number - conversation.next_number
        self._insert(batch, writes, stored_at)
        for conversation in batch.conversations.values():
            if not conversation.unsettled:
                conversation.next_number += conversation.added
        self._settle(batch, stored_at)
        for name, conversation in batch.conversations.items():
            self._memory.numbered(conversation.place, name, conversation.next_number)
        oldest = min((entry.row["created_at"] for entry in batch.by_id.values() if entry.fresh), default=None)
        if oldest is not None:
            metrics.accepted_to_stored_seconds.observe(max(0.0, (stored_at - oldest).total_seconds()))

    def _insert(self, batch: _Batch, writes: Sequence[Entry], stored_at: datetime) -> None:
        """Store the numbered entries; those that collide lose their number again, and their conversation is unsettled."""
        for entry in writes:
            entry.row["sequence_number"] = entry.number
            entry.row["stored_at"] = stored_at
            self._memory.begin(entry.place, entry.message_id)
        failed = set(self._messages.insert([entry.row for entry in writes]))
        for index, entry in enumerate(writes):
            if index in failed:
                entry.number = None
                batch.conversations[entry.conversation_id].unsettled = True
            else:
                entry.fresh = True

    def _settle(self, batch: _Batch, stored_at: datetime) -> None:
        """Bring the conversations another owner wrote to in order: look at the rows, fill holes, go on behind them."""
        rounds = 0
        while unsettled := [conversation for conversation in batch.conversations.values() if conversation.unsettled]:
            rounds += 1
            if rounds > SETTLE_ROUNDS:
                raise RetryLater(f"another owner kept writing to the same conversations for {SETTLE_ROUNDS} rounds")
            metrics.collisions.inc()
            log.warning("settling_conversations", conversations=len(unsettled))
            waiting = [entry.message_id for conversation in unsettled for entry in conversation.entries if entry.number is None]
            batch.compare(self._messages.find(waiting))
            plans: list[tuple[Conversation, Plan]] = []
            writes: list[Entry] = []
            for conversation in unsettled:
                planned = self._plan(conversation)
                if planned is None:
                    continue
                plans.append((conversation, planned))
                conversation.unsettled = False
                inserts = set(planned.inserts)
                writes += [entry for entry in conversation.entries if entry.message_id in inserts]
            self._insert(batch, writes, stored_at)
            for conversation, planned in plans:
                if not conversation.unsettled:
                    conversation.next_number = planned.next_number

    def _plan(self, conversation: Conversation) -> Plan | None:
        """Number a conversation by what is there, moves done; None when the rows changed while looking."""
        start = conversation.next_number
        rows = self._messages.rows_from(conversation.conversation_id, start)
        there = {message_id for _, message_id in rows}
        open_entries = [entry for entry in conversation.entries if entry.number is None or entry.number >= start]
        if any((entry.number is None) == (entry.message_id in there) for entry in open_entries):
            return None  # stored since it was looked up: not yet compared with what we hold
        planned = plan(start, rows, [entry.message_id for entry in open_entries])
        if planned.moves:
            metrics.moved.inc(len(planned.moves))
            log.warning("moving_rows", conversation_id=conversation.conversation_id, rows=len(planned.moves))
            if not self._messages.move(conversation.conversation_id, planned.moves):
                return None
        for entry in open_entries:
            entry.number = planned.numbers[entry.message_id]
            entry.row["sequence_number"] = entry.number
        return planned


class _Batch:
    """One attempt at one batch."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.by_id: dict[str, Entry] = {}
        self.conversations: dict[str, Conversation] = {}
        self.conflicts: list[Entry] = []
        # Tried to be stored by an earlier attempt of ours.
        self.begun_before: set[str] = set()
        self._contested: list[Entry] = []
        self._first_uses: dict[str, tuple[str, str, str]] = {}
        self._repeated = 0

    def take(self, entries: Sequence[Entry]) -> None:
        """Leave out what is known, and what the batch holds twice; sort the rest by conversation."""
        for entry in entries:
            message_id = entry.message_id
            known = self._memory.claims_of(message_id)
            if known is not None:
                if known == hash(entry.claims()):
                    self._repeated += 1
                else:
                    self._refuse(entry)
                continue
            first = self.by_id.setdefault(message_id, entry)
            if first is entry:
                self._conversation_of(entry).entries.append(entry)
                if self._memory.has_begun(message_id):
                    self.begun_before.add(message_id)
            elif first.claims() == entry.claims():
                self._repeated += 1
            else:
                self._contested.append(entry)

    def _conversation_of(self, entry: Entry) -> Conversation:
        conversation = self.conversations.get(entry.conversation_id)
        if conversation is None:
            conversation = self.conversations[entry.conversation_id] = Conversation(entry.conversation_id, entry.place)
        return conversation

    def compare(self, found: Mapping[str, Stored]) -> None:
        """What is stored already has its number, or is refused."""
        for message_id, stored in found.items():
            entry = self.by_id[message_id]
            if not self._adopt(entry, stored):
                self.conversations[entry.conversation_id].entries.remove(entry)

    def _adopt(self, entry: Entry, stored: Stored) -> bool:
        self._first_uses[entry.message_id] = stored.claims()
        if stored.claims() != entry.claims():
            self._refuse(entry)
            return False
        entry.number = stored.number
        entry.row["sequence_number"] = stored.number
        entry.row["created_at"] = stored.created_at
        entry.row["stored_at"] = stored.stored_at
        return True

    def _refuse(self, entry: Entry) -> None:
        entry.conflict = True
        self.conflicts.append(entry)

    def decide_contested(self) -> None:
        """Two uses of one id in this batch: now it is known which one the log holds."""
        for entry in self._contested:
            if self._first_uses.get(entry.message_id, self.by_id[entry.message_id].claims()) == entry.claims():
                self._repeated += 1
            else:
                self._refuse(entry)

    def to_tell(self, lately: datetime) -> list[Entry]:
        """Entries to show and announce: the new ones, and repeats whose first owner may not have said so."""
        return [
            entry
            for entry in self.by_id.values()
            if not entry.conflict
            and (entry.fresh or entry.redelivered or self._memory.has_begun(entry.message_id) or entry.row["stored_at"] > lately)
        ]

    def finish(self, told: Sequence[Entry]) -> None:
        """Everything was said: remember it, and count."""
        again = sum(1 for entry in told if not entry.fresh)
        silent = -len(told)
        for entry in self.by_id.values():
            if not entry.conflict:
                silent += 1
                self._memory.finish(entry.place, entry.message_id, entry.claims())
        metrics.entries.labels("stored").inc(len(told) - again)
        metrics.entries.labels("told_again").inc(again)
        metrics.entries.labels("repeated").inc(self._repeated + silent)
        metrics.entries.labels("conflict").inc(len(self.conflicts))


def _lines(told: Sequence[Entry]) -> dict[str, list[bytes]]:
    """The lines of the live channels, by conversation, in the order of the numbers."""
    numbered: dict[str, list[tuple[int, bytes]]] = {}
    for entry in told:
        row = entry.row
        number: int = row["sequence_number"]
        kind = "r" if row["kind"] == "member_removed" else "e"
        line = f"{kind}\t{number}\t{entry.sender}\t{entry.message_id}\t".encode() + encode_frame(row)
        numbered.setdefault(entry.conversation_id, []).append((number, line))
    return {name: [line for _, line in sorted(lines)] for name, lines in numbered.items()}


def _milliseconds(moment: datetime) -> datetime:
    """Cut to what the store keeps."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure one stage of one batch, also when it fails: a slow failure is what one looks for."""
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics.stage_seconds.labels(name).observe(time.perf_counter() - started)
