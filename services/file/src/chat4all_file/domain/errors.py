"""Refusals about files."""

from __future__ import annotations

from chat4all_runtime.errors import Code, DomainError


def file_not_found(file_id: str) -> DomainError:
    """Not there, or not yours to know of."""
    return DomainError(Code.NOT_FOUND, "FILE_NOT_FOUND", f"There is no file {file_id}.", metadata={"file_id": file_id})


def conversation_not_found(conversation_id: str) -> DomainError:
    """Not there, or not yours to know of."""
    return DomainError(
        Code.NOT_FOUND,
        "CONVERSATION_NOT_FOUND",
        f"There is no conversation {conversation_id}.",
        metadata={"conversation_id": conversation_id},
    )


def failed(reason: str, message: str, **metadata: str) -> DomainError:
    """The upload is not what it should be."""
    return DomainError(Code.FAILED_PRECONDITION, reason, message, metadata=metadata)
