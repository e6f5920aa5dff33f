"""The time series `conversation_history` in MongoDB: one series per conversation and channel, in buckets of up to an hour."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from pymongo import ASCENDING
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from chat4all_history.domain.model import CHANNEL, Occurrence
from chat4all_runtime.kafka_consumer import RetryLater

log = structlog.get_logger()

COLLECTION = "conversation_history"
INDEX = "conversation_time"
_NAMESPACE_EXISTS = 48
# Ids in one look-up.
_LOOK_UP = 500

Document = dict[str, Any]


class NotATimeSeries(RuntimeError):
    """An ordinary collection has the name of the time series; somebody must move it away."""


@contextmanager
def _retry_later(what: str) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise RetryLater(f"mongodb, {what}: {type(error).__name__}: {str(error)[:300]}") from error


class MongoHistory:
    """For the worker's thread only.

    Args:
        database: from `mongodb.open_sync`.
        retention_days: a changed value is applied to what is there.
    """

    def __init__(self, database: Database[Document], retention_days: int) -> None:
        self._database = database
        self._history = database[COLLECTION]
        self._expire_seconds = retention_days * 86_400

    def prepare(self) -> None:
        """Create the time series and the index that look-ups and reports use, or align the retention. Safe to repeat.

        Raises:
            NotATimeSeries: an ordinary collection is in the way.
            PyMongoError: the store is away.
        """
        try:
            self._database.create_collection(
                COLLECTION,
                timeseries={"timeField": "timestamp", "metaField": "meta", "granularity": "seconds"},
                expireAfterSeconds=self._expire_seconds,
            )
        except CollectionInvalid:
            self._align()
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise
            self._align()
        self._history.create_index([("meta.conversation_id", ASCENDING), ("timestamp", ASCENDING)], name=INDEX)

    def _align(self) -> None:
        options = self._history.options()
        if "timeseries" not in options:
            raise NotATimeSeries(f"{COLLECTION} is there and is not a time series")
        if options.get("expireAfterSeconds") != self._expire_seconds:
            log.info("history_retention_changed", seconds=self._expire_seconds, before=options.get("expireAfterSeconds"))
            self._database.command("collMod", COLLECTION, expireAfterSeconds=self._expire_seconds)

    def find(self, occurrences: Sequence[Occurrence]) -> Collection[str]:
        """Message ids of those that are there, searched in their own conversations and times only."""
        found: set[str] = set()
        for begin in range(0, len(occurrences), _LOOK_UP):
            part = occurrences[begin : begin + _LOOK_UP]
            times = [item.timestamp for item in part]
            query = {
                "meta.conversation_id": {"$in": list({item.conversation_id for item in part})},
                "timestamp": {"$gte": min(times), "$lte": max(times)},
                "message_id": {"$in": [item.message_id for item in part]},
            }
            with _retry_later("look-up"):
                found.update(row["message_id"] for row in self._history.find(query, {"_id": 0, "message_id": 1}))
        return found

    def insert(self, occurrences: Sequence[Occurrence]) -> None:
        """Write all, acknowledged by a majority with the journal. One unordered write.

        Raises:
            RetryLater: not all were acknowledged; some may be there, or come yet.
        """
        with _retry_later("insert"):
            self._history.insert_many([_document(item) for item in occurrences], ordered=False)


def _document(item: Occurrence) -> Document:
    """Fields always in the same order: the store packs buckets by it."""
    return {
        "timestamp": item.timestamp,
        "meta": {"tenant_id": item.tenant_id, "conversation_id": item.conversation_id, "channel": CHANNEL},
        "message_id": item.message_id,
        "sequence_number": item.sequence_number,
        "kind": item.kind,
        "from_user_id": item.from_user_id,
        "message_length": item.message_length,
        "has_attachment": item.has_attachment,
    }
