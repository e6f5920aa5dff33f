"""Mutants of access: phantoms, visible refusals, strangers and former members, crossed tenants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from .. import check_access as access
from ..claims import CONFLICT_REASON
from ..membership import covers
from ..observations import Observations
from ..records import MESSAGE_KIND, Entry, HistoryPage, Leave, Recv, Send, Session, StoreRow, TimeseriesRow
from ..verdicts import ViolationClass
from .breaking import Mutant, Records, after, changed, entry_of, everywhere, messages, of_type, pick


def delivery_has_a_forged_id(records: Records, rng: Random) -> Records:
    return changed(records, _message_delivery(records, rng), message_id="m-forged")


def delivery_names_another_sender(records: Records, rng: Random) -> Records:
    return changed(records, _message_delivery(records, rng), sender_user_id="u-forged")


def message_nobody_sent_is_everywhere(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    return everywhere(
        [record for record in records if not (isinstance(record, Send) and record.message_id == row.message_id)],
        row.conversation_id,
        lambda entry: entry._replace(message_id="m-forged") if entry.message_id == row.message_id else entry,
    )


def message_comes_in_another_conversation(records: Records, rng: Random) -> Records:
    recv = _message_delivery(records, rng)
    others = [other for other in of_type(records, Recv) if other.conversation_id != recv.conversation_id]
    return changed(records, pick(rng, others), message_id=recv.message_id, kind=MESSAGE_KIND)


def time_series_has_a_phantom(records: Records, rng: Random) -> Records:
    row = pick(rng, of_type(records, TimeseriesRow))
    return after(records, row, replace(row, message_id="m-forged"))


def refused_message_is_delivered(records: Records, rng: Random) -> Records:
    recv = _message_delivery(records, rng)
    claim = pick(
        rng,
        [
            claim
            for claim in Observations(records).all_claims()
            if claim.never_happened and claim.conversation_id == recv.conversation_id
        ],
    )
    return changed(
        records,
        recv,
        message_id=claim.message_id,
        sender_user_id=claim.user_id,
        body_sha256=claim.first.body_sha256,
    )


def refused_message_is_stored(records: Records, rng: Random) -> Records:
    """The sender was told no for certain, and all the others read it."""
    row = pick(rng, messages(records))
    return [
        replace(record, phase="fail", state="", sequence_number=0, reason="RATE_LIMITED")
        if isinstance(record, Send) and record.message_id == row.message_id and record.phase != "invoke"
        else record
        for record in _one_attempt(records, row.message_id)
    ]


def retry_is_refused_as_a_conflict(records: Records, rng: Random) -> Records:
    """The sender's own repetition is taken for somebody else's, so it is told no while everybody reads the message."""
    uncertain = [claim for claim in Observations(records).all_claims() if claim.uncertain and claim.first_ok]
    claim = pick(rng, uncertain)
    return [
        replace(record, phase="fail", state="", sequence_number=0, reason=CONFLICT_REASON)
        if isinstance(record, Send) and record.message_id == claim.message_id and record.phase == "ok"
        else record
        for record in records
    ]


def stranger_receives(records: Records, rng: Random) -> Records:
    seen = Observations(records)
    victims = [
        (recv, session)
        for recv in of_type(records, Recv)[:: rng.randint(20, 40)]
        for session in of_type(records, Session)
        if session.phase == "attached" and not seen.membership(recv.conversation_id, session.user_id).spells
    ]
    recv, session = pick(rng, victims)
    return _deliver(records, entry_of(recv), recv.conversation_id, session)


def former_member_receives(records: Records, rng: Random) -> Records:
    """The stream is not cut at the leaving."""
    return _receive_outside(records, rng, lambda first, last: last + 1)


def live_event_from_before_the_joining(records: Records, rng: Random) -> Records:
    return _receive_outside(records, rng, lambda first, last: first - 1)


def new_member_reads_what_is_not_theirs(records: Records, rng: Random) -> Records:
    seen = Observations(records)
    rows = {(row.conversation_id, row.sequence_number): row for row in seen.store_rows}
    victims = []
    for page in of_type(records, HistoryPage):
        readable = seen.membership(page.conversation_id, page.user_id).readable
        row = rows.get((page.conversation_id, readable[0][0] - 1)) if readable else None
        if row is not None and page.entries:
            victims.append((page, row))
    page, row = pick(rng, victims)
    return changed(records, page, entries=(entry_of(row), *page.entries))


def stranger_sends(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    sent = [
        replace(record, user_id="u-stranger", device_id="u-stranger-d0")
        if isinstance(record, Send) and record.message_id == row.message_id
        else record
        for record in records
    ]
    return everywhere(
        sent,
        row.conversation_id,
        lambda entry: entry._replace(sender_user_id="u-stranger") if entry.message_id == row.message_id else entry,
    )


def former_member_sends(records: Records, rng: Random) -> Records:
    """Ten seconds after the leaving was acknowledged a message of the former member is still accepted."""
    seen = Observations(records)
    leave = pick(
        rng,
        [leave for leave in of_type(records, Leave) if not seen.membership(leave.conversation_id, leave.user_id).current],
    )
    rows = [row for row in seen.store_rows if row.conversation_id == leave.conversation_id]
    head = max(rows, key=lambda row: row.sequence_number)
    row = replace(head, message_id="m-late", sender_user_id=leave.user_id, sequence_number=head.sequence_number + 1)
    row = replace(row, kind=MESSAGE_KIND, subject_user_id="")
    invoke = Send(
        phase="invoke",
        conversation_id=row.conversation_id,
        message_id=row.message_id,
        user_id=leave.user_id,
        device_id=f"{leave.user_id}-d0",
        client_sequence=10**6,
        body_sha256=row.body_sha256,
        monotonic_ns=records[-1].monotonic_ns + 10**10,
    )
    return [*records, invoke, replace(invoke, phase="ok", state="accepted"), row]


def event_crosses_tenants(records: Records, rng: Random) -> Records:
    recv = _message_delivery(records, rng)
    tenants = {row.conversation_id: row.tenant_id for row in of_type(records, StoreRow)}
    others = [
        session
        for session in of_type(records, Session)
        if session.phase == "attached" and session.tenant_id != tenants[recv.conversation_id]
    ]
    return _deliver(records, entry_of(recv), recv.conversation_id, pick(rng, others))


def page_crosses_tenants(records: Records, rng: Random) -> Records:
    page = pick(rng, of_type(records, HistoryPage))
    tenants = {row.conversation_id: row.tenant_id for row in of_type(records, StoreRow)}
    others = [
        session
        for session in of_type(records, Session)
        if session.phase == "open" and session.tenant_id != tenants.get(page.conversation_id, session.tenant_id)
    ]
    session = pick(rng, others)
    return after(records, page, replace(page, session_id=session.session_id, user_id=session.user_id, drain=False))


def store_row_has_another_tenant(records: Records, rng: Random) -> Records:
    return changed(records, pick(rng, of_type(records, StoreRow)), tenant_id="t-other")


def time_series_row_has_another_tenant(records: Records, rng: Random) -> Records:
    return changed(records, pick(rng, of_type(records, TimeseriesRow)), tenant_id="t-other")


def _message_delivery(records: Records, rng: Random) -> Recv:
    return pick(rng, [recv for recv in of_type(records, Recv) if recv.kind == MESSAGE_KIND])


def _one_attempt(records: Records, message_id: str) -> Records:
    """Keep the first invocation and the last answer of a message."""
    sends = [send for send in of_type(records, Send) if send.message_id == message_id]
    own = [send for send in sends if send.user_id == sends[0].user_id]
    kept = (own[0], own[-1])
    return [record for record in records if not any(record is send for send in own) or record in kept]


def _deliver(records: Records, entry: Entry, conversation_id: str, session: Session) -> Records:
    recv = Recv(
        source="live",
        session_id=session.session_id,
        user_id=session.user_id,
        conversation_id=conversation_id,
        **entry._asdict(),
    )
    return after(records, session, recv)


def _receive_outside(records: Records, rng: Random, number: Callable[[int, int], int]) -> Records:
    seen = Observations(records)
    rows = {(row.conversation_id, row.sequence_number): row for row in seen.store_rows}
    attached = {session.user_id: session for session in of_type(records, Session) if session.phase == "attached"}
    victims = []
    for (conversation_id, user_id), membership in seen.memberships.items():
        first, last = membership.spells[-1]
        row = rows.get((conversation_id, number(first, last)))
        if row is not None and user_id in attached and not covers(membership.spells, row.sequence_number):
            victims.append((row, attached[user_id]))
    row, session = pick(rng, victims)
    return _deliver(records, entry_of(row), row.conversation_id, session)


ACCESS_MUTANTS: tuple[Mutant, ...] = (
    Mutant(delivery_has_a_forged_id, ViolationClass.FOREIGN, access.no_phantom),
    Mutant(delivery_names_another_sender, ViolationClass.FOREIGN, access.no_phantom),
    Mutant(message_nobody_sent_is_everywhere, ViolationClass.FOREIGN, access.no_phantom),
    Mutant(message_comes_in_another_conversation, ViolationClass.FOREIGN, access.no_phantom),
    Mutant(time_series_has_a_phantom, ViolationClass.FOREIGN, access.no_phantom),
    Mutant(refused_message_is_delivered, ViolationClass.FOREIGN, access.refused_is_invisible),
    Mutant(refused_message_is_stored, ViolationClass.FOREIGN, access.refused_is_invisible),
    Mutant(retry_is_refused_as_a_conflict, ViolationClass.FOREIGN, access.refused_is_invisible),
    Mutant(stranger_receives, ViolationClass.FOREIGN, access.members_only),
    Mutant(former_member_receives, ViolationClass.FOREIGN, access.members_only),
    Mutant(live_event_from_before_the_joining, ViolationClass.FOREIGN, access.members_only),
    Mutant(new_member_reads_what_is_not_theirs, ViolationClass.FOREIGN, access.members_only),
    Mutant(stranger_sends, ViolationClass.FOREIGN, access.senders_are_members),
    Mutant(former_member_sends, ViolationClass.FOREIGN, access.senders_are_members),
    Mutant(event_crosses_tenants, ViolationClass.FOREIGN, access.one_tenant),
    Mutant(page_crosses_tenants, ViolationClass.FOREIGN, access.one_tenant),
    Mutant(store_row_has_another_tenant, ViolationClass.FOREIGN, access.one_tenant),
    Mutant(time_series_row_has_another_tenant, ViolationClass.FOREIGN, access.one_tenant),
)
