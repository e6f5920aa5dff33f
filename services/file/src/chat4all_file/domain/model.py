"""A file and its upload."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

MAX_FILE_BYTES = 2 * 1024**3
# S3 wants parts of at least 5 MiB and at most 10,000 of them (source: Amazon S3 multipart upload limits);
# 8 MiB gives 256 for 2 GiB.
PART_BYTES = 8 * 1024**2


class FileStatus(Enum):
    """Where a file stands."""

    UPLOADING = "uploading"
    READY = "ready"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file. `declared_sha256` and `sha256` are hex; `sha256` and `complete_time` are empty until the bytes are checked."""

    file_id: str
    tenant_id: str
    conversation_id: str
    uploaded_by: str
    file_name: str
    content_type: str
    size_bytes: int
    declared_sha256: str
    sha256: str
    status: FileStatus
    object_key: str
    upload_id: str
    request_id: str
    create_time: datetime
    complete_time: datetime | None
    expire_time: datetime
    announced: bool = False

    @property
    def part_count(self) -> int:
        """Parts the upload has."""
        return -(-self.size_bytes // PART_BYTES)

    def part_size(self, number: int) -> int:
        """Bytes of one part, counted from 1: all but the last are equal."""
        return PART_BYTES if number < self.part_count else self.size_bytes - PART_BYTES * (self.part_count - 1)
