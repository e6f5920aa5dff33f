"""Refusals of this service. Reasons are stable and documented; every value a sentence mentions is in the metadata."""

from __future__ import annotations

from collections.abc import Sequence

from chat4all_runtime.errors import Code, DomainError

_NAMED_USERS = 10


def conversation_not_found(conversation_id: str) -> DomainError:
    """It does not exist, or it is not the caller's to know of: both answers are the same."""
    return DomainError(
        Code.NOT_FOUND,
        "CONVERSATION_NOT_FOUND",
        f"There is no conversation {conversation_id} that you are a member of.",
        metadata={"conversation_id": conversation_id},
    )


def unknown_users(field: str, user_ids: Sequence[str]) -> DomainError:
    """Some of the people named are no users of the caller's tenant. At most ten of them are named."""
    named = ",".join(user_ids[:_NAMED_USERS])
    return DomainError(
        Code.INVALID_ARGUMENT,
        "MEMBER_NOT_FOUND",
        f"{field} names {len(user_ids)} that are no users of this tenant: {named}.",
        metadata={"field": field, "user_ids": named, "count": str(len(user_ids))},
        field=field,
    )


def member_not_found(user_id: str) -> DomainError:
    """The person is not in the conversation."""
    return DomainError(
        Code.NOT_FOUND, "MEMBER_NOT_FOUND", f"{user_id} is not in this conversation.", metadata={"user_id": user_id}
    )


def not_allowed(action: str, role: str) -> DomainError:
    """The caller's role does not permit it."""
    return DomainError(
        Code.PERMISSION_DENIED,
        "NOT_ALLOWED",
        f"As {role} of this conversation you may not {action}.",
        metadata={"action": action, "role": role},
    )


def direct_conversation() -> DomainError:
    """Title, members and archive state of a direct conversation are fixed."""
    return DomainError(
        Code.FAILED_PRECONDITION, "DIRECT_CONVERSATION", "A direct conversation keeps its two members and has no title."
    )


def archived() -> DomainError:
    """It stays readable; nothing is added to it."""
    return DomainError(Code.FAILED_PRECONDITION, "CONVERSATION_ARCHIVED", "The conversation is archived.")


def last_owner() -> DomainError:
    """A conversation with members always has an owner."""
    return DomainError(
        Code.FAILED_PRECONDITION, "LAST_OWNER", "The last owner can't step down or leave while others are in; name another first."
    )


def too_many_members(limit: int) -> DomainError:
    """More people than a conversation may have."""
    return DomainError(
        Code.FAILED_PRECONDITION,
        "TOO_MANY_MEMBERS",
        f"A conversation has at most {limit} members.",
        metadata={"maximum": str(limit)},
    )


def etag_mismatch(current: str) -> DomainError:
    """Somebody changed it since it was read."""
    return DomainError(
        Code.ABORTED,
        "ETAG_MISMATCH",
        f"The conversation has changed since you read it; its etag is {current} now.",
        metadata={"etag": current},
    )


def request_id_conflict(request_id: str) -> DomainError:
    """The same request id was used for another conversation."""
    return DomainError(
        Code.ALREADY_EXISTS,
        "REQUEST_ID_CONFLICT",
        f"request_id {request_id} was used to create another conversation.",
        metadata={"request_id": request_id},
    )


def sequence_number_too_high(asked: int, last: int) -> DomainError:
    """Nobody has read what is not there."""
    return DomainError(
        Code.INVALID_ARGUMENT,
        "SEQUENCE_NUMBER_TOO_HIGH",
        f"sequence_number {asked} is above the conversation's last one, {last}.",
        metadata={"field": "sequence_number", "sequence_number": str(asked), "last_sequence_number": str(last)},
        field="sequence_number",
    )
