"""Mutants of sockets: events doubled, left out or late, deaf readers, resumes that bring too little or too much."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from ..check_resume import reset_is_needed, resume_is_exact
from ..check_sessions import session_steps, settled_session_saw_all
from ..observations import Observations
from ..records import REMOVED_KIND, Recv, Reset, Resume, Send
from ..verdicts import ViolationClass
from .breaking import Mutant, Records, after, before, changed, of_type, pick, without


def live_event_comes_twice(records: Records, rng: Random) -> Records:
    recv = pick(rng, [recv for recv in of_type(records, Recv) if recv.source == "live"])
    return after(records, recv, recv)


def live_event_comes_again_later(records: Records, rng: Random) -> Records:
    first, *_, last = pick(rng, [stream for stream in _live_streams(records) if len(stream) > 2])
    return after(records, last, first)


def replayed_event_comes_again_live(records: Records, rng: Random) -> Records:
    """The joint between replay and live is not merged: what is in both comes twice."""
    resumed, replayed = pick(rng, _resumes(records, at_least=1))
    return after(records, resumed, replace(replayed[-1], source="live"))


def live_event_is_skipped(records: Records, rng: Random) -> Records:
    stream = pick(rng, [stream for stream in _live_streams(records) if len(stream) > 2])
    return without(records, stream[rng.randrange(1, len(stream) - 1)])


def replayed_event_is_skipped(records: Records, rng: Random) -> Records:
    _, replayed = pick(rng, _resumes(records, at_least=3))
    return without(records, replayed[rng.randrange(1, len(replayed) - 1)])


def session_goes_deaf(records: Records, rng: Random) -> Records:
    """The subscription dies without a word and the reader waits to the end."""
    seen = Observations(records)
    streams = [
        stream
        for stream in _live_streams(records)
        if seen.sessions[stream[0].session_id]["close"].settled
        and seen.membership(stream[0].conversation_id, stream[0].user_id).current
        and stream[-1].kind != REMOVED_KIND
    ]
    stream = pick(rng, streams)
    return without(records, *stream[rng.randrange(len(stream)) :])


def session_never_hears_of_a_conversation(records: Records, rng: Random) -> Records:
    seen = Observations(records)
    victims = []
    for (session_id, conversation_id), stream in seen.streams.items():
        phases = seen.sessions[session_id]
        if not phases["close"].settled or not seen.membership(conversation_id, stream[0].user_id).current:
            continue
        arrived = {event.message_id for event in stream if isinstance(event, Recv) and event.source == "live"}
        if any(
            claim.first_ok is not None and claim.first_invoke_ns > phases["attached"].monotonic_ns
            for message_id in arrived
            for claim in seen.claims.get(message_id, ())
        ):
            victims.append(stream)
    return without(records, *pick(rng, victims))


def resume_leaves_out_the_end(records: Records, rng: Random) -> Records:
    _, replayed = pick(rng, _resumes(records, at_least=1))
    return without(records, replayed[-1])


def resume_says_less_and_brings_less(records: Records, rng: Random) -> Records:
    """A partial recovery that looks whole, because its answer agrees with it."""
    members = Observations(records)
    known: set[tuple[str, int]] = set()
    asked: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for record in records:
        if isinstance(record, Recv) or (isinstance(record, Send) and record.state == "stored"):
            known.add((record.conversation_id, record.sequence_number))
        elif isinstance(record, Resume) and record.phase == "invoke":
            asked[record.session_id, record.conversation_id] = set(known)
    victims = [
        (resumed, replayed)
        for resumed, replayed in _resumes(records, at_least=1)
        if (resumed.conversation_id, resumed.to_sequence_number) in asked[resumed.session_id, resumed.conversation_id]
        and members.membership(resumed.conversation_id, resumed.user_id).current
    ]
    resumed, replayed = pick(rng, victims)
    shorter = changed(records, resumed, to_sequence_number=resumed.to_sequence_number - 1)
    return without(shorter, replayed[-1])


def resume_starts_late(records: Records, rng: Random) -> Records:
    resumed, replayed = pick(rng, _resumes(records, at_least=2))
    later = changed(records, resumed, from_sequence_number=replayed[1].sequence_number)
    return without(later, replayed[0])


def resume_starts_early(records: Records, rng: Random) -> Records:
    shown = {(recv.user_id, recv.conversation_id, recv.sequence_number): recv for recv in of_type(records, Recv)}
    victims = [
        (replayed[0], shown[resumed.user_id, resumed.conversation_id, resumed.cursor])
        for resumed, replayed in _resumes(records, at_least=1)
        if (resumed.user_id, resumed.conversation_id, resumed.cursor) in shown
    ]
    first, earlier = pick(rng, victims)
    return before(records, first, replace(earlier, source="replay", session_id=first.session_id))


def resume_says_it_started_early(records: Records, rng: Random) -> Records:
    resumed, _ = pick(rng, [pair for pair in _resumes(records, at_least=0) if pair[0].cursor > 0])
    return changed(records, resumed, from_sequence_number=resumed.cursor)


def live_event_overtakes_the_replay(records: Records, rng: Random) -> Records:
    _, replayed = pick(rng, _resumes(records, at_least=1))
    return changed(records, replayed[-1], source="live")


def replay_without_a_resume(records: Records, rng: Random) -> Records:
    return changed(records, pick(rng, _live_streams(records))[0], source="replay")


def cursor_is_never_answered(records: Records, rng: Random) -> Records:
    sessions = Observations(records).sessions
    settled = [pair for pair in _resumes(records, at_least=0) if sessions[pair[0].session_id]["close"].settled]
    return without(records, pick(rng, settled)[0])


def reset_without_need(records: Records, rng: Random) -> Records:
    """The gateway answers every cursor with a reset instead of resuming."""
    seen = Observations(records)
    victims = [
        resumed
        for resumed, replayed in _resumes(records, at_least=0)
        if not replayed and seen.membership(resumed.conversation_id, resumed.user_id).current
    ]
    resumed = pick(rng, victims)
    reset = Reset(
        session_id=resumed.session_id,
        user_id=resumed.user_id,
        conversation_id=resumed.conversation_id,
        cursor=resumed.cursor,
        last_sequence_number=resumed.to_sequence_number,
        reason="UNKNOWN_EPOCH",
    )
    return without(after(records, resumed, reset), resumed)


def reset_after_a_partial_replay(records: Records, rng: Random) -> Records:
    reset = pick(rng, of_type(records, Reset))
    shown = [recv for recv in of_type(records, Recv) if recv.conversation_id == reset.conversation_id]
    replayed = replace(pick(rng, shown), source="replay", session_id=reset.session_id, user_id=reset.user_id)
    return before(records, reset, replayed)


def _live_streams(records: Records) -> list[list[Recv]]:
    streams: dict[tuple[str, str], list[Recv]] = {}
    for recv in of_type(records, Recv):
        if recv.source == "live":
            streams.setdefault((recv.session_id, recv.conversation_id), []).append(recv)
    # A stream that spans two memberships may jump, so skipping in it proves nothing.
    members = Observations(records)
    return [
        stream
        for (_, conversation_id), stream in streams.items()
        if len(members.membership(conversation_id, stream[0].user_id).spells) == 1
    ]


def _resumes(records: Records, *, at_least: int) -> list[tuple[Resume, list[Recv]]]:
    """Return the answered resumes with what they replayed, those with at least so many events."""
    replayed: dict[tuple[str, str], list[Recv]] = {}
    resumes: list[tuple[Resume, list[Recv]]] = []
    for record in records:
        if isinstance(record, Recv) and record.source == "replay":
            replayed.setdefault((record.session_id, record.conversation_id), []).append(record)
        elif isinstance(record, Resume) and record.phase == "ok":
            resumes.append((record, replayed.get((record.session_id, record.conversation_id), [])))
    return [pair for pair in resumes if len(pair[1]) >= at_least]


SESSION_MUTANTS: tuple[Mutant, ...] = (
    Mutant(live_event_comes_twice, ViolationClass.DOUBLED, session_steps),
    Mutant(live_event_comes_again_later, ViolationClass.DOUBLED, session_steps),
    Mutant(replayed_event_comes_again_live, ViolationClass.DOUBLED, session_steps),
    Mutant(live_event_is_skipped, ViolationClass.HOLE, session_steps),
    Mutant(replayed_event_is_skipped, ViolationClass.HOLE, session_steps),
    Mutant(session_goes_deaf, ViolationClass.LOST, settled_session_saw_all),
    Mutant(session_never_hears_of_a_conversation, ViolationClass.LOST, settled_session_saw_all),
    Mutant(resume_leaves_out_the_end, ViolationClass.HOLE, resume_is_exact),
    Mutant(resume_says_less_and_brings_less, ViolationClass.HOLE, resume_is_exact),
    Mutant(resume_starts_late, ViolationClass.HOLE, resume_is_exact),
    Mutant(resume_starts_early, ViolationClass.DOUBLED, resume_is_exact),
    Mutant(resume_says_it_started_early, ViolationClass.DOUBLED, resume_is_exact),
    Mutant(live_event_overtakes_the_replay, ViolationClass.OUT_OF_ORDER, resume_is_exact),
    Mutant(replay_without_a_resume, ViolationClass.OTHER, resume_is_exact),
    Mutant(cursor_is_never_answered, ViolationClass.OTHER, resume_is_exact),
    Mutant(reset_without_need, ViolationClass.OTHER, reset_is_needed),
    Mutant(reset_after_a_partial_replay, ViolationClass.OTHER, resume_is_exact),
)
