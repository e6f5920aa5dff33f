"""What can be done with files, step by step.

State and event: the document turns ready first, then the event is produced, then the document says so. A process that dies in
between is made good by `AnnounceLeftovers` at the next start; readers drop repeats by the event's id, which is the file's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chat4all_file.domain.errors import failed, file_not_found
from chat4all_file.domain.model import FileStatus, StoredFile
from chat4all_file.domain.policy import SNIFF_BYTES, check_request, check_sha256, content_type_of
from chat4all_file.repository import FileAnnouncer, FileRepository, Memberships, ObjectStore
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import DomainError, invalid
from chat4all_runtime.identity import Caller
from chat4all_runtime.ids import is_uuid, new_id

MAX_PARTS_ASKED = 100


@dataclass(frozen=True, slots=True)
class PartLink:
    """One part: where to put it, or that it is there."""

    number: int
    size_bytes: int
    url: str
    uploaded: bool


@dataclass(frozen=True, slots=True)
class AttachmentCheck:
    """One file that a message names."""

    file_id: str
    sender_user_id: str
    conversation_id: str


class CreateUpload:
    """Open an upload for a conversation the caller is in."""

    def __init__(self, files: FileRepository, store: ObjectStore, members: Memberships, clock: Clock, life: timedelta) -> None:
        self._files, self._store, self._members, self._clock, self._life = files, store, members, clock, life

    async def __call__(
        self,
        caller: Caller,
        token: str,
        file_name: str,
        content_type: str,
        size_bytes: int,
        sha256: str,
        conversation_id: str,
        request_id: str,
    ) -> StoredFile:
        """The upload; the one made before when this `request_id` was used."""
        check_request(file_name, content_type, size_bytes, sha256, request_id)
        if not is_uuid(conversation_id):
            raise invalid("conversation_id", "CONVERSATION_ID_INVALID", "conversation_id must be a UUID.")
        await self._members.require(token, conversation_id)
        now = self._clock.now()
        file_id = new_id()
        key = f"{caller.tenant_id}/{conversation_id}/{file_id}"
        upload_id = await self._store.open_upload(key, content_type)
        return await self._files.add(
            StoredFile(
                file_id, caller.tenant_id, conversation_id, caller.user_id, file_name, content_type, size_bytes, sha256, "",
                FileStatus.UPLOADING, key, upload_id, request_id or file_id, now, None, now + self._life,
            )
        )  # fmt: skip


class ListUploadParts:
    """Where to put parts, and which are there."""

    def __init__(self, files: FileRepository, store: ObjectStore, clock: Clock, link_life: timedelta) -> None:
        self._files, self._store, self._clock, self._link_life = files, store, clock, link_life

    async def __call__(self, caller: Caller, file_id: str, numbers: Sequence[int]) -> tuple[list[PartLink], datetime, int]:
        """The parts asked for, or the first that are missing; until when links work; how many parts are there."""
        file = await _own(self._files, caller, file_id)
        if len(numbers) > MAX_PARTS_ASKED or any(not 1 <= number <= file.part_count for number in numbers):
            raise invalid(
                "part_numbers", "PART_NUMBER_INVALID", f"Ask for at most {MAX_PARTS_ASKED} parts from 1 to {file.part_count}."
            )
        if file.status is not FileStatus.UPLOADING:
            raise failed("UPLOAD_CLOSED", "The upload is completed or removed.", file_id=file_id, status=file.status.value)
        there = await self._store.parts(file.object_key, file.upload_id) or {}
        whole = {number for number, (size, _) in there.items() if size == file.part_size(number)}
        asked = list(numbers) or [number for number in range(1, file.part_count + 1) if number not in whole][:MAX_PARTS_ASKED]
        links = [self._link(file, number, number in whole) for number in asked]
        return links, self._clock.now() + self._link_life, len(whole)

    def _link(self, file: StoredFile, number: int, uploaded: bool) -> PartLink:
        size = file.part_size(number)
        url = "" if uploaded else self._store.upload_url(file.object_key, file.upload_id, number, size, self._link_life)
        return PartLink(number, size, url, uploaded)


class CompleteUpload:
    """Check everything and make the file usable. Safe to repeat and to be killed at any step."""

    def __init__(self, files: FileRepository, store: ObjectStore, announcer: FileAnnouncer, clock: Clock) -> None:
        self._files, self._store, self._announcer, self._clock = files, store, announcer, clock

    async def __call__(self, caller: Caller, file_id: str, sha256: str) -> StoredFile:
        """The file, ready.

        Raises:
            DomainError: FAILED_PRECONDITION `PARTS_MISSING` (go on uploading), `FILE_SIZE_MISMATCH`, `SHA256_MISMATCH`,
                `CONTENT_TYPE_MISMATCH` (the file is removed).
        """
        check_sha256(sha256)
        file = await _own(self._files, caller, file_id)
        if file.status is FileStatus.READY:
            _same_hash(sha256, file.sha256)
            return await self._announce(file)
        if file.status is FileStatus.DELETED:
            raise failed("UPLOAD_CLOSED", "The upload was refused or removed.", file_id=file_id, status=file.status.value)
        await self._join(file)
        try:
            content_type, found = await self._examine(file, sha256 or file.declared_sha256)
        except DomainError as error:
            if error.reason.endswith("_MISMATCH"):
                await self._store.delete(file.object_key)
                await self._files.make_deleted(file_id, error.reason, self._clock.now())
            raise
        return await self._announce(await self._files.make_ready(file_id, content_type, found, self._clock.now()))

    async def _join(self, file: StoredFile) -> None:
        there = await self._store.parts(file.object_key, file.upload_id)
        if there is None:
            # Joined by an earlier try that did not live to say so; anything else has no object.
            if await self._store.size(file.object_key) is None:
                raise failed("UPLOAD_CLOSED", "The upload is no longer open; create a new one.", file_id=file.file_id)
            return
        missing = [n for n in range(1, file.part_count + 1) if there.get(n, (0, ""))[0] != file.part_size(n)]
        if missing:
            raise failed(
                "PARTS_MISSING",
                f"{len(missing)} of {file.part_count} parts are missing or have another size.",
                missing_count=str(len(missing)),
                first_missing=str(missing[0]),
            )
        await self._store.complete(file.object_key, file.upload_id, {n: there[n][1] for n in range(1, file.part_count + 1)})

    async def _examine(self, file: StoredFile, wanted_sha256: str) -> tuple[str, str]:
        size = await self._store.size(file.object_key)
        if size != file.size_bytes:
            raise failed("FILE_SIZE_MISMATCH", f"The file has {size} bytes, {file.size_bytes} were announced.")
        found, head = await self._store.digest(file.object_key, SNIFF_BYTES)
        _same_hash(wanted_sha256, found)
        return content_type_of(file.content_type, head), found

    async def _announce(self, file: StoredFile) -> StoredFile:
        if not file.announced:
            await self._announcer.uploaded(file)
            await self._files.mark_announced(file.file_id)
        return file


class AnnounceLeftovers:
    """Tell of ready files whose process died before it could; run at start."""

    def __init__(self, files: FileRepository, announcer: FileAnnouncer) -> None:
        self._files, self._announcer = files, announcer

    async def __call__(self) -> int:
        """How many were told of."""
        count = 0
        while leftovers := await self._files.unannounced(100):
            for file in leftovers:
                await self._announcer.uploaded(file)
                await self._files.mark_announced(file.file_id)
                count += 1
        return count


class GetFile:
    """One file of a conversation the caller is in, and links to it."""

    def __init__(
        self, files: FileRepository, store: ObjectStore, members: Memberships, clock: Clock, link_life: timedelta
    ) -> None:
        self._files, self._store, self._members, self._clock, self._link_life = files, store, members, clock, link_life

    async def __call__(self, caller: Caller, token: str, file_id: str) -> StoredFile:
        """The file; an upload under way is seen by its uploader only."""
        file = await _of_tenant(self._files, caller, file_id)
        if file.status is FileStatus.DELETED or (file.status is FileStatus.UPLOADING and file.uploaded_by != caller.user_id):
            raise file_not_found(file_id)
        try:
            await self._members.require(token, file.conversation_id)
        except DomainError as error:
            if error.reason == "CONVERSATION_NOT_FOUND":
                raise file_not_found(file_id) from error
            raise
        return file

    async def link(self, caller: Caller, token: str, file_id: str) -> tuple[str, datetime]:
        """A download link and its end."""
        file = await self(caller, token, file_id)
        if file.status is not FileStatus.READY:
            raise failed("FILE_NOT_READY", "The upload is not completed.", file_id=file_id)
        url = self._store.download_url(file.object_key, file.file_name, file.content_type, self._link_life)
        return url, self._clock.now() + self._link_life


class DeleteFile:
    """Remove a file. Its uploader only; safe to repeat."""

    def __init__(self, files: FileRepository, store: ObjectStore, clock: Clock) -> None:
        self._files, self._store, self._clock = files, store, clock

    async def __call__(self, caller: Caller, file_id: str) -> None:
        """Mark it removed, then remove the bytes: a link that is still out ends with the bytes."""
        file = await _own(self._files, caller, file_id)
        await self._files.make_deleted(file_id, "DELETED_BY_UPLOADER", self._clock.now())
        await self._store.delete(file.object_key)


class CheckAttachments:
    """Whether messages may carry these files."""

    def __init__(self, files: FileRepository) -> None:
        self._files = files

    async def __call__(self, attachments: Sequence[AttachmentCheck]) -> list[str]:
        """Empty when usable, else the reason, in the order asked; one read for all."""
        found = await self._files.get_many([item.file_id for item in attachments])
        return [self._reason(item, found.get(item.file_id)) for item in attachments]

    @staticmethod
    def _reason(item: AttachmentCheck, file: StoredFile | None) -> str:
        if file is None or file.conversation_id != item.conversation_id or file.uploaded_by != item.sender_user_id:
            return "FILE_NOT_FOUND"
        return "" if file.status is FileStatus.READY else "FILE_NOT_READY"


async def _of_tenant(files: FileRepository, caller: Caller, file_id: str) -> StoredFile:
    if not is_uuid(file_id):
        raise invalid("file_id", "FILE_ID_INVALID", "file_id must be a UUID.")
    file = await files.get(file_id)
    if file is None or file.tenant_id != caller.tenant_id:
        raise file_not_found(file_id)
    return file


async def _own(files: FileRepository, caller: Caller, file_id: str) -> StoredFile:
    file = await _of_tenant(files, caller, file_id)
    if file.uploaded_by != caller.user_id:
        raise file_not_found(file_id)
    return file


def _same_hash(wanted: str, found: str) -> None:
    if wanted and wanted != found:
        raise failed("SHA256_MISMATCH", "The bytes in the store have another SHA-256 than announced.", found=found)
