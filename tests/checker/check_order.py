"""Invariants of order: what a sender meant, what happened first, what a page shows (sessions: `check_sessions`)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import pairwise

from .claims import Claim
from .observations import Observations
from .records import HistoryPage, Send
from .verdicts import Rules, Violation, ViolationClass, labels


def sender_order(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """One device's messages have the order in which it sent them.

    A message that was tried again before it was acknowledged may come after anything sent before that last try:
    its first try may never have arrived. So for each message b only those a count whose effective invocation was before
    b's.
    """
    for (conversation_id, user_id, _), claims in _by(seen, with_device=True).items():
        claims.sort(key=lambda placed: placed[1].client_sequence)
        if all(earlier[0] < later[0] for earlier, later in pairwise(claims)):
            continue
        waiting: list[tuple[int, int, str]] = []
        highest = (0, "")
        for number, claim in claims:
            while waiting and waiting[0][0] < claim.first_invoke_ns:
                _, passed, message_id = heapq.heappop(waiting)
                highest = max(highest, (passed, message_id))
            if highest[0] > number:
                yield Violation(
                    ViolationClass.OUT_OF_ORDER,
                    f"has number {number}, but {highest[1]}, sent before it by the same device, has {highest[0]}",
                    conversation_id,
                    claim.message_id,
                    number,
                    user_id,
                    evidence=labels(seen.claims[highest[1]][0].first, claim.first),
                )
            heapq.heappush(waiting, (claim.effective_invoke_ns, number, claim.message_id))


def real_time_order(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A message acknowledged before another one was first sent has the lower number."""
    for (conversation_id, _, _), claims in _by(seen, with_device=False).items():
        claims.sort(key=lambda placed: placed[0], reverse=True)
        earliest: Send | None = None  # the first acknowledgement among the messages with higher numbers
        for number, claim in claims:
            if earliest is not None and earliest.monotonic_ns < claim.first_invoke_ns:
                yield Violation(
                    ViolationClass.OUT_OF_ORDER,
                    f"has number {number}, but was first sent after {earliest.message_id}, which has a higher one, "
                    "had been acknowledged",
                    conversation_id,
                    claim.message_id,
                    number,
                    claim.user_id,
                    evidence=labels(earliest, claim.first),
                )
            ok = claim.first_ok
            if ok is not None and (earliest is None or ok.monotonic_ns < earliest.monotonic_ns):
                earliest = ok


def pages_in_order(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A page of history goes on from where it was asked and leaves out nothing that exists and may be read."""
    for page in seen.pages:
        numbers = [entry.sequence_number for entry in page.entries]
        if not numbers:
            continue
        if page.before_sequence_number is not None:
            numbers.reverse()
        for low, high in pairwise(numbers):
            if high <= low:
                detail = f"a page shows {low} and {high} in the wrong order or twice"
                yield _page_violation(ViolationClass.OUT_OF_ORDER, detail, page, low)
        first = min(numbers) if page.after_sequence_number is None else page.after_sequence_number + 1
        shown = set(numbers)
        due = seen.membership(page.conversation_id, page.user_id).due(max(numbers))
        for number in seen.between(page.conversation_id, first - 1, max(numbers), due):
            if number not in shown:
                detail = f"a page from {first} to {max(numbers)} leaves {number} out"
                yield _page_violation(ViolationClass.HOLE, detail, page, number)


def _page_violation(violation_class: ViolationClass, detail: str, page: HistoryPage, number: int) -> Violation:
    return Violation(
        violation_class,
        detail,
        page.conversation_id,
        sequence_number=number,
        user_id=page.user_id,
        session_id=page.session_id,
        evidence=labels(page),
    )


def _by(seen: Observations, *, with_device: bool) -> dict[tuple[str, str, str], list[tuple[int, Claim]]]:
    """Group the claims that have a place by conversation, and by user and device when asked."""
    groups: dict[tuple[str, str, str], list[tuple[int, Claim]]] = {}
    for claim in seen.all_claims():
        place = seen.places.get(claim.message_id)
        if place is None or place[0] != claim.conversation_id or claim.never_happened:
            continue
        key = (claim.conversation_id, claim.user_id, claim.device_id) if with_device else (claim.conversation_id, "", "")
        groups.setdefault(key, []).append((place[1], claim))
    return groups
