"""What a file may be called, be, and hold. Every refusal has a reason a client can act on."""

from __future__ import annotations

import re
import unicodedata

import filetype

from chat4all_file.domain.model import MAX_FILE_BYTES
from chat4all_runtime.errors import Code, DomainError, invalid

SNIFF_BYTES = 8192

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Two names of one thing, as browsers and the sniffer call them.
_SAME = {
    "audio/x-wav": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "image/jpg": "image/jpeg",
    "image/vnd.microsoft.icon": "image/x-icon",
    "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip",
    "video/x-m4v": "video/mp4",
}
# Containers whose bytes only say what they are made of.
_CONTAINERS = {"application/zip": ("application/vnd.", "application/epub", "application/java-archive", "application/x-zip")}


def check_request(file_name: str, content_type: str, size_bytes: int, sha256: str, request_id: str) -> None:
    """Refuse what cannot become a file.

    Raises:
        DomainError: INVALID_ARGUMENT naming the field.
    """
    if not 1 <= len(file_name) <= 255 or file_name.strip() in ("", ".", "..") or any(letter in "/\\" for letter in file_name):
        raise invalid("file_name", "FILE_NAME_INVALID", "file_name must be 1 to 255 characters without a path.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in file_name):
        raise invalid("file_name", "FILE_NAME_INVALID", "file_name must not hold control characters.")
    if not _MEDIA_TYPE.fullmatch(content_type):
        raise invalid("content_type", "CONTENT_TYPE_INVALID", "content_type must be a media type such as image/png.")
    if not 1 <= size_bytes <= MAX_FILE_BYTES:
        raise invalid(
            "size_bytes", "FILE_SIZE_INVALID", f"size_bytes must be 1 to {MAX_FILE_BYTES}.", maximum=str(MAX_FILE_BYTES)
        )
    check_sha256(sha256)
    if len(request_id) > 100 or not request_id.isprintable():
        raise invalid("request_id", "REQUEST_ID_INVALID", "request_id must be at most 100 printable characters.")


def check_sha256(sha256: str) -> None:
    """Refuse what is no hash.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if sha256 and not _SHA256.fullmatch(sha256):
        raise invalid("sha256", "SHA256_INVALID", "sha256 must be 64 lower-case hex digits.")


def content_type_of(declared: str, head: bytes) -> str:
    """The media type to keep, from the first `SNIFF_BYTES` of the file and what the client said.

    Raises:
        DomainError: FAILED_PRECONDITION `CONTENT_TYPE_MISMATCH` when the bytes are something else than declared.
    """
    guess = filetype.guess(head)
    sniffed = _plain(guess.mime) if guess is not None else ""
    wanted = _plain(declared)
    if wanted == "application/octet-stream":
        return sniffed or wanted
    if sniffed == wanted or (sniffed and wanted.startswith(_CONTAINERS.get(sniffed, ("\0",)))):
        return wanted
    if sniffed and sniffed.split("/")[0] == wanted.split("/")[0] and sniffed.split("/")[0] in ("audio", "video"):
        return sniffed  # the same kind in another container: told by the bytes
    known = {_plain(kind.mime) for kind in filetype.types}
    if sniffed or wanted in known:
        raise _mismatch(declared, sniffed)
    if wanted.startswith("text/") and b"\0" in head:
        raise _mismatch(declared, "application/octet-stream")
    return wanted


def _plain(media_type: str) -> str:
    return _SAME.get(media_type, media_type)


def _mismatch(declared: str, sniffed: str) -> DomainError:
    found = sniffed or "unknown"
    return DomainError(
        Code.FAILED_PRECONDITION,
        "CONTENT_TYPE_MISMATCH",
        f"The bytes are not {declared}; they look like {found}.",
        metadata={"declared": declared, "found": found},
    )
