"""What the use cases need from the outside. `store_postgres*.py`, `passwords.py`, `throttle_redis.py` and others implement it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chat4all_auth.domain.model import (
    Credentials,
    EndReason,
    RefreshToken,
    Session,
    SessionId,
    Tenant,
    TenantId,
    User,
    UserChanges,
    UserId,
)


class Accounts(Protocol):
    """Tenants and users. Every method raises DomainError UNAVAILABLE `POSTGRES_UNAVAILABLE` when the store is away."""

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant, None when there is none."""
        ...

    async def add_user(self, user: User, password_hash: str) -> None:
        """Keep a new account.

        Raises:
            DomainError: ALREADY_EXISTS `USERNAME_TAKEN` or `EMAIL_TAKEN`.
        """
        ...

    async def username_exists(self, tenant_id: TenantId, username: str) -> bool:
        """Whether the name is taken; a hint, `add_user` decides."""
        ...

    async def credentials(self, tenant_id: TenantId, username: str) -> Credentials | None:
        """The account of that folded name, deleted ones left out."""
        ...

    async def replace_password_hash(self, user_id: UserId, old: str, new: str, now: datetime) -> None:
        """Keep a better hash of the same password, unless the hash was changed meanwhile."""
        ...

    async def user(self, tenant_id: TenantId, user_id: UserId) -> User | None:
        """The account in that tenant, deleted ones left out."""
        ...

    async def users(self, tenant_id: TenantId, user_ids: Sequence[UserId]) -> list[User]:
        """Those of the accounts that are in that tenant, deleted ones left out."""
        ...

    async def list_users(self, tenant_id: TenantId, prefix: str, after_username: str, limit: int) -> list[User]:
        """Active accounts by username, from after that name on, whose username or display name starts with the search key."""
        ...

    async def update_user(self, tenant_id: TenantId, user_id: UserId, changes: UserChanges, now: datetime) -> User | None:
        """Change an account and give it back, None when there is none.

        Raises:
            DomainError: ALREADY_EXISTS `EMAIL_TAKEN`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """A refresh token that was shown, with its session and the session's owner, locked until the transaction ends."""

    token: RefreshToken
    session: Session
    user: User


class Rotation(Protocol):
    """One transaction around one refresh token: all of it happens, or nothing."""

    async def lock(self, token_hash: bytes) -> Family | None:
        """Find the token and hold its session; others that show a token of the session wait here."""
        ...

    async def replace(self, used: RefreshToken, by: RefreshToken, session: Session) -> None:
        """Mark one token used, keep the next, and note the session's use."""
        ...

    async def end(self, session_id: SessionId, reason: EndReason, now: datetime) -> None:
        """End the session."""
        ...


class Sessions(Protocol):
    """Sessions and their refresh tokens. Raises UNAVAILABLE like `Accounts`."""

    async def open(self, session: Session, token: RefreshToken) -> None:
        """Keep a new session with its first refresh token."""
        ...

    def rotation(self) -> AbstractAsyncContextManager[Rotation]:
        """Begin the transaction of one refresh; it commits when the block ends without an error."""
        ...

    async def owner_of_live(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId, now: datetime) -> User | None:
        """The active user of a session that has neither ended nor run out."""
        ...

    async def list_live(
        self, tenant_id: TenantId, user_id: UserId, before: tuple[datetime, SessionId] | None, limit: int, now: datetime
    ) -> list[Session]:
        """Open sessions of a user, last used first, older than (`last_used_at`, `session_id`) when given."""
        ...

    async def end(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId, reason: EndReason, now: datetime) -> bool:
        """End one open session of the user; False when there is none."""
        ...

    async def end_all(self, tenant_id: TenantId, user_id: UserId, reason: EndReason, now: datetime) -> int:
        """End every open session of the user; how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Whether a password fits, and the hash to keep from now on when the old one was made with other parameters."""

    fits: bool
    better_hash: str | None = None


class Passwords(Protocol):
    """Slow hashing. Raises DomainError RESOURCE_EXHAUSTED `PASSWORDS_BUSY` when too many wait."""

    async def hash(self, password: str) -> str:
        """A hash with its salt and parameters inside."""
        ...

    async def check(self, password_hash: str | None, password: str) -> PasswordCheck:
        """Compare; with None as long as with a hash, and never fitting."""
        ...


class Throttle(Protocol):
    """Limits on guessing. Lets everything through while its store is away."""

    async def begin_login(self, tenant_id: TenantId, username: str, address: str) -> None:
        """Count an attempt on the account as failed until `forgive_login` says otherwise.

        Raises:
            DomainError: RESOURCE_EXHAUSTED `LOGIN_THROTTLED`; nothing is counted then.
        """
        ...

    async def forgive_login(self, tenant_id: TenantId, username: str) -> None:
        """The attempt was no wrong guess."""
        ...

    async def count_failed_login(self, address: str) -> None:
        """The attempt was a wrong guess from that address."""
        ...

    async def begin_registration(self, address: str) -> None:
        """Count one.

        Raises:
            DomainError: RESOURCE_EXHAUSTED `REGISTRATION_THROTTLED`.
        """
        ...


class AccessTokens(Protocol):
    """Makes access tokens."""

    lifetime_seconds: int

    def mint(self, user: User, session_id: SessionId, now: datetime) -> str:
        """A signed token for that session."""
        ...


class SessionNotices(Protocol):
    """Tells gateways to close sockets."""

    def session_ended(self, user_id: UserId, session_id: SessionId | None) -> None:
        """One session of the user ended, or all with None. Returns at once; delivery is tried for a while."""
        ...
