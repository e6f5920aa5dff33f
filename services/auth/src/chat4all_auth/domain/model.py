"""The nouns of the auth service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
SessionId = NewType("SessionId", str)

DEFAULT_TENANT = TenantId("default")


class UserStatus(StrEnum):
    """What may happen to an account."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Role(StrEnum):
    """What somebody is inside a tenant."""

    USER = "user"
    AGENT = "agent"
    ADMIN = "admin"
    PARTNER = "partner"


class EndReason(StrEnum):
    """Why a session ended; kept with it."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    DELETED = "deleted"
    REFRESH_REUSED = "refresh_reused"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer; everything belongs to one."""

    tenant_id: TenantId
    sign_up_enabled: bool


@dataclass(frozen=True, slots=True)
class User:
    """An account, without its password."""

    user_id: UserId
    tenant_id: TenantId
    username: str
    display_name: str
    email: str
    status: UserStatus
    role: Role
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class UserChanges:
    """New values of an account; None leaves a value as it is, an empty email removes it."""

    display_name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account with what its password is checked against; None for people who cannot sign in with one."""

    user: User
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Client:
    """Where a call came from, as far as the edge tells."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Session:
    """One device somebody is signed in with: the family of its refresh tokens."""

    session_id: SessionId
    tenant_id: TenantId
    user_id: UserId
    device_id: str
    device_name: str
    client: Client
    created_at: datetime
    last_used_at: datetime
    # When its newest refresh token expires.
    expires_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """What is kept of a refresh token: never the token, only its SHA-256."""

    token_id: str
    token_hash: bytes
    session_id: SessionId
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a client holds after login or refresh."""

    user: User
    session_id: SessionId
    access_token: str
    refresh_token: str
    expires_in_seconds: int
