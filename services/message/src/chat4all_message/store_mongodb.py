"""The log of conversations in MongoDB, read only: the router is its one writer. Documents stop here.

Two indexes carry every read: `_id` (the message id) and the unique `conversation_sequence` on (conversation_id, sequence_number).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from chat4all_message.domain.model import (
    KIND_MEMBER_REMOVED,
    KIND_MESSAGE,
    EncodedEntry,
    LogEntry,
    StoredIdentity,
    Summary,
    SummaryItem,
)
from chat4all_message.log_frame import encode_frame
from chat4all_message.repository import StoreAway
from chat4all_runtime.errors import unavailable
from chat4all_runtime.mongodb import Document

INDEX = "conversation_sequence"
# Counting stops here: a reader that far behind is shown "many", and one list of conversations cannot read millions of entries.
MAX_UNREAD = 10_000
# An answer must stay under gRPC's 4 MiB; 3 MiB of content leaves room for the fields around it.
_MAX_PAGE_BYTES = 3 * 1024 * 1024
_IDENTITY = {"conversation_id": 1, "from_user_id": 1, "digest": 1, "sequence_number": 1, "created_at": 1}
# Longest a look-up of ids may hold its connection; those who asked have given up long before.
_IDENTITY_SECONDS = 1.0


@asynccontextmanager
async def _reading() -> AsyncIterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise unavailable("mongodb") from error


class MongoMessageLog:
    """Reads `messages`. Deadlines are the client's own; what the store cannot answer is UNAVAILABLE."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._messages = database["messages"]

    async def prepare(self) -> None:
        """Make sure of the index; the router makes the same one, whoever comes first.

        Raises:
            PyMongoError: the store does not answer.
        """
        await self._messages.create_index(
            [("conversation_id", pymongo.ASCENDING), ("sequence_number", pymongo.ASCENDING)], unique=True, name=INDEX
        )

    async def identities(self, message_ids: Sequence[str]) -> Mapping[str, StoredIdentity]:
        """Those of the ids that are stored.

        Raises:
            StoreAway: no answer.
        """
        try:
            with pymongo.timeout(_IDENTITY_SECONDS):
                found = await self._messages.find({"_id": {"$in": list(message_ids)}}, _IDENTITY).to_list()
        except PyMongoError as error:
            raise StoreAway(str(error)) from error
        return {
            document["_id"]: StoredIdentity(
                document["_id"],
                document["conversation_id"],
                document["from_user_id"],
                document.get("digest", ""),
                document["sequence_number"],
                document["created_at"],
            )
            for document in found
        }

    async def page(self, conversation_id: str, position: int | None, ascending: bool, size: int) -> tuple[list[LogEntry], bool]:
        """Up to `size` entries beside `position` and whether more follow; fewer when they are long."""
        entries: list[LogEntry] = []
        length = 0
        async with _reading():
            async for document in self._find(conversation_id, position, ascending, size):
                length += _length(document["payload"])
                if len(entries) == size or (entries and length > _MAX_PAGE_BYTES):
                    return entries, True
                entries.append(_entry(document))
        return entries, False

    async def frames(
        self, conversation_id: str, position: int | None, ascending: bool, size: int
    ) -> tuple[list[EncodedEntry], bool]:
        """The same as frames for sockets."""
        entries: list[EncodedEntry] = []
        length = 0
        async with _reading():
            async for document in self._find(conversation_id, position, ascending, size):
                frame = encode_frame(document)
                length += len(frame) + 200
                if len(entries) == size or (entries and length > _MAX_PAGE_BYTES):
                    return entries, True
                entries.append(
                    EncodedEntry(
                        document["sequence_number"],
                        "r" if document["kind"] == KIND_MEMBER_REMOVED else "e",
                        document["from_user_id"],
                        document["_id"],
                        frame,
                    )
                )
        return entries, False

    def _find(self, conversation_id: str, position: int | None, ascending: bool, size: int) -> Any:
        criteria: dict[str, Any] = {"conversation_id": conversation_id}
        if position is not None:
            criteria["sequence_number"] = {"$gt": position} if ascending else {"$lt": position}
        direction = pymongo.ASCENDING if ascending else pymongo.DESCENDING
        # One more than asked tells whether there is another page.
        return self._messages.find(criteria).sort("sequence_number", direction).limit(size + 1)

    async def last_sequence_number(self, conversation_id: str) -> int:
        """The highest number, 0 when the log is empty. Answered from the index alone."""
        async with _reading():
            document = await self._messages.find_one(
                {"conversation_id": conversation_id},
                {"_id": 0, "sequence_number": 1},
                sort=[("sequence_number", pymongo.DESCENDING)],
            )
        return int(document["sequence_number"]) if document else 0

    async def get(self, message_id: str) -> LogEntry | None:
        """One entry by its id."""
        async with _reading():
            document = await self._messages.find_one({"_id": message_id})
        return _entry(document) if document else None

    async def summarize(self, items: Sequence[SummaryItem]) -> list[Summary]:
        """One summary for each item, in order, in at most three operations however many there are.

        Counting unread messages stops at 10,000.
        """
        async with _reading():
            newest = await self._newest({item.conversation_id for item in items})
            # Usually the newest entry is a message; only for the others the newest message is looked for.
            others = [key for key, document in newest.items() if document["kind"] != KIND_MESSAGE]
            messages = await self._newest_messages(others)
            behind = [
                index
                for index, item in enumerate(items)
                if (document := newest.get(item.conversation_id)) and document["sequence_number"] > item.read_sequence_number
            ]
            unread = dict(zip(behind, await self._unread([items[index] for index in behind]), strict=True))
        summaries = []
        for index, item in enumerate(items):
            last = newest.get(item.conversation_id)
            if last is None:
                summaries.append(Summary(item.conversation_id))
                continue
            message = last if last["kind"] == KIND_MESSAGE else messages.get(item.conversation_id)
            summaries.append(
                Summary(
                    item.conversation_id,
                    last["sequence_number"],
                    _entry(message) if message else None,
                    unread.get(index, 0),
                    last["stored_at"],
                )
            )
        return summaries

    async def _newest(self, conversation_ids: set[str]) -> dict[str, Document]:
        """The newest entry of each: the planner jumps from one conversation to the next in the index (DISTINCT_SCAN)."""
        cursor = await self._messages.aggregate(newest_pipeline(sorted(conversation_ids)), hint=INDEX)
        return {row["_id"]: row["entry"] async for row in cursor}

    async def _newest_messages(self, conversation_ids: list[str]) -> dict[str, Document]:
        """The newest entry of kind `message` of each: from the newest backwards, past the few entries of other kinds."""
        if not conversation_ids:
            return {}
        pipeline: list[dict[str, Any]] = [
            {"$documents": [{"conversation_id": conversation_id} for conversation_id in conversation_ids]},
            {
                "$lookup": {
                    "from": "messages",
                    "let": {"conversation_id": "$conversation_id"},
                    "pipeline": [
                        {"$match": {"$expr": {"$eq": ["$conversation_id", "$$conversation_id"]}, "kind": KIND_MESSAGE}},
                        {"$sort": {"conversation_id": -1, "sequence_number": -1}},
                        {"$limit": 1},
                    ],
                    "as": "found",
                }
            },
        ]
        cursor = await self._database.aggregate(pipeline)
        return {row["conversation_id"]: row["found"][0] async for row in cursor if row["found"]}

    async def _unread(self, items: list[SummaryItem]) -> list[int]:
        """Messages of others after each reader's mark: one range of the index each."""
        if not items:
            return []
        pipeline: list[dict[str, Any]] = [
            {
                "$documents": [
                    {"conversation_id": item.conversation_id, "reader": item.user_id, "mark": item.read_sequence_number}
                    for item in items
                ]
            },
            {
                "$lookup": {
                    "from": "messages",
                    "let": {"conversation_id": "$conversation_id", "reader": "$reader", "mark": "$mark"},
                    "pipeline": unread_pipeline("$$conversation_id", "$$reader", "$$mark"),
                    "as": "unread",
                }
            },
            {"$project": {"count": {"$first": "$unread.count"}}},
        ]
        cursor = await self._database.aggregate(pipeline)
        return [row.get("count", 0) async for row in cursor]


