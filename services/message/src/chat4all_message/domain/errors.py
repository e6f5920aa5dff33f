"""Why this service refuses. Each reason is part of the contract."""

from __future__ import annotations

from datetime import timedelta

from chat4all_runtime.errors import Code, DomainError


def conversation_not_found(conversation_id: str) -> DomainError:
    """Not there, or not the caller's to know of: the two look alike on purpose."""
    return DomainError(
        Code.NOT_FOUND,
        "CONVERSATION_NOT_FOUND",
        f"Conversation {conversation_id} does not exist or you are not a member of it.",
        metadata={"conversation_id": conversation_id},
    )


def conversation_archived(conversation_id: str) -> DomainError:
    """It stays readable and takes no new messages."""
    return DomainError(
        Code.FAILED_PRECONDITION,
        "CONVERSATION_ARCHIVED",
        f"Conversation {conversation_id} is archived and takes no new messages.",
        metadata={"conversation_id": conversation_id},
    )


def message_not_found(message_id: str) -> DomainError:
    """Not there, or in a conversation the caller is not in."""
    return DomainError(
        Code.NOT_FOUND,
        "MESSAGE_NOT_FOUND",
        f"Message {message_id} does not exist or you are not a member of its conversation.",
        metadata={"message_id": message_id},
    )


def message_id_conflict() -> DomainError:
    """The id is taken. Tells nothing about the message that has it."""
    return DomainError(
        Code.ALREADY_EXISTS,
        "MESSAGE_ID_CONFLICT",
        "This message_id was used before by somebody else, elsewhere or for other content; choose a new one.",
    )


def not_stored_yet() -> DomainError:
    """Accepted and safe, but without a number before the deadline."""
    return DomainError(
        Code.DEADLINE_EXCEEDED,
        "NOT_STORED_YET",
        "The message is accepted and will be stored; it was not before the deadline. Sending it again with the same id is safe.",
        retry_after=timedelta(seconds=1),
    )


def attachment_refused(reason: str, file_id: str) -> DomainError:
    """The file service says the file cannot be used; `reason` is its own."""
    return DomainError(
        Code.NOT_FOUND if reason == "FILE_NOT_FOUND" else Code.FAILED_PRECONDITION,
        reason,
        f"File {file_id} cannot be sent here: it must be a completed upload of yours in this conversation.",
        metadata={"file_id": file_id},
        field="content.file_id",
    )
