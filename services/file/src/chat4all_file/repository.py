"""What the use cases need from the outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from chat4all_file.domain.model import StoredFile


class FileRepository(Protocol):
    """Where files are remembered."""

    async def add(self, file: StoredFile) -> StoredFile:
        """Remember a new one, or give the one that this uploader's `request_id` already made."""
        ...

    async def get(self, file_id: str) -> StoredFile | None:
        """One file, None when there is none."""
        ...

    async def get_many(self, file_ids: Sequence[str]) -> dict[str, StoredFile]:
        """Those that exist."""
        ...

    async def make_ready(self, file_id: str, content_type: str, sha256: str, at: datetime) -> StoredFile:
        """The bytes are checked. Changes nothing when it was ready before."""
        ...

    async def make_deleted(self, file_id: str, reason: str, at: datetime) -> None:
        """Refused or removed."""
        ...

    async def mark_announced(self, file_id: str) -> None:
        """Its event is in Kafka."""
        ...

    async def unannounced(self, limit: int) -> list[StoredFile]:
        """Ready files whose event may not be in Kafka."""
        ...


class ObjectStore(Protocol):
    """Where bytes are. All methods raise UNAVAILABLE when the store is away."""

    async def open_upload(self, key: str, content_type: str) -> str:
        """Begin a multipart upload; its id."""
        ...

    async def parts(self, key: str, upload_id: str) -> dict[int, tuple[int, str]] | None:
        """Part number → size and etag; None when the upload is no longer open."""
        ...

    async def complete(self, key: str, upload_id: str, etags: dict[int, str]) -> None:
        """Join the parts."""
        ...

    async def size(self, key: str) -> int | None:
        """Size of the object, None when there is none."""
        ...

    async def digest(self, key: str, head_bytes: int) -> tuple[str, bytes]:
        """SHA-256 in hex of the bytes in the store, and the first of them; read in chunks of 1 MiB."""
        ...

    async def delete(self, key: str) -> None:
        """Remove it; nothing happens when it is not there."""
        ...

    def upload_url(self, key: str, upload_id: str, part_number: int, size_bytes: int, life: timedelta) -> str:
        """A link that takes exactly this part with exactly this length."""
        ...

    def download_url(self, key: str, file_name: str, content_type: str, life: timedelta) -> str:
        """A link that gives the bytes as a download."""
        ...


class Memberships(Protocol):
    """Who is in a conversation."""

    async def require(self, access_token: str, conversation_id: str) -> None:
        """Return when the bearer is a member; raises CONVERSATION_NOT_FOUND otherwise."""
        ...


class FileAnnouncer(Protocol):
    """Tells others about files."""

    async def uploaded(self, file: StoredFile) -> None:
        """Return when `file.uploaded` is acknowledged by Kafka."""
        ...
