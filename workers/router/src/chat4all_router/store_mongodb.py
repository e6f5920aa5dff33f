"""The log in MongoDB: collection `messages`, `_id` is the message id, unique (conversation_id, sequence_number) is the fence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from chat4all_router.domain.model import Document, Stored
from chat4all_router.domain.numbering import Move
from chat4all_runtime.kafka_consumer import RetryLater

COLLECTION = "messages"
INDEX = "conversation_sequence"
# Rows of one conversation read at once when settling a collision: more than the largest batch of two owners.
_ROWS = 5000
_DUPLICATE_KEY = 11000
_CLAIMS = {
    "conversation_id": 1,
    "from_user_id": 1,
    "digest": 1,
    "sequence_number": 1,
    "created_at": 1,
    "stored_at": 1,
}


@contextmanager
def _retry_later(what: str) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise RetryLater(f"mongodb, {what}: {type(error).__name__}: {str(error)[:300]}") from error


class MongoMessageLog:
    """For the router's thread only.

    Args:
        database: from `mongodb.open_sync`: writes are acknowledged by a majority with the journal, reads are the primary's newest.
        window: how far below the highest number a hole may lie: no farther than the batches of two owners reach.
    """

    def __init__(self, database: Database[Document], window: int) -> None:
        self._messages = database[COLLECTION]
        self._durable = self._messages.with_options(read_concern=ReadConcern("majority"))
        self._window = window

    def prepare(self) -> None:
        """Create the fence. Safe to repeat and to run twice at once.

        Raises:
            PyMongoError: the store is away, or holds another index under this name.
        """
        self._messages.create_index([("conversation_id", ASCENDING), ("sequence_number", ASCENDING)], name=INDEX, unique=True)

    def find(self, message_ids: Collection[str]) -> dict[str, Stored]:
        """Those of the ids that are stored, as the primary sees it. One query."""
        if not message_ids:
            return {}
        with _retry_later("look-up"):
            return {row["_id"]: _stored(row) for row in self._messages.find({"_id": {"$in": list(message_ids)}}, _CLAIMS)}

    def await_durable(self, message_ids: Collection[str]) -> None:
        """See that a majority holds these ids: what one primary holds alone can still be rolled back.

        Raises:
            RetryLater: not yet.
        """
        if not message_ids:
            return
        with _retry_later("durability"):
            count = self._durable.count_documents({"_id": {"$in": list(message_ids)}})
        if count < len(set(message_ids)):
            raise RetryLater("mongodb, durability: rows found are not held by a majority yet")

    def last_numbers(self, conversation_ids: Collection[str]) -> dict[str, int]:
        """Highest numbers, in one aggregate that touches one index key per conversation (DISTINCT_SCAN)."""
        if not conversation_ids:
            return {}
        with _retry_later("last numbers"):
            return {row["_id"]: row["last"] for row in self._messages.aggregate(last_numbers_pipeline(conversation_ids))}

    def first_holes(self, last_numbers: Mapping[str, int]) -> dict[str, int]:
        """Lowest free number within the window, where there is one. Counts index keys first; reads numbers only where some lack."""
        floors = {conversation: max(1, last - self._window + 1) for conversation, last in last_numbers.items() if last > 0}
        if not floors:
            return {}
        ranges = [{"conversation_id": name, "sequence_number": {"$gte": floor}} for name, floor in floors.items()]
        with _retry_later("holes"):
            counts = {
                row["_id"]: row["count"]
                for row in self._messages.aggregate(
                    [{"$match": {"$or": ranges}}, {"$group": {"_id": "$conversation_id", "count": {"$sum": 1}}}]
                )
            }
            holes = {}
            for name, floor in floors.items():
                # More than expected: written meanwhile, which is no hole of ours.
                if counts.get(name, 0) < last_numbers[name] - floor + 1:
                    holes[name] = self._first_hole(name, floor, last_numbers[name])
        return {name: hole for name, hole in holes.items() if hole <= last_numbers[name]}

    def _first_hole(self, conversation_id: str, floor: int, last: int) -> int:
        expected = floor
        for number, _ in self._rows(conversation_id, floor):
            if number != expected or number > last:
                break
            expected += 1
        return expected

    def insert(self, documents: Sequence[Document]) -> list[int]:
        """Store all that collide with nothing; the places of those that do. One unordered write.

        Raises:
            RetryLater: anything but a duplicate key happened; some may be stored, or be stored yet.
        """
        if not documents:
            return []
        with _retry_later("insert"):
            try:
                self._messages.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                details: Mapping[str, Any] = error.details or {}
                failed = details.get("writeErrors", ())
                if details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE_KEY for one in failed):
                    raise
                return [one["index"] for one in failed]
        return []

    def rows_from(self, conversation_id: str, number: int) -> list[tuple[int, str]]:
        """(number, id) from this number on, ascending.

        Raises:
            RetryLater: more rows than two owners' batches can have written; the memory they are compared with is out of date.
        """
        with _retry_later("rows"):
            rows = list(self._rows(conversation_id, number))
        if len(rows) == _ROWS:
            raise RetryLater(f"mongodb, rows: at least {_ROWS} rows beyond the number known")
        return rows

    def _rows(self, conversation_id: str, number: int) -> Iterator[tuple[int, str]]:
        found = self._messages.find(
            {"conversation_id": conversation_id, "sequence_number": {"$gte": number}}, {"sequence_number": 1}
        )
        for row in found.sort("sequence_number", ASCENDING).limit(_ROWS):
            yield row["sequence_number"], row["_id"]

    def move(self, conversation_id: str, moves: Sequence[Move]) -> bool:
        """Renumber in order; False when a row was not where it should be, or its new place was taken."""
        updates = [
            UpdateOne(
                {"_id": move.message_id, "conversation_id": conversation_id, "sequence_number": move.old},
                {"$set": {"sequence_number": move.new}},
            )
            for move in moves
        ]
        with _retry_later("move"):
            try:
                return self._messages.bulk_write(updates, ordered=True).matched_count == len(moves)
            except BulkWriteError as error:
                details: Mapping[str, Any] = error.details or {}
                if details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE_KEY for one in details["writeErrors"]):
                    raise
                return False


def last_numbers_pipeline(conversation_ids: Collection[str]) -> list[dict[str, Any]]:
    """One row per conversation with its highest number; sorted as the index is, so that only its last key is read."""
    return [
        {"$match": {"conversation_id": {"$in": list(conversation_ids)}}},
        {"$sort": {"conversation_id": -1, "sequence_number": -1}},
        {"$group": {"_id": "$conversation_id", "last": {"$first": "$sequence_number"}}},
    ]


def _stored(row: Document) -> Stored:
    created_at: datetime = row["created_at"]
    return Stored(
        row["_id"],
        row["conversation_id"],
        row["from_user_id"],
        row["digest"],
        row["sequence_number"],
        created_at,
        row["stored_at"],
    )
