"""Who may do what: one table of action and role, and the rules about owners. Whatever is not in the table is denied."""

from __future__ import annotations

from enum import StrEnum

from chat4all_conversation.domain import errors
from chat4all_conversation.domain.model import Conversation, ConversationType, Member, Role


class Action(StrEnum):
    """What a member asks to do; the value completes the sentence `you may not …`."""

    CHANGE_TITLE = "change the title"
    ARCHIVE = "archive it"
    ADD_MEMBERS = "add members"
    ADD_ADMINS = "add admins"
    CHANGE_ROLES = "change roles"
    REMOVE_MEMBER = "remove a member"
    REMOVE_ADMIN = "remove an admin"
    REMOVE_OWNER = "remove an owner"


_OWNERS = frozenset({Role.OWNER})
_OWNERS_AND_ADMINS = frozenset({Role.OWNER, Role.ADMIN})

ALLOWED: dict[Action, frozenset[Role]] = {
    Action.CHANGE_TITLE: _OWNERS_AND_ADMINS,
    Action.ARCHIVE: _OWNERS,
    Action.ADD_MEMBERS: _OWNERS_AND_ADMINS,
    Action.ADD_ADMINS: _OWNERS,
    Action.CHANGE_ROLES: _OWNERS,
    Action.REMOVE_MEMBER: _OWNERS_AND_ADMINS,
    Action.REMOVE_ADMIN: _OWNERS,
    Action.REMOVE_OWNER: _OWNERS,
}

_REMOVAL = {Role.MEMBER: Action.REMOVE_MEMBER, Role.ADMIN: Action.REMOVE_ADMIN, Role.OWNER: Action.REMOVE_OWNER}
_ADDITION = {Role.MEMBER: Action.ADD_MEMBERS, Role.ADMIN: Action.ADD_ADMINS}


def require(action: Action, role: Role) -> None:
    """Return when the role may do it.

    Raises:
        DomainError: PERMISSION_DENIED `NOT_ALLOWED`.
    """
    if role not in ALLOWED[action]:
        raise errors.not_allowed(action.value, role.value)


def require_group(conversation: Conversation) -> None:
    """Return when title and members can change at all.

    Raises:
        DomainError: FAILED_PRECONDITION `DIRECT_CONVERSATION`.
    """
    if conversation.type is ConversationType.DIRECT:
        raise errors.direct_conversation()


def require_open(conversation: Conversation) -> None:
    """Return when something may be added to the conversation.

    Raises:
        DomainError: FAILED_PRECONDITION `DIRECT_CONVERSATION` or `CONVERSATION_ARCHIVED`.
    """
    require_group(conversation)
    if conversation.archived_at is not None:
        raise errors.archived()


def require_addition(conversation: Conversation, actor: Member, role: Role) -> None:
    """Return when the actor may bring people in with that role.

    Raises:
        DomainError: FAILED_PRECONDITION or PERMISSION_DENIED; owners are made by changing a role, never by adding.
    """
    require_open(conversation)
    require(_ADDITION.get(role, Action.CHANGE_ROLES), actor.role)


def require_removal(conversation: Conversation, actor: Member, target: Member, owner_count: int) -> None:
    """Return when the actor may take the target out. Everybody may leave but the last owner of others.

    Works on archived conversations too: who is in one must be able to get out. `owner_count` is the number of owners now, the
    target included when it is one.

    Raises:
        DomainError: FAILED_PRECONDITION `DIRECT_CONVERSATION` or `LAST_OWNER`, PERMISSION_DENIED `NOT_ALLOWED`.
    """
    require_group(conversation)
    if actor.user_id != target.user_id:
        require(_REMOVAL[target.role], actor.role)
    if target.role is Role.OWNER and owner_count <= 1 and conversation.member_count > 1:
        raise errors.last_owner()


def require_role_change(conversation: Conversation, actor: Member, target: Member, role: Role, owner_count: int) -> None:
    """Return when the actor may give the target that role.

    `owner_count` is the number of owners now, the target included when it is one.

    Raises:
        DomainError: FAILED_PRECONDITION `DIRECT_CONVERSATION`, `CONVERSATION_ARCHIVED` or `LAST_OWNER`,
            PERMISSION_DENIED `NOT_ALLOWED`.
    """
    require_open(conversation)
    require(Action.CHANGE_ROLES, actor.role)
    if target.role is Role.OWNER and role is not Role.OWNER and owner_count <= 1:
        raise errors.last_owner()
