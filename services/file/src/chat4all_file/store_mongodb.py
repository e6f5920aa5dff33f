"""Files in MongoDB, collection `file_metadata`; `_id` is the file id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, PyMongoError

from chat4all_file.domain.model import FileStatus, StoredFile
from chat4all_runtime.errors import DomainError, unavailable
from chat4all_runtime.mongodb import Document


class MongoFileRepository:
    """Files as documents. Every method raises UNAVAILABLE when MongoDB is away."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._files = database["file_metadata"]

    async def prepare(self) -> None:
        """Create the indexes; nothing happens when they are there.

        Raises:
            PyMongoError: MongoDB is away.
        """
        # One upload per uploader and request id; the id of the file stands in when the client gave none.
        await self._files.create_index([("uploaded_by", 1), ("request_id", 1)], unique=True, name="uploader_request")
        await self._files.create_index(
            [("announced", 1)], name="unannounced", partialFilterExpression={"upload_status": "ready", "announced": False}
        )

    async def add(self, file: StoredFile) -> StoredFile:
        """Remember a new one, or give the one that this uploader's request id already made."""
        try:
            await self._files.insert_one(_document(file))
        except DuplicateKeyError:
            found = await self._files.find_one({"uploaded_by": file.uploaded_by, "request_id": file.request_id})
            if found is None:
                raise unavailable("mongodb") from None
            return _file(found)
        except PyMongoError as error:
            raise _away(error) from error
        return file

    async def get(self, file_id: str) -> StoredFile | None:
        """One file."""
        try:
            found = await self._files.find_one({"_id": file_id})
        except PyMongoError as error:
            raise _away(error) from error
        return _file(found) if found is not None else None

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, StoredFile]:
        """Those that exist, in one read."""
        try:
            found = await self._files.find({"_id": {"$in": list(file_ids)}}).to_list(len(file_ids))
        except PyMongoError as error:
            raise _away(error) from error
        return {document["_id"]: _file(document) for document in found}

    async def make_ready(self, file_id: str, content_type: str, sha256: str, at: datetime) -> StoredFile:
        """The bytes are checked; of two that say so at once the first wins."""
        change = {
            "upload_status": "ready",
            "mime_type": content_type,
            "checksum": sha256,
            "upload_completed_at": at,
            "announced": False,
        }
        try:
            found = await self._files.find_one_and_update(
                {"_id": file_id, "upload_status": "uploading"}, {"$set": change}, return_document=ReturnDocument.AFTER
            )
            if found is None:
                found = await self._files.find_one({"_id": file_id})
        except PyMongoError as error:
            raise _away(error) from error
        if found is None:
            raise unavailable("mongodb")
        return _file(found)

    async def make_deleted(self, file_id: str, reason: str, at: datetime) -> None:
        """Refused or removed; repeats change nothing."""
        change = {"upload_status": "deleted", "deleted_reason": reason, "deleted_at": at}
        try:
            await self._files.update_one({"_id": file_id, "upload_status": {"$ne": "deleted"}}, {"$set": change})
        except PyMongoError as error:
            raise _away(error) from error

    async def mark_announced(self, file_id: str) -> None:
        """Its event is in Kafka."""
        try:
            await self._files.update_one({"_id": file_id}, {"$set": {"announced": True}})
        except PyMongoError as error:
            raise _away(error) from error

    async def unannounced(self, limit: int) -> list[StoredFile]:
        """Ready files whose event may not be in Kafka."""
        try:
            found = await self._files.find({"upload_status": "ready", "announced": False}).limit(limit).to_list(limit)
        except PyMongoError as error:
            raise _away(error) from error
        return [_file(document) for document in found]


def _away(error: PyMongoError) -> DomainError:
    problem = unavailable("mongodb")
    problem.__cause__ = error
    return problem


def _document(file: StoredFile) -> dict[str, Any]:
    return {
        "_id": file.file_id,
        "tenant_id": file.tenant_id,
        "conversation_id": file.conversation_id,
        "uploaded_by": file.uploaded_by,
        "original_filename": file.file_name,
        "declared_type": file.content_type,
        "mime_type": "",
        "size_bytes": file.size_bytes,
        "declared_sha256": file.declared_sha256,
        "checksum": file.sha256,
        "upload_status": file.status.value,
        "storage": {"provider": "s3", "key": file.object_key, "upload_id": file.upload_id},
        "total_chunks": file.part_count,
        "request_id": file.request_id,
        "created_at": file.create_time,
        "upload_completed_at": file.complete_time,
        "expires_at": file.expire_time,
        "announced": False,
    }


def _file(document: dict[str, Any]) -> StoredFile:
    return StoredFile(
        file_id=document["_id"],
        tenant_id=document["tenant_id"],
        conversation_id=document["conversation_id"],
        uploaded_by=document["uploaded_by"],
        file_name=document["original_filename"],
        content_type=document["mime_type"] or document["declared_type"],
        size_bytes=document["size_bytes"],
        declared_sha256=document["declared_sha256"],
        sha256=document["checksum"],
        status=FileStatus(document["upload_status"]),
        object_key=document["storage"]["key"],
        upload_id=document["storage"]["upload_id"],
        request_id=document["request_id"],
        create_time=document["created_at"],
        complete_time=document["upload_completed_at"],
        expire_time=document["expires_at"],
        announced=document["announced"],
    )
