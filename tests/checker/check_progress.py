"""Invariants of progress: marks never fall, unknown outcomes become known, and the run itself is worth believing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from .observations import Observations
from .records import MarkRead, Record
from .verdicts import Rules, Violation, ViolationClass, labels


def marks_never_fall(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A read mark is never below what was asked for and confirmed, nor below what the same reader saw before.

    Three floors for an answer: the reader's last answer; the mark the request asked for; the highest mark confirmed to
    anybody before the request (for an observation: before its session opened).
    """
    last: dict[tuple[str, str, str], MarkRead] = {}
    asked: dict[tuple[str, str, str], MarkRead] = {}
    confirmed: dict[tuple[str, str], list[MarkRead]] = {}
    for mark in seen.marks:
        who = (mark.conversation_id, mark.user_id)
        reader = (mark.session_id, *who)
        if mark.phase == "invoke":
            asked[reader] = mark
            continue
        if mark.phase not in ("ok", "observed"):
            continue
        known = confirmed.setdefault(who, [])
        since: Record | None
        floors: list[tuple[MarkRead, str]] = []
        if mark.phase == "ok":
            since = asked.pop(reader, None)
            if since is not None:
                floors.append((since, "was asked for"))
        else:
            since = seen.session_user(mark.session_id)
        if since is not None:
            index = bisect_left(known, since.monotonic_ns, key=lambda answer: answer.monotonic_ns)
            if index:
                floors.append((known[index - 1], "had been confirmed before"))
        if reader in last:
            floors.append((last[reader], "was answered to the same reader before"))
        for floor, why in floors:
            if mark.sequence_number < floor.sequence_number:
                yield Violation(
                    ViolationClass.OTHER,
                    f"read mark is {mark.sequence_number} though {floor.sequence_number} {why}",
                    mark.conversation_id,
                    sequence_number=mark.sequence_number,
                    user_id=mark.user_id,
                    session_id=mark.session_id,
                    evidence=labels(floor, mark),
                )
                break
        last[reader] = mark
        # Kept ascending in value, so that the last one before a moment is the highest before it.
        if mark.phase == "ok" and (not known or mark.sequence_number > known[-1].sequence_number):
            known.append(mark)


def unknown_resolves(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A send of unknown outcome becomes known by trying again, within the time allowed after the last fault healed.

    A sender who is out of the conversation by then may be refused instead.
    """
    healed_ns = max((nemesis.monotonic_ns for nemesis in seen.nemeses if nemesis.phase == "stop"), default=0)
    allowed_ns = int(rules.resolve_within_seconds * 1e9)
    for claim in seen.all_claims():
        if not claim.uncertain or claim.never_happened:
            continue
        ok = claim.first_ok
        if ok is None:
            if claim.ended_in_fail and not seen.membership(claim.conversation_id, claim.user_id).current:
                continue
            detail = "outcome was unknown and never became known"
        else:
            late_ns = ok.monotonic_ns - max(healed_ns, claim.unknown_since_ns)
            if late_ns <= allowed_ns:
                continue
            detail = f"outcome became known only {late_ns / 1e9:.1f} s after it should have been possible"
        yield Violation(
            ViolationClass.OTHER,
            detail,
            claim.conversation_id,
            claim.message_id,
            user_id=claim.user_id,
            evidence=labels(claim.first) if ok is None else labels(claim.first, ok),
        )


def run_is_meaningful(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """The history is well formed and had something to lose: a run that tested nothing must not pass."""
    for detail, record in seen.malformed:
        yield Violation(ViolationClass.OTHER, detail, getattr(record, "conversation_id", ""), evidence=labels(record))
    if all(claim.first_ok is None for claim in seen.all_claims()):
        yield Violation(ViolationClass.OTHER, "no message was acknowledged, so nothing is proved")
    if rules.settled and not any("close" in phases and phases["close"].settled for phases in seen.sessions.values()):
        yield Violation(ViolationClass.OTHER, "no session stayed to the end, so live delivery is not proved")
    readers: dict[str, Record] = {session_id: stream[0] for (session_id, _), stream in seen.streams.items()}
    for page in seen.pages:
        readers.setdefault(page.session_id, page)
    for session_id, record in readers.items():
        session = seen.session_user(session_id)
        if session is None or session.user_id != getattr(record, "user_id", ""):
            detail = "records of a session that was never opened, or by another user than its own"
            yield Violation(ViolationClass.OTHER, detail, session_id=session_id, evidence=labels(record))
    standing: dict[tuple[str, str], Record] = {}
    for nemesis in seen.nemeses:
        if nemesis.phase == "start":
            standing[nemesis.fault, nemesis.target] = nemesis
        else:
            standing.pop((nemesis.fault, nemesis.target), None)
    for (fault, target), record in standing.items():
        detail = f"fault {fault} on {target} was never taken away, so the end is not a quiet one"
        yield Violation(ViolationClass.OTHER, detail, evidence=labels(record))
