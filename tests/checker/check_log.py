"""Invariants of the log itself: nothing lost, nothing doubled, no holes, content as sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .membership import FOREVER
from .observations import Observations, Place
from .records import MESSAGE_KIND, Record
from .verdicts import Rules, Violation, ViolationClass, labels


def acknowledged_is_stored(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Every acknowledged message is in the store (without a store dump: somebody saw it)."""
    kept = {row.message_id for row in seen.store_rows} if rules.store else seen.places.keys()
    for claim in seen.all_claims():
        if claim.first_ok is not None and claim.message_id not in kept:
            yield Violation(
                ViolationClass.LOST,
                f"acknowledged as {claim.first_ok.state} but not in the store",
                claim.conversation_id,
                claim.message_id,
                claim.first_ok.sequence_number,
                claim.user_id,
                evidence=labels(claim.first_ok),
            )


def seen_is_stored(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """What a reader saw or a sender was told a number for is in the store: nothing appears and then vanishes."""
    if not rules.store or (seen.agreed and len(seen.places) == len(seen.store_rows)):
        return
    kept = {(row.conversation_id, row.sequence_number) for row in seen.store_rows}
    for place, _, record in _placements(seen):
        if place not in kept:
            kept.add(place)
            yield Violation(
                ViolationClass.LOST,
                "was seen or acknowledged at this number, where the store has nothing",
                *_ids(place, record),
                evidence=labels(record),
            )


def stored_is_read_by_members(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """At the end every current member reads, by a fresh session, every entry that concerns them."""
    if not rules.drain:
        return
    read: dict[tuple[str, str, str], set[int]] = {}
    for page in seen.pages:
        if page.drain:
            numbers = read.setdefault((page.conversation_id, page.user_id, page.session_id), set())
            numbers.update(entry.sequence_number for entry in page.entries)
    drained = {(conversation_id, user_id) for conversation_id, user_id, _ in read}
    for (conversation_id, user_id), membership in seen.memberships.items():
        if membership.current and (conversation_id, user_id) not in drained and conversation_id in seen.known:
            yield Violation(ViolationClass.LOST, "a member did not read the history at the end", conversation_id, user_id=user_id)
    for (conversation_id, user_id, session_id), numbers in read.items():
        membership = seen.membership(conversation_id, user_id)
        if not membership.current:
            continue
        for number in sorted({*seen.between(conversation_id, 0, FOREVER, membership.due(FOREVER))} - numbers):
            yield Violation(
                ViolationClass.LOST,
                "is in the log but a member could not read it at the end",
                conversation_id,
                sequence_number=number,
                user_id=user_id,
                session_id=session_id,
            )


def once_in_time_series(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """The time series holds every stored entry exactly once."""
    if not rules.time_series:
        return
    for message_id, place in seen.places.items():
        rows = seen.series_rows.get(message_id, [])
        if len(rows) != 1:
            yield Violation(
                ViolationClass.DOUBLED if rows else ViolationClass.LOST,
                f"is {len(rows)} times in the time series",
                place[0],
                message_id,
                place[1],
                evidence=labels(*rows),
            )


def one_place_per_message(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Acknowledgements, deliveries, pages, store and time series agree on where a message is."""
    if seen.agreed:
        return
    first: dict[str, tuple[Place, Record]] = {}
    for place, message_id, record in _placements(seen):
        known = first.setdefault(message_id, (place, record))
        if known[0] != place:
            yield Violation(
                ViolationClass.DOUBLED,
                f"has number {known[0][1]} in {known[0][0]} and number {place[1]} in {place[0]}",
                place[0],
                message_id,
                place[1],
                evidence=labels(known[1], record),
            )
    copies = Counter((row.conversation_id, row.sequence_number) for row in seen.store_rows)
    for place, count in copies.items():
        if count > 1:
            yield Violation(ViolationClass.DOUBLED, f"is {count} times in the store", place[0], sequence_number=place[1])


def one_message_per_place(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Everybody sees the same message under a number: there is one order, not two."""
    if seen.agreed:
        return
    first: dict[Place, tuple[str, Record]] = {}
    for place, message_id, record in _placements(seen):
        known = first.setdefault(place, (message_id, record))
        if known[0] != message_id:
            yield Violation(
                ViolationClass.DOUBLED,
                f"two messages have this number: {known[0]} and {message_id}",
                place[0],
                message_id,
                place[1],
                evidence=labels(known[1], record),
            )


def no_holes(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """The numbers of a conversation are 1, 2, 3 … up to the highest anybody knows."""
    numbers: dict[str, Iterable[int]] = dict(seen.known)
    if rules.store:
        stored: dict[str, set[int]] = {}
        for row in seen.store_rows:
            stored.setdefault(row.conversation_id, set()).add(row.sequence_number)
        for conversation_id, known in seen.known.items():
            # The highest known number bounds the log, so that a tail missing from the store is a hole too.
            numbers[conversation_id] = sorted(stored.get(conversation_id, set()) | {known[-1] + 1})
    for conversation_id, present in numbers.items():
        previous = 0
        for number in present:
            if number > previous + 1:
                gap = f"{previous + 1}" if number == previous + 2 else f"{previous + 1} to {number - 1}"
                yield Violation(
                    ViolationClass.HOLE,
                    f"nothing has number {gap}",
                    conversation_id,
                    sequence_number=previous + 1,
                )
            previous = number


def content_intact(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Every reader and the store have the content the sender sent; readers of a system entry have the same one."""
    system: dict[str, tuple[str, Record]] = {}
    for sighting, record in seen.unusual:
        if sighting.kind == MESSAGE_KIND:
            expected = {
                claim.first.body_sha256
                for claim in seen.claims.get(sighting.message_id, ())
                if claim.conversation_id == sighting.conversation_id and claim.user_id == sighting.sender_user_id
            }
            evidence = labels(record)
        else:
            body, witness = system.setdefault(sighting.message_id, (sighting.body_sha256, record))
            expected = {body}
            evidence = labels(record) if witness is record else labels(witness, record)
        if expected and sighting.body_sha256 not in expected:
            yield Violation(
                ViolationClass.OTHER,
                f"content has SHA-256 {sighting.body_sha256[:12]}… instead of {min(expected)[:12]}…",
                sighting.conversation_id,
                sighting.message_id,
                sighting.sequence_number,
                sighting.sender_user_id,
                getattr(record, "session_id", ""),
                evidence,
            )


def _placements(seen: Observations) -> Iterator[tuple[Place, str, Record]]:
    """Yield every distinct statement "this message has this number", with who said it."""
    for sighting, record in seen.sightings.items():
        yield (sighting.conversation_id, sighting.sequence_number), sighting.message_id, record
    for claim in seen.all_claims():
        for ack in claim.stored:
            yield (claim.conversation_id, ack.sequence_number), claim.message_id, ack
    for rows in seen.series_rows.values():
        for row in rows:
            yield (row.conversation_id, row.sequence_number), row.message_id, row


def _ids(place: Place, record: Record) -> tuple[str, str, int, str, str]:
    return (
        place[0],
        getattr(record, "message_id", ""),
        place[1],
        getattr(record, "user_id", ""),
        getattr(record, "session_id", ""),
    )
