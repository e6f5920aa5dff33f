"""Invariants of coming back: exactly the missing part, or a reset where one is allowed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from .observations import Observations, Stream
from .records import Recv, Reset, Resume
from .verdicts import Rules, Violation, ViolationClass, labels

_Finding = tuple[ViolationClass, str, int, Recv | Reset | Resume]


def resume_is_exact(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A resume brings what follows the cursor, all of it, once, before anything live, and says so."""
    if not seen.resumed:
        return
    heads = _Heads(seen)
    for session_id, conversation_id in seen.resumed:
        stream = seen.streams[session_id, conversation_id]
        for violation_class, detail, number, event in _judge(seen, heads, conversation_id, stream):
            yield Violation(
                violation_class,
                detail,
                conversation_id,
                sequence_number=number,
                user_id=event.user_id,
                session_id=session_id,
                evidence=labels(event),
            )
        last = stream[-1]
        closed = seen.sessions.get(session_id, {}).get("close")
        answered = any(isinstance(event, Reset) or getattr(event, "phase", "") == "ok" for event in stream)
        if closed is not None and closed.settled and not answered:
            yield Violation(
                ViolationClass.OTHER,
                "a cursor was given but neither resumed nor reset",
                conversation_id,
                user_id=last.user_id,
                session_id=session_id,
                evidence=labels(stream[0]),
            )


def reset_is_needed(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A reset comes only when too much was missed, the cursor is not of this log, or the user is no longer a member."""
    for session_id, conversation_id in seen.resumed:
        for event in seen.streams[session_id, conversation_id]:
            if not isinstance(event, Reset):
                continue
            missed = event.last_sequence_number - event.cursor
            member = seen.membership(conversation_id, event.user_id).current
            if member and 0 <= missed <= rules.resume_limit:
                yield Violation(
                    ViolationClass.OTHER,
                    f"reset ({event.reason}) though only {missed} entries were missed",
                    conversation_id,
                    sequence_number=event.last_sequence_number,
                    user_id=event.user_id,
                    session_id=session_id,
                    evidence=labels(event),
                )


def _judge(seen: Observations, heads: _Heads, conversation_id: str, stream: Stream) -> Iterator[_Finding]:
    asked: Resume | None = None
    replayed: list[int] = []
    for event in stream:
        if isinstance(event, Recv):
            if event.source == "live" and asked is not None:
                detail = f"{event.sequence_number} came live before the missed part was complete"
                yield ViolationClass.OUT_OF_ORDER, detail, event.sequence_number, event
            elif event.source == "replay":
                if asked is None:
                    yield ViolationClass.OTHER, "replayed without a resume", event.sequence_number, event
                replayed.append(event.sequence_number)
        elif isinstance(event, Reset):
            if replayed:
                detail = f"{len(replayed)} entries were replayed and then reset: all or nothing"
                yield ViolationClass.OTHER, detail, replayed[0], event
            yield from _known_beyond(seen, heads, conversation_id, event, asked, event.last_sequence_number)
            asked, replayed = None, []
        elif event.phase == "invoke":
            asked, replayed = event, []
        else:
            if asked is None:
                yield ViolationClass.OTHER, "resumed without having been asked", event.to_sequence_number, event
            yield from _compare(seen, conversation_id, event, replayed)
            yield from _known_beyond(seen, heads, conversation_id, event, asked, event.to_sequence_number)
            asked, replayed = None, []


def _compare(seen: Observations, conversation_id: str, event: Resume, replayed: list[int]) -> Iterator[_Finding]:
    due = seen.membership(conversation_id, event.user_id).due(event.to_sequence_number)
    missed = seen.between(conversation_id, event.cursor, event.to_sequence_number, due)
    if replayed != missed:
        for number in sorted(set(missed) - set(replayed)):
            yield ViolationClass.HOLE, f"{number} was missed and not replayed", number, event
        for number in sorted(set(replayed) - set(missed)):
            if number <= event.cursor:
                yield ViolationClass.DOUBLED, f"{number} was replayed to a cursor of {event.cursor}", number, event
            elif number > event.to_sequence_number:
                detail = f"{number} was replayed though resumed says up to {event.to_sequence_number}"
                yield ViolationClass.OTHER, detail, number, event
    first = missed[0] if missed else event.cursor + 1
    told = event.from_sequence_number
    if told not in (event.cursor + 1, first):
        kind = ViolationClass.HOLE if told > first else ViolationClass.DOUBLED
        yield kind, f"resumed says from {told} where the missed part begins at {first}", told, event


def _known_beyond(
    seen: Observations, heads: _Heads, conversation_id: str, event: Resume | Reset, asked: Resume | None, last: int
) -> Iterator[_Finding]:
    """Yield what somebody had seen stored before the hello and the answer does not reach."""
    if asked is None:
        return
    due = seen.membership(conversation_id, event.user_id).due(last)  # ends with the leaving of one who was out
    known = heads.before(conversation_id, asked.monotonic_ns)
    for number in seen.between(conversation_id, max(last, asked.cursor), known, due):
        yield ViolationClass.HOLE, f"the answer ends at {last}, but {number} was stored before the hello", number, event


class _Heads:
    """The highest number known to be stored, by time: the store must know what a client was told before it asked."""

    def __init__(self, seen: Observations) -> None:
        moments: dict[str, list[tuple[int, int]]] = {}
        for sighting, record in seen.sightings.items():
            moments.setdefault(sighting.conversation_id, []).append((record.monotonic_ns, sighting.sequence_number))
        for claim in seen.all_claims():
            for ack in claim.stored:
                moments.setdefault(claim.conversation_id, []).append((ack.monotonic_ns, ack.sequence_number))
        self._times: dict[str, list[int]] = {}
        self._highest: dict[str, list[int]] = {}
        for conversation_id, pairs in moments.items():
            pairs.sort()
            highest = 0
            prefix: list[int] = []
            for _, number in pairs:
                highest = max(highest, number)
                prefix.append(highest)
            self._times[conversation_id] = [at_ns for at_ns, _ in pairs]
            self._highest[conversation_id] = prefix

    def before(self, conversation_id: str, at_ns: int) -> int:
        """Return the highest number known before a moment; 0 when none."""
        index = bisect_left(self._times.get(conversation_id, []), at_ns)
        return self._highest[conversation_id][index - 1] if index else 0
