"""Mutants of the log: lost, doubled, full of holes, with other content."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from .. import check_log as log
from ..check_sessions import shown_once_per_session
from ..observations import Observations
from ..records import MESSAGE_KIND, Entry, HistoryPage, Recv, Send, StoreRow, TimeseriesRow
from ..verdicts import ViolationClass
from .breaking import Mutant, Records, after, changed, everywhere, messages, of_type, pick, without


def store_forgets_acknowledged(records: Records, rng: Random) -> Records:
    return without(records, pick(rng, messages(records)))


def store_forgets_the_tail(records: Records, rng: Random) -> Records:
    victim = pick(rng, messages(records))
    rows = [row for row in of_type(records, StoreRow) if row.conversation_id == victim.conversation_id]
    return without(records, *(row for row in rows if row.sequence_number >= victim.sequence_number))


def system_forgets_acknowledged_everywhere(records: Records, rng: Random) -> Records:
    """The accepted message never reached the log: nobody sees a hole, only its sender's acknowledgement remains."""
    accepted = [
        row
        for row in messages(records)
        if not any(send.message_id == row.message_id and send.state == "stored" for send in of_type(records, Send))
    ]
    victim = pick(rng, accepted)
    kept: Records = []
    for record in records:
        if isinstance(record, HistoryPage):
            entries = tuple(entry for entry in record.entries if entry.message_id != victim.message_id)
            kept.append(replace(record, entries=entries))
        elif isinstance(record, Send) or getattr(record, "message_id", "") != victim.message_id:
            kept.append(record)
    return renumbered(kept, victim.conversation_id, victim.sequence_number, -1)


def store_forgets_what_was_seen(records: Records, rng: Random) -> Records:
    rows = [row for row in of_type(records, StoreRow) if row.kind != MESSAGE_KIND]
    return without(records, pick(rng, rows))


def one_reader_cannot_read(records: Records, rng: Random) -> Records:
    page = pick(rng, [page for page in of_type(records, HistoryPage) if page.drain and page.entries])
    gone = rng.randrange(len(page.entries))
    return changed(records, page, entries=page.entries[:gone] + page.entries[gone + 1 :])


def one_member_never_drains(records: Records, rng: Random) -> Records:
    user_id = pick(rng, [page.user_id for page in of_type(records, HistoryPage) if page.drain and page.entries])
    pages = [page for page in of_type(records, HistoryPage) if page.drain and page.user_id == user_id]
    return without(records, *pages)


def time_series_forgets(records: Records, rng: Random) -> Records:
    return without(records, pick(rng, of_type(records, TimeseriesRow)))


def time_series_doubles(records: Records, rng: Random) -> Records:
    row = pick(rng, of_type(records, TimeseriesRow))
    return after(records, row, row)


