"""Who may do what: every action with every role, and the rules about owners."""

from __future__ import annotations

import pytest
from unit.conversation.builders import conversation, member

from chat4all_conversation.domain import policy
from chat4all_conversation.domain.model import ConversationType, Role
from chat4all_conversation.domain.policy import Action
from chat4all_runtime.errors import DomainError

M, A, O = Role.MEMBER, Role.ADMIN, Role.OWNER  # noqa: E741  # short names make the table readable

TABLE = {
    Action.CHANGE_TITLE: {A, O},
    Action.ARCHIVE: {O},
    Action.ADD_MEMBERS: {A, O},
    Action.ADD_ADMINS: {O},
    Action.CHANGE_ROLES: {O},
    Action.REMOVE_MEMBER: {A, O},
    Action.REMOVE_ADMIN: {O},
    Action.REMOVE_OWNER: {O},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(Action))
def test_each_action_is_open_to_its_roles_only(action: Action, role: Role) -> None:
    """Promise: what the table does not allow is denied, with a reason."""
    if role in TABLE[action]:
        policy.require(action, role)
    else:
        with pytest.raises(DomainError) as refused:
            policy.require(action, role)
        assert refused.value.reason == "NOT_ALLOWED"


@pytest.mark.parametrize(
    ("actor", "target", "allowed"), [(A, M, True), (A, A, False), (A, O, False), (O, O, True), (M, M, False)]
)
def test_removal_depends_on_both_roles(actor: Role, target: Role, allowed: bool) -> None:
    """Promise: admins remove members, owners everybody, members nobody."""
    check = [conversation(), member(actor), member(target), 2]
    if allowed:
        policy.require_removal(*check)  # type: ignore[arg-type]  # as above, in order
    else:
        with pytest.raises(DomainError, match="you may not remove"):
            policy.require_removal(*check)  # type: ignore[arg-type]


def test_everybody_but_the_last_owner_of_others_may_leave() -> None:
    """Promise: a conversation with members always has an owner; who is alone may go."""
    for role in (M, A):
        someone = member(role)
        policy.require_removal(conversation(archived=True), someone, someone, 1)
    owner = member(O)
    with pytest.raises(DomainError) as refused:
        policy.require_removal(conversation(), owner, owner, 1)
    assert refused.value.reason == "LAST_OWNER"
    policy.require_removal(conversation(), owner, owner, 2)
    policy.require_removal(conversation(member_count=1), owner, owner, 1)


def test_the_last_owner_cannot_step_down() -> None:
    """Promise: even alone, an owner stays one until somebody else is."""
    owner = member(O)
    with pytest.raises(DomainError) as refused:
        policy.require_role_change(conversation(), owner, owner, M, 1)
    assert refused.value.reason == "LAST_OWNER"
    policy.require_role_change(conversation(), owner, owner, M, 2)
    policy.require_role_change(conversation(), owner, owner, O, 1)


def test_direct_and_archived_conversations_refuse_additions() -> None:
    """Promise: the reason says which of the two it is."""
    owner = member(O)
    for place, reason in (
        (conversation(ConversationType.DIRECT), "DIRECT_CONVERSATION"),
        (conversation(archived=True), "CONVERSATION_ARCHIVED"),
    ):
        with pytest.raises(DomainError) as refused:
            policy.require_addition(place, owner, M)
        assert refused.value.reason == reason
    policy.require_addition(conversation(ConversationType.CHANNEL), owner, A)
