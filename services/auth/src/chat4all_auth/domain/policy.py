"""Who may do and see what, and what becomes of a refresh token."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from chat4all_auth.domain.model import RefreshToken, Role, Session, User, UserStatus

# `chat` is everything a person does in conversations; the others are added to it.
_SCOPES = {
    Role.USER: "chat",
    Role.AGENT: "chat agent",
    Role.ADMIN: "chat agent admin",
    Role.PARTNER: "chat partner",
}


def scope_of(role: Role) -> str:
    """The claim `scope` of access tokens: names with a space between."""
    return _SCOPES[role]


def may_see_email(viewer: User, user: User) -> bool:
    """An address is shown to its owner and to administrators of the tenant."""
    return viewer.user_id == user.user_id or (viewer.role is Role.ADMIN and viewer.tenant_id == user.tenant_id)


class RefreshVerdict(Enum):
    """What becomes of a refresh token that somebody shows."""

    GOOD = "success"
    SESSION_ENDED = "session_ended"
    REUSED = "reused"
    EXPIRED = "expired"
    SUSPENDED = "suspended"


def judge_refresh(token: RefreshToken, session: Session, user: User, now: datetime) -> RefreshVerdict:
    """Decide on a token of that session. There is no grace for a second use: a lost answer means signing in again."""
    if session.ended_at is not None or user.status is UserStatus.DELETED:
        return RefreshVerdict.SESSION_ENDED
    if token.used_at is not None:
        return RefreshVerdict.REUSED
    if token.expires_at <= now:
        return RefreshVerdict.EXPIRED
    return RefreshVerdict.SUSPENDED if user.status is UserStatus.SUSPENDED else RefreshVerdict.GOOD
