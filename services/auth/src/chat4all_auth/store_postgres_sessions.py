"""Sessions and refresh tokens in PostgreSQL, schema `auth`.

The row of a session is the lock of its family: whoever shows a refresh token holds it until commit, so that of two who show
the same token exactly one gets the next and the other is seen as reuse. Everything locks the session first, then tokens.
"""

# ruff: noqa: S105, S608 - statements are put together from constants of this package only

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg

from chat4all_auth.domain.model import Client, EndReason, RefreshToken, Session, SessionId, TenantId, User, UserId
from chat4all_auth.postgres_errors import postgres_guard
from chat4all_auth.repository import Family
from chat4all_auth.store_postgres import USER_COLUMNS, user_of

_SESSION_COLUMNS = """s.session_id, s.tenant_id, s.user_id, s.device_id, s.device_name, s.address, s.user_agent,
    s.created_at, s.last_used_at, s.expires_at, s.ended_at"""

_ADD_SESSION = """
    insert into sessions (session_id, tenant_id, user_id, device_id, device_name, address, user_agent,
                          created_at, last_used_at, expires_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""
_ADD_TOKEN = """
    insert into access_tokens (token_id, tenant_id, user_id, session_id, kind, token_hash, device_id, address, user_agent,
                               created_at, expires_at)
    values ($1, $2, $3, $4, 'refresh', $5, $6, $7, $8, $9, $10)"""
_LOCK_FAMILY = f"""
    select {_SESSION_COLUMNS}, {USER_COLUMNS}
    from access_tokens t join sessions s on s.session_id = t.session_id join users u on u.user_id = s.user_id
    where t.token_hash = $1 and t.kind = 'refresh' for update of s"""
_TOKEN = """
    select token_id, token_hash, session_id, created_at, expires_at, used_at from access_tokens
    where token_hash = $1 and session_id = $2"""
_USE_TOKEN = "update access_tokens set used_at = $2, last_used_at = $2 where token_id = $1"
_USE_SESSION = "update sessions set last_used_at = $2, expires_at = $3, address = $4, user_agent = $5 where session_id = $1"
_END_LOCKED = "update sessions set ended_at = $2, end_reason = $3 where session_id = $1 and ended_at is null"
_OWNER_OF_LIVE = f"""
    select {USER_COLUMNS} from sessions s join users u on u.user_id = s.user_id
    where s.session_id = $1 and s.user_id = $2 and s.tenant_id = $3 and s.ended_at is null and s.expires_at > $4
      and u.status = 'active'"""
_LIST_LIVE = f"""
    select {_SESSION_COLUMNS} from sessions s
    where s.tenant_id = $1 and s.user_id = $2 and s.ended_at is null and s.expires_at > $3
      and ($4::timestamptz is null or (s.last_used_at, s.session_id) < ($4, $5::uuid))
    order by s.last_used_at desc, s.session_id desc limit $6"""
_END = """
    update sessions set ended_at = $4, end_reason = $5
    where tenant_id = $1 and user_id = $2 and session_id = $3 and ended_at is null and expires_at > $4"""
_END_ALL = """
    update sessions set ended_at = $3, end_reason = $4
    where tenant_id = $1 and user_id = $2 and ended_at is null and expires_at > $3"""
# Copies of the process may clean at the same time: each takes rows that no other holds.
_DELETE_SESSIONS = """
    delete from sessions where session_id in (
        select session_id from sessions where expires_at < $1 or ended_at < $1 limit $2 for update skip locked)"""
_DELETE_TOKENS = """
    delete from access_tokens where token_id in (
        select token_id from access_tokens where expires_at < $1 limit $2 for update skip locked)"""


def _session_of(row: Any) -> Session:
    return Session(
        session_id=SessionId(str(row["session_id"])),
        tenant_id=TenantId(row["tenant_id"]),
        user_id=UserId(str(row["user_id"])),
        device_id=row["device_id"],
        device_name=row["device_name"],
        client=Client(row["address"], row["user_agent"]),
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        expires_at=row["expires_at"],
        ended_at=row["ended_at"],
    )


def _changed(status: str) -> int:
    """The number in a command tag such as `UPDATE 3`."""
    return int(status.rsplit(" ", 1)[1])


async def _add_token(connection: Any, token: RefreshToken, session: Session) -> None:
    await connection.execute(
        _ADD_TOKEN,
        token.token_id,
        session.tenant_id,
        session.user_id,
        session.session_id,
        token.token_hash,
        session.device_id,
        session.client.address,
        session.client.user_agent,
        token.created_at,
        token.expires_at,
    )


class _PostgresRotation:
    """Implements `repository.Rotation` on a connection inside a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def lock(self, token_hash: bytes) -> Family | None:
        row = await self._connection.fetchrow(_LOCK_FAMILY, token_hash)
        if row is None:
            return None
        session = _session_of(row)
        # Read again under the lock: the token may have been used while this waited for its session.
        token = await self._connection.fetchrow(_TOKEN, token_hash, session.session_id)
        if token is None:
            return None
        values = dict(token) | {"token_id": str(token["token_id"]), "session_id": session.session_id}
        return Family(RefreshToken(**values), session, user_of(row))

    async def replace(self, used: RefreshToken, by: RefreshToken, session: Session) -> None:
        client = session.client
        await self._connection.execute(_USE_TOKEN, used.token_id, session.last_used_at)
        await self._connection.execute(
            _USE_SESSION, session.session_id, session.last_used_at, session.expires_at, client.address, client.user_agent
        )
        await _add_token(self._connection, by, session)

    async def end(self, session_id: SessionId, reason: EndReason, now: datetime) -> None:
        await self._connection.execute(_END_LOCKED, session_id, now, reason.value)