def store_has_message_twice(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    rows = [other for other in of_type(records, StoreRow) if other.conversation_id == row.conversation_id]
    return after(records, row, replace(row, sequence_number=max(other.sequence_number for other in rows) + 1))


def store_has_number_twice(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    rows = [other for other in of_type(records, StoreRow) if other.conversation_id == row.conversation_id]
    other = pick(rng, [other for other in rows if other is not row])
    return changed(records, row, sequence_number=other.sequence_number)


def two_readers_disagree(records: Records, rng: Random) -> Records:
    recvs = [recv for recv in of_type(records, Recv) if recv.kind == MESSAGE_KIND]
    one = pick(rng, recvs)
    other = pick(
        rng,
        [
            recv
            for recv in recvs
            if (recv.session_id, recv.conversation_id) == (one.session_id, one.conversation_id) and recv is not one
        ],
    )
    first = changed(records, one, sequence_number=other.sequence_number)
    return changed(first, other, sequence_number=one.sequence_number)


def acknowledged_under_another_number(records: Records, rng: Random) -> Records:
    ack = pick(rng, [send for send in of_type(records, Send) if send.state == "stored" and send.sequence_number > 1])
    return changed(records, ack, sequence_number=ack.sequence_number - 1)


def retry_gets_a_second_number(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    head = max(seen for seen in Observations(records).known[row.conversation_id])
    again = [send for send in of_type(records, Send) if send.message_id == row.message_id and send.phase == "ok"]
    return after(records, again[-1], replace(again[-1], state="stored", sequence_number=head + 1))


def time_series_has_another_number(records: Records, rng: Random) -> Records:
    row = pick(rng, of_type(records, TimeseriesRow))
    return changed(records, row, sequence_number=row.sequence_number + 1)


def one_session_shows_a_message_under_two_numbers(records: Records, rng: Random) -> Records:
    one = pick(rng, [recv for recv in of_type(records, Recv) if recv.kind == MESSAGE_KIND])
    same = [
        recv
        for recv in of_type(records, Recv)
        if (recv.session_id, recv.conversation_id) == (one.session_id, one.conversation_id) and recv is not one
    ]
    return changed(records, pick(rng, same), message_id=one.message_id, sender_user_id=one.sender_user_id)


def numbers_skip_one(records: Records, rng: Random) -> Records:
    """A counter was taken and its message never written; everybody agrees about all the others."""
    row = pick(rng, messages(records))
    return renumbered(records, row.conversation_id, row.sequence_number - 1, 1)


def one_delivery_has_other_content(records: Records, rng: Random) -> Records:
    recv = pick(rng, [recv for recv in of_type(records, Recv) if recv.kind == MESSAGE_KIND])
    return changed(records, recv, body_sha256="0" * 64)


def store_has_other_content(records: Records, rng: Random) -> Records:
    row = pick(rng, messages(records))
    return everywhere(
        records,
        row.conversation_id,
        lambda entry: entry._replace(body_sha256="0" * 64) if entry.message_id == row.message_id else entry,
    )


def one_page_has_other_content(records: Records, rng: Random) -> Records:
    page = pick(rng, [page for page in of_type(records, HistoryPage) if page.entries])
    first, *rest = page.entries
    return changed(records, page, entries=(first._replace(body_sha256="0" * 64), *rest))


def readers_differ_on_a_system_entry(records: Records, rng: Random) -> Records:
    recv = pick(rng, [recv for recv in of_type(records, Recv) if recv.kind != MESSAGE_KIND])
    return changed(records, recv, body_sha256="0" * 64)


def renumbered(records: Records, conversation_id: str, above: int, by: int) -> Records:
    """Shift all numbers above one, in every record of a conversation."""

    def shift(number: int) -> int:
        return number + by if number > above else number

    result: Records = []
    for record in records:
        if getattr(record, "conversation_id", "") != conversation_id:
            result.append(record)
            continue
        values: dict[str, Any] = {name: shift(number) for name in _NUMBERS if (number := getattr(record, name, None)) is not None}
        if isinstance(record, HistoryPage):
            values["entries"] = tuple(_shifted(entry, shift(entry.sequence_number)) for entry in record.entries)
        result.append(replace(record, **values))
    return result


_NUMBERS = (
    "sequence_number",
    "cursor",
    "from_sequence_number",
    "to_sequence_number",
    "last_sequence_number",
    "after_sequence_number",
    "before_sequence_number",
    "visible_from_sequence_number",
)


def _shifted(entry: Entry, number: int) -> Entry:
    return entry._replace(sequence_number=number)


LOG_MUTANTS: tuple[Mutant, ...] = (
    Mutant(store_forgets_acknowledged, ViolationClass.LOST, log.acknowledged_is_stored),
    Mutant(store_forgets_the_tail, ViolationClass.LOST, log.acknowledged_is_stored),
    Mutant(system_forgets_acknowledged_everywhere, ViolationClass.LOST, log.acknowledged_is_stored),
    Mutant(store_forgets_what_was_seen, ViolationClass.LOST, log.seen_is_stored),
    Mutant(one_reader_cannot_read, ViolationClass.LOST, log.stored_is_read_by_members),
    Mutant(one_member_never_drains, ViolationClass.LOST, log.stored_is_read_by_members),
    Mutant(time_series_forgets, ViolationClass.LOST, log.once_in_time_series),
    Mutant(time_series_doubles, ViolationClass.DOUBLED, log.once_in_time_series),
    Mutant(store_has_message_twice, ViolationClass.DOUBLED, log.one_place_per_message),
    Mutant(store_has_number_twice, ViolationClass.DOUBLED, log.one_message_per_place),
    Mutant(two_readers_disagree, ViolationClass.DOUBLED, log.one_message_per_place),
    Mutant(two_readers_disagree, ViolationClass.DOUBLED, log.one_place_per_message),
    Mutant(acknowledged_under_another_number, ViolationClass.DOUBLED, log.one_message_per_place),
    Mutant(retry_gets_a_second_number, ViolationClass.DOUBLED, log.one_place_per_message),
    Mutant(time_series_has_another_number, ViolationClass.DOUBLED, log.one_place_per_message),
    Mutant(one_session_shows_a_message_under_two_numbers, ViolationClass.DOUBLED, shown_once_per_session),
    Mutant(store_forgets_acknowledged, ViolationClass.HOLE, log.no_holes),
    Mutant(numbers_skip_one, ViolationClass.HOLE, log.no_holes),
    Mutant(one_delivery_has_other_content, ViolationClass.OTHER, log.content_intact),
    Mutant(store_has_other_content, ViolationClass.OTHER, log.content_intact),
    Mutant(one_page_has_other_content, ViolationClass.OTHER, log.content_intact),
    Mutant(readers_differ_on_a_system_entry, ViolationClass.OTHER, log.content_intact),
)
