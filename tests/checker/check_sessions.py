"""Invariants of one socket: steps of one, each entry once, nothing kept from those who stayed to the end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from .membership import FOREVER
from .observations import Observations, Stream
from .records import Recv, Reset, Resume
from .verdicts import Rules, Violation, ViolationClass, labels


def session_steps(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """In a session a conversation's entries arrive in steps of one, from the cursor given or from the first seen."""
    for (session_id, conversation_id), stream in seen.streams.items():
        last: int | None = None
        for event in stream:
            if type(event) is Recv:
                if last is not None and event.sequence_number != last + 1:
                    yield from _explain_steps(seen, session_id, conversation_id, stream)
                    break
                last = event.sequence_number
            elif isinstance(event, Reset):
                last = event.last_sequence_number
            elif isinstance(event, Resume) and event.phase == "invoke":
                last = event.cursor


def _explain_steps(seen: Observations, session_id: str, conversation_id: str, stream: Stream) -> Iterator[Violation]:
    """Name each step that is not +1; a jump over entries the user was not to see is none."""
    arrivals = {event.sequence_number for event in stream if isinstance(event, Recv)}
    replayed = [event.sequence_number for event in stream if isinstance(event, Recv) and event.source == "replay"]
    arrived: set[int] = set()
    floor = last = -1
    for event in stream:
        if isinstance(event, Reset):
            floor = last = event.last_sequence_number
        elif isinstance(event, Resume):
            if event.phase == "invoke":
                floor = last = event.cursor
        else:
            number = event.sequence_number
            membership = seen.membership(conversation_id, event.user_id)
            ranges = membership.spells if event.source == "live" else membership.due(max(replayed))
            found: list[tuple[ViolationClass, str, int]] = []
            if number in arrived:
                found.append((ViolationClass.DOUBLED, f"{number} arrived again", number))
            elif number <= floor:
                found.append((ViolationClass.DOUBLED, f"{number} arrived though the client had up to {floor}", number))
            elif number < last:
                found.append((ViolationClass.OUT_OF_ORDER, f"{number} arrived after {last}", number))
            elif last >= 0:
                found += [
                    (ViolationClass.HOLE, f"{missing} was left out between {last} and {number}", missing)
                    for missing in seen.between(conversation_id, last, number - 1, ranges)
                    if missing not in arrivals
                ]
            for violation_class, detail, about in found:
                yield Violation(
                    violation_class,
                    f"{event.source}: {detail}",
                    conversation_id,
                    event.message_id if about == number else "",
                    about,
                    event.user_id,
                    session_id,
                    labels(event),
                )
            arrived.add(number)
            last = max(last, number)


def shown_once_per_session(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A session shows a message once, whatever number it comes under."""
    for (session_id, conversation_id), stream in seen.streams.items():
        events = [event for event in stream if isinstance(event, Recv)]
        if len({event.message_id for event in events}) == len(events):
            continue
        first: dict[str, Recv] = {}
        for event in events:
            before = first.setdefault(event.message_id, event)
            if before is not event:
                yield Violation(
                    ViolationClass.DOUBLED,
                    f"came to one session as {before.sequence_number} and as {event.sequence_number}",
                    conversation_id,
                    event.message_id,
                    event.sequence_number,
                    event.user_id,
                    session_id,
                    labels(before, event),
                )


def settled_session_saw_all(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A session that stayed to the end saw everything due to it: no reader goes deaf without a word.

    Due is what follows the end of its resume or its first event, and every message first sent after it was attached.
    What is missing between two arrivals is a matter of `session_steps`; here it is the beginning and the end.
    """
    if not rules.settled:
        return
    due = _Due(seen)
    conversations: dict[str, list[str]] = {}
    for conversation_id, user_id in seen.memberships:
        conversations.setdefault(user_id, []).append(conversation_id)
    for session_id, phases in seen.sessions.items():
        closed = phases.get("close")
        if closed is None or not closed.settled:
            continue
        attached = phases.get("attached")
        for conversation_id in conversations.get(closed.user_id, ()):
            stream = seen.streams.get((session_id, conversation_id), [])
            numbers = [event.sequence_number for event in stream if isinstance(event, Recv)]
            low, high = (min(numbers), max(numbers)) if numbers else (FOREVER, -1)
            after = _resumed_after(stream)
            if after is None:
                first_due = due.first_after(conversation_id, attached.monotonic_ns) if attached else FOREVER
                after = min(first_due, low) - 1
            # The entry that ends a membership may reach the one it removes; nobody promises that it does.
            spells = tuple(
                (first, last - (last < FOREVER)) for first, last in seen.membership(conversation_id, closed.user_id).spells
            )
            missing = seen.between(conversation_id, after, low - 1, spells)
            missing += seen.between(conversation_id, max(after, high, low - 1), FOREVER, spells)
            for number in missing:
                yield Violation(
                    ViolationClass.LOST,
                    "never came to a session that was attached to the end",
                    conversation_id,
                    sequence_number=number,
                    user_id=closed.user_id,
                    session_id=session_id,
                    evidence=labels(closed),
                )


def _resumed_after(stream: Stream) -> int | None:
    """Return the position from which the server promised live traffic; None when the session gave no cursor."""
    after: int | None = None
    for event in stream:
        if isinstance(event, Reset):
            after = event.last_sequence_number
        elif isinstance(event, Resume) and event.phase == "ok":
            after = event.to_sequence_number
    return after


class _Due:
    """For each conversation: the lowest number among messages first sent after a moment."""

    def __init__(self, seen: Observations) -> None:
        sent: dict[str, list[tuple[int, int]]] = {}
        for claim in seen.all_claims():
            place = seen.places.get(claim.message_id)
            if place is not None and place[0] == claim.conversation_id and not claim.never_happened:
                sent.setdefault(place[0], []).append((claim.first_invoke_ns, place[1]))
        self._times: dict[str, list[int]] = {}
        self._lowest: dict[str, list[int]] = {}
        for conversation_id, pairs in sent.items():
            pairs.sort()
            lowest = FOREVER
            suffix: list[int] = []
            for _, number in reversed(pairs):
                lowest = min(lowest, number)
                suffix.append(lowest)
            self._times[conversation_id] = [at_ns for at_ns, _ in pairs]
            self._lowest[conversation_id] = suffix[::-1]

    def first_after(self, conversation_id: str, at_ns: int) -> int:
        """Return that number, or FOREVER when nothing was sent after the moment."""
        index = bisect_right(self._times.get(conversation_id, []), at_ns)
        lowest = self._lowest.get(conversation_id, [])
        return lowest[index] if index < len(lowest) else FOREVER
