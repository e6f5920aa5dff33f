"""What may become a file: lying types, paths in names and wrong sizes are refused by reason."""

from __future__ import annotations

import pytest

from chat4all_file.domain.model import MAX_FILE_BYTES, PART_BYTES, FileStatus, StoredFile
from chat4all_file.domain.policy import check_request, content_type_of
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.errors import DomainError

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 64
EXE = b"MZ" + b"\0" * 64
ZIP = b"PK\x03\x04" + b"\0" * 64


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_name": ""}, "FILE_NAME_INVALID"),
        ({"file_name": "../etc/passwd"}, "FILE_NAME_INVALID"),
        ({"file_name": "a\\b"}, "FILE_NAME_INVALID"),
        ({"file_name": ".."}, "FILE_NAME_INVALID"),
        ({"file_name": "a\0b"}, "FILE_NAME_INVALID"),
        ({"file_name": "x" * 256}, "FILE_NAME_INVALID"),
        ({"content_type": "png"}, "CONTENT_TYPE_INVALID"),
        ({"content_type": "image/png; a=b"}, "CONTENT_TYPE_INVALID"),
        ({"size_bytes": 0}, "FILE_SIZE_INVALID"),
        ({"size_bytes": -1}, "FILE_SIZE_INVALID"),
        ({"size_bytes": MAX_FILE_BYTES + 1}, "FILE_SIZE_INVALID"),
        ({"sha256": "abc"}, "SHA256_INVALID"),
        ({"request_id": "x" * 101}, "REQUEST_ID_INVALID"),
    ],
)
def test_a_bad_request_is_refused(change: dict[str, object], reason: str) -> None:
    """Each field has its own reason."""
    good: dict[str, object] = {"file_name": "a.png", "content_type": "image/png", "size_bytes": 1, "sha256": "", "request_id": ""}
    check_request(**good)  # type: ignore[arg-type]
    with pytest.raises(DomainError) as caught:
        check_request(**(good | change))  # type: ignore[arg-type]
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("declared", "head", "kept"),
    [
        ("image/png", PNG, "image/png"),
        ("image/jpg", JPEG, "image/jpeg"),
        ("application/octet-stream", PNG, "image/png"),
        ("application/octet-stream", b"abc", "application/octet-stream"),
        ("text/plain", "grüße".encode(), "text/plain"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ZIP,
         "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)  # fmt: skip
def test_the_bytes_fit(declared: str, head: bytes, kept: str) -> None:
    """What fits is kept under its plain name."""
    assert content_type_of(declared, head) == kept


@pytest.mark.parametrize(
    ("declared", "head"),
    [("image/png", EXE), ("image/png", JPEG), ("image/png", b"hello"), ("text/plain", EXE), ("text/plain", b"a\0b")],
)
def test_the_bytes_lie(declared: str, head: bytes) -> None:
    """A program called a picture is refused."""
    with pytest.raises(DomainError) as caught:
        content_type_of(declared, head)
    assert caught.value.reason == "CONTENT_TYPE_MISMATCH"


@pytest.mark.parametrize(
    ("size", "count", "last"), [(1, 1, 1), (PART_BYTES, 1, PART_BYTES), (PART_BYTES + 1, 2, 1), (MAX_FILE_BYTES, 256, PART_BYTES)]
)
def test_parts_add_up(size: int, count: int, last: int) -> None:
    """Every part but the last has the same size."""
    now = SystemClock().now()
    file = StoredFile("f", "t", "c", "u", "n", "image/png", size, "", "", FileStatus.UPLOADING, "k", "i", "r", now, None, now)
    assert (file.part_count, file.part_size(file.part_count)) == (count, last)
    assert sum(file.part_size(number) for number in range(1, count + 1)) == size
