"""One pass over a history that gathers what the invariants compare, so that each of them stays linear.

The weight of a run is in its deliveries, most of which say the same thing: entry n of a conversation is message m.
They collapse into *sightings*, one per distinct statement, each kept with the first record that made it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .claims import Claim
from .membership import NEVER, Membership, Ranges, memberships
from .records import (
    MESSAGE_KIND,
    HistoryPage,
    Join,
    Leave,
    MarkRead,
    Nemesis,
    Record,
    Recv,
    Reset,
    Resume,
    Send,
    Session,
    StoreRow,
    TimeseriesRow,
)


class Sighting(NamedTuple):
    """One statement about a log entry, made by a delivery, a page or the store."""

    conversation_id: str
    sequence_number: int
    message_id: str
    sender_user_id: str
    body_sha256: str
    kind: str
    subject_user_id: str


_Statement = tuple[str, int, str, str, str, str, str]
Stream = list[Recv | Resume | Reset]
Place = tuple[str, int]


class Observations:
    """Everything a run showed, grouped by what is asked of it; read-only once made."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take records in time order."""
        self.claims: dict[str, list[Claim]] = {}
        self.sightings: dict[Sighting, Record] = {}
        self.streams: dict[tuple[str, str], Stream] = {}
        self.resumed: dict[tuple[str, str], None] = {}  # in order of appearance
        self.pages: list[HistoryPage] = []
        self.store_rows: list[StoreRow] = []
        self.series_rows: dict[str, list[TimeseriesRow]] = {}
        self.sessions: dict[str, dict[str, Session]] = {}
        self.marks: list[MarkRead] = []
        self.nemeses: list[Nemesis] = []
        self.leaves: dict[tuple[str, str], list[Leave]] = {}
        self.malformed: list[tuple[str, Record]] = []
        self.deliveries = 0
        self._joins: list[Join] = []
        self._take(records)
        self.places = self._places()
        self.agreed = self._agreed()
        self.unusual = self._unusual()
        self.known = self._known()
        self.memberships, unplaced = memberships(self._joins, self.leaves, self.store_rows or self.sightings)
        self.malformed += [("a membership change whose entry is nowhere in the log", change) for change in unplaced]
        self.members: dict[str, list[str]] = {}
        for conversation_id, user_id in self.memberships:
            self.members.setdefault(conversation_id, []).append(user_id)

    def all_claims(self) -> Iterator[Claim]:
        """Yield every claim."""
        for claims in self.claims.values():
            yield from claims

    def membership(self, conversation_id: str, user_id: str) -> Membership:
        """Return the user's memberships of a conversation, empty ones for a stranger."""
        return self.memberships.get((conversation_id, user_id), NEVER)

    def between(self, conversation_id: str, after: int, last: int, ranges: Ranges) -> list[int]:
        """Return the known numbers n with after < n <= last that lie in the ranges, ascending."""
        known = self.known.get(conversation_id, [])
        numbers: list[int] = []
        for low, high in ranges:
            numbers += known[bisect_right(known, max(after, low - 1)) : bisect_right(known, min(last, high))]
        return numbers

    def session_user(self, session_id: str) -> Session | None:
        """Return the record that opened a session."""
        phases = self.sessions.get(session_id, {})
        return phases.get("open") or phases.get("attached")

    def _take(self, records: Iterable[Record]) -> None:
        streams, sightings = self.streams, self.sightings
        for record in records:
            if isinstance(record, Recv):
                self.deliveries += 1
                # A plain tuple finds an equal Sighting, and costs a third of making one.
                statement = _statement(record)
                if statement not in sightings:
                    sightings[Sighting._make(statement)] = record
                key = (record.session_id, record.conversation_id)
                if key in streams:
                    streams[key].append(record)
                else:
                    streams[key] = [record]
                if record.source == "replay":
                    self.resumed[key] = None
            elif isinstance(record, Send):
                self._take_send(record)
            elif isinstance(record, HistoryPage):
                self.pages.append(record)
                for entry in record.entries:
                    statement = (record.conversation_id, *entry)
                    if statement not in sightings:
                        sightings[Sighting._make(statement)] = record
            elif isinstance(record, Resume | Reset):
                key = (record.session_id, record.conversation_id)
                streams.setdefault(key, []).append(record)
                self.resumed[key] = None
            else:
                self._take_rare(record)

    def _take_send(self, send: Send) -> None:
        claims = self.claims.setdefault(send.message_id, [])
        for claim in claims:
            if (
                claim.user_id == send.user_id
                and claim.conversation_id == send.conversation_id
                and claim.first.body_sha256 == send.body_sha256
            ):
                break
        else:
            claim = Claim(send)
            claims.append(claim)
            if send.phase != "invoke":
                self.malformed.append(("an outcome of a send that was never invoked", send))
        if send.phase == "ok" and send.state != "accepted" and not (send.state == "stored" and send.sequence_number):
            self.malformed.append(("an acknowledgement without its state or number", send))
        claim.add(send)

    def _take_rare(self, record: Record) -> None:
        if isinstance(record, StoreRow):
            self.store_rows.append(record)
            self.sightings.setdefault(Sighting._make(_statement(record)), record)
        elif isinstance(record, TimeseriesRow):
            self.series_rows.setdefault(record.message_id, []).append(record)
        elif isinstance(record, Session):
            self.sessions.setdefault(record.session_id, {})[record.phase] = record
        elif isinstance(record, MarkRead):
            self.marks.append(record)
        elif isinstance(record, Nemesis):
            self.nemeses.append(record)
        elif isinstance(record, Join):
            self._joins.append(record)
        elif isinstance(record, Leave):
            self.leaves.setdefault((record.conversation_id, record.user_id), []).append(record)

    def _places(self) -> dict[str, Place]:
        """Where each message is: what the store says, else the first that said anything."""
        places: dict[str, Place] = {
            row.message_id: (row.conversation_id, row.sequence_number) for row in reversed(self.store_rows)
        }
        for sighting in self.sightings:
            places.setdefault(sighting.message_id, (sighting.conversation_id, sighting.sequence_number))
        for claim in self.all_claims():
            if claim.stored:
                places.setdefault(claim.message_id, (claim.conversation_id, claim.stored[0].sequence_number))
        return places

    def _known(self) -> dict[str, list[int]]:
        """The numbers of each conversation that anything at all bears witness to, ascending."""
        known: dict[str, set[int]] = {}
        for sighting in self.sightings:
            known.setdefault(sighting.conversation_id, set()).add(sighting.sequence_number)
        for claim in self.all_claims():
            for ack in claim.stored:
                known.setdefault(claim.conversation_id, set()).add(ack.sequence_number)
        return {conversation_id: sorted(numbers) for conversation_id, numbers in known.items()}

    def _agreed(self) -> bool:
        """Whether all who name a message's place name the same one, and no two messages share one."""
        places = self.places
        return (
            all(places[seen.message_id] == (seen.conversation_id, seen.sequence_number) for seen in self.sightings)
            and all(
                places[claim.message_id] == (claim.conversation_id, ack.sequence_number)
                for claim in self.all_claims()
                for ack in claim.stored
            )
            and all(
                places.get(message_id) == (row.conversation_id, row.sequence_number)
                for message_id, rows in self.series_rows.items()
                for row in rows
            )
            and len(set(places.values())) == len(places)
            and len({(row.conversation_id, row.sequence_number) for row in self.store_rows}) == len(self.store_rows)
        )

    def _unusual(self) -> list[tuple[Sighting, Record]]:
        """The sightings that are not simply what one claim, acknowledged and alone with its id, says."""
        unusual: list[tuple[Sighting, Record]] = []
        for seen, record in self.sightings.items():
            claims = self.claims.get(seen.message_id)
            if claims is not None and len(claims) == 1 and seen.kind == MESSAGE_KIND:
                claim = claims[0]
                if (
                    claim.first_ok is not None
                    and claim.conversation_id == seen.conversation_id
                    and claim.user_id == seen.sender_user_id
                    and claim.first.body_sha256 == seen.body_sha256
                ):
                    continue
            unusual.append((seen, record))
        return unusual


def _statement(row: Recv | StoreRow) -> _Statement:
    return (
        row.conversation_id,
        row.sequence_number,
        row.message_id,
        row.sender_user_id,
        row.body_sha256,
        row.kind,
        row.subject_user_id,
    )
