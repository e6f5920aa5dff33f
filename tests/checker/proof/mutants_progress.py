"""Mutants of progress: falling marks, sends that stay unknown, runs that prove nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from ..check_progress import marks_never_fall, run_is_meaningful, unknown_resolves
from ..claims import Claim
from ..observations import Observations
from ..records import Join, MarkRead, Nemesis, Recv, Send, Session
from ..verdicts import ViolationClass
from .breaking import Mutant, Records, after, changed, of_type, pick, without


def mark_falls_for_one_reader(records: Records, rng: Random) -> Records:
    mark = pick(rng, [mark for mark in of_type(records, MarkRead) if mark.phase == "ok" and mark.sequence_number])
    return after(records, mark, replace(mark, phase="observed", sequence_number=mark.sequence_number - 1))


def mark_is_confirmed_below_what_was_asked(records: Records, rng: Random) -> Records:
    asked = {
        (mark.session_id, mark.conversation_id, mark.sequence_number)
        for mark in of_type(records, MarkRead)
        if mark.phase == "invoke" and mark.sequence_number
    }
    marks = [
        mark
        for mark in of_type(records, MarkRead)
        if mark.phase == "ok" and (mark.session_id, mark.conversation_id, mark.sequence_number) in asked
    ]
    mark = pick(rng, marks)
    return changed(records, mark, sequence_number=mark.sequence_number - 1)


def confirmed_mark_is_gone_at_the_end(records: Records, rng: Random) -> Records:
    mark = pick(rng, [mark for mark in of_type(records, MarkRead) if mark.phase == "ok" and mark.sequence_number])
    opened = [session for session in of_type(records, Session) if session.user_id == mark.user_id]
    last = max((session for session in opened if session.phase == "open"), key=lambda session: session.monotonic_ns)
    return after(records, last, replace(mark, phase="observed", session_id=last.session_id, sequence_number=0))


def unknown_send_is_never_resolved(records: Records, rng: Random) -> Records:
    claim = pick(rng, [claim for claim in _acknowledged(records) if claim.uncertain])
    return without(records, *_answers(records, claim))


def client_dies_and_never_asks_again(records: Records, rng: Random) -> Records:
    claim = pick(rng, [claim for claim in _acknowledged(records) if not claim.uncertain])
    return without(records, *_answers(records, claim))


def unknown_send_resolves_too_late(records: Records, rng: Random) -> Records:
    claim = pick(rng, [claim for claim in _acknowledged(records) if claim.uncertain])
    late = {id(record) for record in _answers(records, claim)}
    return [
        replace(record, monotonic_ns=record.monotonic_ns + 100 * 10**9) if id(record) in late else record for record in records
    ]


def fault_is_never_healed(records: Records, rng: Random) -> Records:
    return without(records, pick(rng, [fault for fault in of_type(records, Nemesis) if fault.phase == "stop"]))


def nothing_is_acknowledged(records: Records, rng: Random) -> Records:
    return [record for record in records if not (isinstance(record, Send) and record.phase == "ok")]


def nobody_stays_to_the_end(records: Records, rng: Random) -> Records:
    return [replace(record, settled=False) if isinstance(record, Session) else record for record in records]


def session_is_never_opened(records: Records, rng: Random) -> Records:
    session_id = pick(rng, of_type(records, Recv)).session_id
    return [record for record in records if not (isinstance(record, Session) and record.session_id == session_id)]


def outcome_without_an_invocation(records: Records, rng: Random) -> Records:
    claim = pick(rng, _acknowledged(records))
    invokes = [send for send in of_type(records, Send) if send.message_id == claim.message_id]
    return without(records, *(send for send in invokes if send.phase == "invoke"))


def stored_without_a_number(records: Records, rng: Random) -> Records:
    ack = pick(rng, [send for send in of_type(records, Send) if send.state == "stored"])
    return changed(records, ack, sequence_number=0)


def joining_is_not_in_the_log(records: Records, rng: Random) -> Records:
    join = pick(rng, of_type(records, Join))
    return after(records, join, Join(conversation_id=join.conversation_id, user_id="u-nowhere"))


def _acknowledged(records: Records) -> list[Claim]:
    return [claim for claim in Observations(records).all_claims() if claim.first_ok is not None]


def _answers(records: Records, claim: Claim) -> list[Send]:
    return [send for send in of_type(records, Send) if send.message_id == claim.message_id and send.phase == "ok"]


PROGRESS_MUTANTS: tuple[Mutant, ...] = (
    Mutant(mark_falls_for_one_reader, ViolationClass.OTHER, marks_never_fall),
    Mutant(mark_is_confirmed_below_what_was_asked, ViolationClass.OTHER, marks_never_fall),
    Mutant(confirmed_mark_is_gone_at_the_end, ViolationClass.OTHER, marks_never_fall),
    Mutant(unknown_send_is_never_resolved, ViolationClass.OTHER, unknown_resolves),
    Mutant(client_dies_and_never_asks_again, ViolationClass.OTHER, unknown_resolves),
    Mutant(unknown_send_resolves_too_late, ViolationClass.OTHER, unknown_resolves),
    Mutant(fault_is_never_healed, ViolationClass.OTHER, run_is_meaningful),
    Mutant(nothing_is_acknowledged, ViolationClass.OTHER, run_is_meaningful),
    Mutant(nobody_stays_to_the_end, ViolationClass.OTHER, run_is_meaningful),
    Mutant(session_is_never_opened, ViolationClass.OTHER, run_is_meaningful),
    Mutant(outcome_without_an_invocation, ViolationClass.OTHER, run_is_meaningful),
    Mutant(stored_without_a_number, ViolationClass.OTHER, run_is_meaningful),
    Mutant(joining_is_not_in_the_log, ViolationClass.OTHER, run_is_meaningful),
)