class PostgresSessions:
    """Implements `repository.Sessions`.

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

    async def open(self, session: Session, token: RefreshToken) -> None:
        """Keep a new session with its first refresh token."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(
                _ADD_SESSION,
                session.session_id,
                session.tenant_id,
                session.user_id,
                session.device_id,
                session.device_name,
                session.client.address,
                session.client.user_agent,
                session.created_at,
                session.last_used_at,
                session.expires_at,
            )
            await _add_token(connection, token, session)

    @asynccontextmanager
    async def rotation(self) -> AsyncIterator[_PostgresRotation]:
        """One transaction; commits when the block ends without an error."""
        async with self._connection() as connection, connection.transaction():
            yield _PostgresRotation(connection)

    async def owner_of_live(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId, now: datetime) -> User | None:
        """The active user of a session that has neither ended nor run out."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_OWNER_OF_LIVE, session_id, user_id, tenant_id, now)
        return user_of(row) if row else None

    async def list_live(
        self, tenant_id: TenantId, user_id: UserId, before: tuple[datetime, SessionId] | None, limit: int, now: datetime
    ) -> list[Session]:
        """Open sessions of a user, last used first."""
        used, session_id = before or (None, None)
        async with self._connection() as connection:
            rows = await connection.fetch(_LIST_LIVE, tenant_id, user_id, now, used, session_id, limit)
        return [_session_of(row) for row in rows]

    async def end(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId, reason: EndReason, now: datetime) -> bool:
        """End one open session of the user."""
        async with self._connection() as connection:
            return _changed(await connection.execute(_END, tenant_id, user_id, session_id, now, reason.value)) == 1

    async def end_all(self, tenant_id: TenantId, user_id: UserId, reason: EndReason, now: datetime) -> int:
        """End every open session of the user."""
        async with self._connection() as connection:
            return _changed(await connection.execute(_END_ALL, tenant_id, user_id, now, reason.value))

    async def delete_unusable(self, ended_before: datetime, expired_before: datetime, limit: int) -> int:
        """Remove up to `limit` sessions over since then and `limit` tokens expired since then; how many rows went."""
        async with self._connection() as connection:
            sessions = _changed(await connection.execute(_DELETE_SESSIONS, ended_before, limit))
            return sessions + _changed(await connection.execute(_DELETE_TOKENS, expired_before, limit))
