"""Invariants of who may see and say what: no phantoms, nothing refused becomes visible, members only, one tenant."""

from __future__ import annotations

from collections.abc import Iterator

from .membership import covers
from .observations import Observations
from .records import MESSAGE_KIND, Record, Recv, StoreRow, TimeseriesRow
from .verdicts import Rules, Violation, ViolationClass, labels


def no_phantom(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Every message anybody sees was sent by the one it names, into the conversation it is in."""
    for sighting, record in seen.unusual:
        if sighting.kind != MESSAGE_KIND:
            continue
        claims = seen.claims.get(sighting.message_id, ())
        if any(
            claim.conversation_id == sighting.conversation_id and claim.user_id == sighting.sender_user_id for claim in claims
        ):
            continue
        detail = "was sent by somebody else or elsewhere" if claims else "was never sent by anybody"
        yield _foreign(detail, sighting.conversation_id, sighting.message_id, sighting.sequence_number, record)
    if not rules.store:
        return
    kept = {row.message_id for row in seen.store_rows}
    for message_id, rows in seen.series_rows.items():
        if message_id not in kept:
            detail = "is in the time series but not in the store"
            yield _foreign(detail, rows[0].conversation_id, message_id, rows[0].sequence_number, rows[0])


def refused_is_invisible(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """What was refused for certain, in every attempt, is never seen by anybody."""
    for sighting, record in seen.unusual:
        claims = [
            claim
            for claim in seen.claims.get(sighting.message_id, ())
            if claim.conversation_id == sighting.conversation_id
            and claim.user_id == sighting.sender_user_id
            and claim.first.body_sha256 == sighting.body_sha256
        ]
        if claims and all(claim.never_happened for claim in claims):
            yield _foreign(
                "is visible though every attempt to send it was refused",
                sighting.conversation_id,
                sighting.message_id,
                sighting.sequence_number,
                record,
            )


def members_only(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """Entries reach members only: live from joining to leaving, by replay or page from the first readable one."""
    for (_, conversation_id), stream in seen.streams.items():
        membership = seen.membership(conversation_id, stream[0].user_id)
        for event in stream:
            if not isinstance(event, Recv):
                continue
            ranges = membership.spells if event.source == "live" else membership.readable
            if not covers(ranges, event.sequence_number):
                detail = f"reached ({event.source}) somebody who was not a member then"
                yield _foreign(detail, conversation_id, event.message_id, event.sequence_number, event)
    for page in seen.pages:
        ranges = seen.membership(page.conversation_id, page.user_id).readable
        for entry in page.entries:
            if not covers(ranges, entry.sequence_number):
                detail = "was read by somebody who was not a member then"
                yield _foreign(detail, page.conversation_id, entry.message_id, entry.sequence_number, page)


def senders_are_members(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A message in the log is by a member; one first sent well after its sender's leaving was acknowledged is not.

    Membership is checked when a message is accepted, so one already under way may be numbered after the leaving.
    """
    grace_ns = int(rules.leave_grace_seconds * 1e9)
    for claim in seen.all_claims():
        place = seen.places.get(claim.message_id)
        if place is None or place[0] != claim.conversation_id or claim.never_happened:
            continue
        spells = seen.membership(claim.conversation_id, claim.user_id).spells
        if covers(spells, place[1]):
            continue
        left = [
            leave
            for leave in seen.leaves.get((claim.conversation_id, claim.user_id), ())
            if leave.monotonic_ns + grace_ns < claim.first_invoke_ns
        ]
        if left or not spells or place[1] < spells[0][0]:
            detail = "is in the log though its sender was not a member"
            yield _foreign(detail, claim.conversation_id, claim.message_id, place[1], claim.first)


def one_tenant(seen: Observations, rules: Rules) -> Iterator[Violation]:
    """A conversation is of one tenant, in store and time series, and only that tenant's users see it."""
    tenants: dict[str, tuple[str, Record]] = {}
    rows: list[StoreRow | TimeseriesRow] = [*seen.store_rows]
    rows += [row for copies in seen.series_rows.values() for row in copies]
    for row in rows:
        tenant, _ = tenants.setdefault(row.conversation_id, (row.tenant_id, row))
        if tenant != row.tenant_id:
            detail = f"is kept under tenant {row.tenant_id}, its conversation under {tenant}"
            yield _foreign(detail, row.conversation_id, row.message_id, row.sequence_number, row)
    readers: dict[tuple[str, str], Record] = {key: stream[0] for key, stream in seen.streams.items()}
    for page in seen.pages:
        readers.setdefault((page.session_id, page.conversation_id), page)
    for (session_id, conversation_id), record in readers.items():
        session = seen.session_user(session_id)
        known = tenants.get(conversation_id)
        if session is not None and known is not None and session.tenant_id != known[0]:
            detail = f"was seen by a user of tenant {session.tenant_id}, it belongs to {known[0]}"
            yield _foreign(detail, conversation_id, "", 0, record)


def _foreign(detail: str, conversation_id: str, message_id: str, number: int, record: Record) -> Violation:
    return Violation(
        ViolationClass.FOREIGN,
        detail,
        conversation_id,
        message_id,
        number,
        getattr(record, "user_id", ""),
        getattr(record, "session_id", ""),
        labels(record),
    )
