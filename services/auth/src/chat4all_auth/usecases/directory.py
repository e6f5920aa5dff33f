"""Looking people up inside a tenant, and changing oneself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat4all_auth.domain import errors, fields
from chat4all_auth.domain.model import TenantId, User, UserChanges
from chat4all_auth.domain.policy import may_see_email
from chat4all_auth.repository import Accounts
from chat4all_auth.usecases.sessions import LiveSession
from chat4all_runtime import page_token
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import invalid
from chat4all_runtime.identity import Caller

_CHANGEABLE = ("display_name", "email")


def _as_seen_by(viewer: User, user: User) -> User:
    return user if may_see_email(viewer, user) else replace(user, email="")


class GetUser:
    """One account of the caller's tenant; of another tenant it is not there."""

    def __init__(self, accounts: Accounts, live: LiveSession) -> None:
        self._accounts = accounts
        self._live = live

    async def __call__(self, caller: Caller, user_id: str) -> User:
        """The account as the caller may see it.

        Raises:
            DomainError: NOT_FOUND `USER_NOT_FOUND`; UNAUTHENTICATED `SESSION_ENDED`.
        """
        wanted = fields.user_id(user_id)
        viewer = await self._live.owner(caller)
        user = await self._accounts.user(viewer.tenant_id, wanted)
        if user is None:
            raise errors.user_not_found(wanted)
        return _as_seen_by(viewer, user)


@dataclass(frozen=True, slots=True)
class UserPage:
    """Accounts and where the next page starts, empty on the last."""

    users: Sequence[User]
    next_page_token: str


class ListUsers:
    """The directory of the caller's tenant: active accounts, by username."""

    def __init__(self, accounts: Accounts, live: LiveSession) -> None:
        self._accounts = accounts
        self._live = live

    async def __call__(self, caller: Caller, query: str, page_size: int, token: str) -> UserPage:
        """One page of those whose username or display name starts with the query.

        Raises:
            DomainError: INVALID_ARGUMENT `QUERY_INVALID`, `PAGE_SIZE_INVALID`, `PAGE_TOKEN_INVALID`; `SESSION_ENDED`.
        """
        prefix = fields.query(query)
        size = page_token.page_size(page_size)
        after = _position(token)
        viewer = await self._live.owner(caller)
        found = await self._accounts.list_users(viewer.tenant_id, prefix, after, size + 1)
        users = [_as_seen_by(viewer, user) for user in found[:size]]
        return UserPage(users, page_token.encode(users[-1].username) if len(found) > size else "")


def _position(token: str) -> str:
    parts = page_token.decode(token, str)
    if parts is None:
        return ""
    after = str(parts[0])
    if len(after) > fields.USERNAME_CHARS[1] or not fields.is_printable(after):
        raise invalid("page_token", "PAGE_TOKEN_INVALID", "page_token is not one that this service gave out.")
    return after


class BatchGetUsers:
    """Accounts by id for another process of ours; ids that are unknown in the tenant are left out. Without addresses."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def __call__(self, tenant_id: str, user_ids: Sequence[str]) -> list[User]:
        """The accounts, in the order asked for.

        Raises:
            DomainError: INVALID_ARGUMENT `TENANT_ID_REQUIRED`, `TENANT_ID_INVALID`, `USER_ID_INVALID`, `TOO_MANY_USER_IDS`.
        """
        if not tenant_id:
            raise invalid("tenant_id", "TENANT_ID_REQUIRED", "tenant_id is required.")
        wanted = fields.user_ids(list(user_ids))
        tenant: TenantId = fields.tenant_id(tenant_id)
        if not wanted:
            return []
        found = {user.user_id: replace(user, email="") for user in await self._accounts.users(tenant, wanted)}
        return [found[user_id] for user_id in wanted if user_id in found]


class UpdateCurrentUser:
    """Changes the caller's own account."""

    def __init__(self, accounts: Accounts, live: LiveSession, clock: Clock) -> None:
        self._accounts = accounts
        self._live = live
        self._clock = clock

    async def __call__(self, caller: Caller, display_name: str, email: str, mask: Sequence[str] | None) -> User:
        """Change what the mask names; without a mask, what is not empty. A named, empty email is removed.

        Raises:
            DomainError: INVALID_ARGUMENT `UPDATE_MASK_INVALID`, `UPDATE_EMPTY`, or by field; ALREADY_EXISTS `EMAIL_TAKEN`;
                UNAUTHENTICATED `SESSION_ENDED`.
        """
        given = {"display_name": display_name, "email": email}
        paths = list(mask) if mask else [path for path in _CHANGEABLE if given[path]]
        paths = list(_CHANGEABLE) if paths == ["*"] else paths
        for path in paths:
            if path not in _CHANGEABLE:
                message = "update_mask may name display_name and email."
                raise invalid("update_mask", "UPDATE_MASK_INVALID", message)
        if not paths:
            raise invalid("user", "UPDATE_EMPTY", "Nothing to change was given.")
        changes = UserChanges(
            display_name=fields.display_name(display_name, "user.display_name") if "display_name" in paths else None,
            email=fields.email(email, "user.email") if "email" in paths else None,
        )
        user = await self._live.owner(caller)
        changed = await self._accounts.update_user(user.tenant_id, user.user_id, changes, self._clock.now())
        if changed is None:
            raise errors.session_ended()  # deleted since the line above
        return changed
