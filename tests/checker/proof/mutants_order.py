"""Mutants of order: consistent logs in the wrong order, sessions and pages that show a right log wrongly."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from .. import check_order as order
from ..check_sessions import session_steps
from ..claims import Claim
from ..observations import Observations
from ..records import HistoryPage, Recv, StoreRow
from ..verdicts import ViolationClass
from .breaking import Mutant, Records, changed, of_type, pick, swapped


def one_senders_order_is_inverted(records: Records, rng: Random) -> Records:
    """Two messages a device sent one after the other, without waiting, are numbered the other way round."""
    pairs = [
        (one, other)
        for one, other in _claims(records)
        if (one.user_id, one.device_id) == (other.user_id, other.device_id) and one.effective_invoke_ns < other.first_invoke_ns
    ]
    return _swap(records, pick(rng, pairs))


def real_time_order_is_inverted(records: Records, rng: Random) -> Records:
    pairs = [
        (one, other)
        for one, other in _claims(records)
        if one.user_id != other.user_id and one.first_ok is not None and one.first_ok.monotonic_ns < other.first_invoke_ns
    ]
    return _swap(records, pick(rng, pairs))


def two_live_events_are_swapped(records: Records, rng: Random) -> Records:
    return _swap_deliveries(records, rng, "live")


def two_replayed_events_are_swapped(records: Records, rng: Random) -> Records:
    return _swap_deliveries(records, rng, "replay")


def page_shows_two_entries_swapped(records: Records, rng: Random) -> Records:
    page = pick(rng, [page for page in of_type(records, HistoryPage) if len(page.entries) > 1])
    at = rng.randrange(len(page.entries) - 1)
    first, second = page.entries[at : at + 2]
    return changed(records, page, entries=(*page.entries[:at], second, first, *page.entries[at + 2 :]))


def page_shows_an_entry_twice(records: Records, rng: Random) -> Records:
    page = pick(rng, [page for page in of_type(records, HistoryPage) if page.entries])
    return changed(records, page, entries=(page.entries[0], *page.entries))


def page_leaves_an_entry_out(records: Records, rng: Random) -> Records:
    page = pick(rng, [page for page in of_type(records, HistoryPage) if len(page.entries) > 2])
    gone = rng.randrange(1, len(page.entries) - 1)
    return changed(records, page, entries=page.entries[:gone] + page.entries[gone + 1 :])


def page_starts_late(records: Records, rng: Random) -> Records:
    seen = Observations(records)
    pages = [
        page
        for page in seen.pages
        if page.after_sequence_number is not None
        and len(page.entries) > 1
        and page.entries[0].sequence_number == page.after_sequence_number + 1
        and seen.membership(page.conversation_id, page.user_id).current
        and len(seen.membership(page.conversation_id, page.user_id).spells) == 1
    ]
    page = pick(rng, pages)
    return changed(records, page, entries=page.entries[1:])


def _claims(records: Records) -> list[tuple[Claim, Claim]]:
    """Return pairs of messages of one conversation, the lower number first, at most 15 numbers apart."""
    seen = Observations(records)
    by_place = {seen.places[claim.message_id]: claim for claim in seen.all_claims() if claim.first_ok is not None}
    return [
        (claim, by_place[conversation_id, number + apart])
        for (conversation_id, number), claim in by_place.items()
        for apart in range(1, 15)
        if (conversation_id, number + apart) in by_place
    ]


def _swap(records: Records, pair: tuple[Claim, Claim]) -> Records:
    rows = {row.message_id: row for row in of_type(records, StoreRow)}
    return swapped(records, rows[pair[0].message_id], rows[pair[1].message_id])


def _swap_deliveries(records: Records, rng: Random, source: str) -> Records:
    streams: dict[tuple[str, str], list[Recv]] = {}
    for recv in of_type(records, Recv):
        if recv.source == source:
            streams.setdefault((recv.session_id, recv.conversation_id), []).append(recv)
    first, second = pick(rng, [pair for stream in streams.values() for pair in pairwise(stream)])
    result = list(records)
    result[records.index(first)] = _at(second, first)
    result[records.index(second)] = _at(first, second)
    return result


def _at(recv: Recv, place: Recv) -> Recv:
    return replace(recv, monotonic_ns=place.monotonic_ns, index=place.index)


ORDER_MUTANTS: tuple[Mutant, ...] = (
    Mutant(one_senders_order_is_inverted, ViolationClass.OUT_OF_ORDER, order.sender_order),
    Mutant(real_time_order_is_inverted, ViolationClass.OUT_OF_ORDER, order.real_time_order),
    Mutant(two_live_events_are_swapped, ViolationClass.OUT_OF_ORDER, session_steps),
    Mutant(two_replayed_events_are_swapped, ViolationClass.OUT_OF_ORDER, session_steps),
    Mutant(page_shows_two_entries_swapped, ViolationClass.OUT_OF_ORDER, order.pages_in_order),
    Mutant(page_shows_an_entry_twice, ViolationClass.OUT_OF_ORDER, order.pages_in_order),
    Mutant(page_leaves_an_entry_out, ViolationClass.HOLE, order.pages_in_order),
    Mutant(page_starts_late, ViolationClass.HOLE, order.pages_in_order),
)