def newest_pipeline(conversation_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The newest entry of each conversation; sort and group agree with the index, so that one key is read for each."""
    return [
        {"$match": {"conversation_id": {"$in": list(conversation_ids)}}},
        {"$sort": {"conversation_id": -1, "sequence_number": -1}},
        {"$group": {"_id": "$conversation_id", "entry": {"$first": "$$ROOT"}}},
    ]


def unread_pipeline(conversation_id: str, reader: str, mark: str | int) -> list[dict[str, Any]]:
    """Counts messages of others after a mark, up to `MAX_UNREAD`."""
    return [
        {
            "$match": {
                "$expr": {
                    "$and": [
                        {"$eq": ["$conversation_id", conversation_id]},
                        {"$gt": ["$sequence_number", mark]},
                        {"$ne": ["$from_user_id", reader]},
                    ]
                },
                "kind": KIND_MESSAGE,
            }
        },
        {"$limit": MAX_UNREAD},
        {"$count": "count"},
    ]


def _length(payload: Mapping[str, Any]) -> int:
    """About how many bytes an entry takes in an answer: text in up to four bytes a character, everything else 12 KiB at most."""
    text = payload.get("text")
    return 400 + (len(text.encode()) if isinstance(text, str) else 12 * 1024 if "data" in payload else 2 * 1024)


def _entry(document: Document) -> LogEntry:
    return LogEntry(
        document["_id"],
        document["tenant_id"],
        document["conversation_id"],
        document["sequence_number"],
        document["kind"],
        document["from_user_id"],
        document["payload"],
        document.get("reply_to_message_id") or "",
        document.get("thread_id") or "",
        document["created_at"],
    )
