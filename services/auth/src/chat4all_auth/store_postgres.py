"""Tenants and users in PostgreSQL, schema `auth`. Rows stop here."""

# ruff: noqa: S608 - statements are put together from constants of this package only

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg

from chat4all_auth.domain import errors
from chat4all_auth.domain.fields import search_key
from chat4all_auth.domain.model import Credentials, Role, Tenant, TenantId, User, UserChanges, UserId, UserStatus
from chat4all_auth.postgres_errors import postgres_guard

USER_COLUMNS = """u.user_id, u.tenant_id, u.username, u.display_name, u.email, u.status, u.role,
    u.created_at as user_created_at, u.updated_at as user_updated_at"""

_TENANT = "select tenant_id, sign_up_enabled from tenants where tenant_id = $1"
_ADD_USER = """
    insert into users (user_id, tenant_id, username, display_name, search_name, email, password_hash, status, role,
                       created_at, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""
_USERNAME_EXISTS = "select exists (select from users where tenant_id = $1 and lower(username) = $2)"
_CREDENTIALS = f"""
    select {USER_COLUMNS}, u.password_hash from users u
    where u.tenant_id = $1 and lower(u.username) = $2 and u.status <> 'deleted'"""
_REPLACE_HASH = "update users set password_hash = $3, updated_at = $4 where user_id = $1 and password_hash = $2"
_USERS = f"select {USER_COLUMNS} from users u where u.tenant_id = $1 and u.user_id = any($2::uuid[]) and u.status <> 'deleted'"
_LIST_USERS = f"""
    select {USER_COLUMNS} from users u
    where u.tenant_id = $1 and u.status = 'active' and lower(u.username) > $2
      and ($3 = '' or lower(u.username) like $3 or u.search_name like $3)
    order by lower(u.username) limit $4"""
_UPDATE_USER = f"""
    update users u set
        display_name = coalesce($3, display_name), search_name = coalesce($4, search_name),
        email = case when $5::text is null then email else nullif($5, '') end, updated_at = $6
    where u.tenant_id = $1 and u.user_id = $2 and u.status <> 'deleted'
    returning {USER_COLUMNS}"""


def user_of(row: Any) -> User:
    """The user in a row that has `USER_COLUMNS`."""
    return User(
        user_id=UserId(str(row["user_id"])),
        tenant_id=TenantId(row["tenant_id"]),
        username=row["username"],
        display_name=row["display_name"],
        email=row["email"] or "",
        status=UserStatus(row["status"]),
        role=Role(row["role"]),
        created_at=row["user_created_at"],
        updated_at=row["user_updated_at"],
    )


class PostgresAccounts:
    """Implements `repository.Accounts`.

    Args:
        timeout_seconds: longest wait for a free connection; statements have the pool's own deadline.
    """

    def __init__(self, pool: asyncpg.Pool, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with postgres_guard():
            async with self._pool.acquire(timeout=self._timeout_seconds) as connection:
                yield connection

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant, None when there is none."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_TENANT, tenant_id)
        return Tenant(TenantId(row["tenant_id"]), row["sign_up_enabled"]) if row else None

    async def add_user(self, user: User, password_hash: str) -> None:
        """Keep a new account; the unique indexes decide between two that come at once."""
        async with self._connection() as connection:
            try:
                await connection.execute(
                    _ADD_USER,
                    user.user_id,
                    user.tenant_id,
                    user.username,
                    user.display_name,
                    search_key(user.display_name),
                    user.email or None,
                    password_hash,
                    user.status.value,
                    user.role.value,
                    user.created_at,
                    user.updated_at,
                )
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name == "users_tenant_email":
                    raise errors.email_taken() from error
                if error.constraint_name == "users_tenant_username":
                    raise errors.username_taken(user.username) from error
                raise

    async def username_exists(self, tenant_id: TenantId, username: str) -> bool:
        """Whether the name is taken, also by a deleted account."""
        async with self._connection() as connection:
            return bool(await connection.fetchval(_USERNAME_EXISTS, tenant_id, username))

    async def credentials(self, tenant_id: TenantId, username: str) -> Credentials | None:
        """The account of that folded name."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_CREDENTIALS, tenant_id, username)
        return Credentials(user_of(row), row["password_hash"]) if row else None

    async def replace_password_hash(self, user_id: UserId, old: str, new: str, now: datetime) -> None:
        """Keep a better hash unless it was changed meanwhile."""
        async with self._connection() as connection:
            await connection.execute(_REPLACE_HASH, user_id, old, new, now)

    async def user(self, tenant_id: TenantId, user_id: UserId) -> User | None:
        """The account in that tenant."""
        found = await self.users(tenant_id, [user_id])
        return found[0] if found else None

    async def users(self, tenant_id: TenantId, user_ids: Sequence[UserId]) -> list[User]:
        """Those of the accounts that are in that tenant."""
        async with self._connection() as connection:
            rows = await connection.fetch(_USERS, tenant_id, list(user_ids))
        return [user_of(row) for row in rows]

    async def list_users(self, tenant_id: TenantId, prefix: str, after_username: str, limit: int) -> list[User]:
        """Active accounts by username whose username or display name starts with the search key."""
        pattern = _like(prefix) + "%" if prefix else ""
        async with self._connection() as connection:
            rows = await connection.fetch(_LIST_USERS, tenant_id, after_username, pattern, limit)
        return [user_of(row) for row in rows]

    async def update_user(self, tenant_id: TenantId, user_id: UserId, changes: UserChanges, now: datetime) -> User | None:
        """Change an account and give it back."""
        key = None if changes.display_name is None else search_key(changes.display_name)
        async with self._connection() as connection:
            try:
                row = await connection.fetchrow(_UPDATE_USER, tenant_id, user_id, changes.display_name, key, changes.email, now)
            except asyncpg.UniqueViolationError as error:
                raise errors.email_taken() from error
        return user_of(row) if row else None


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
