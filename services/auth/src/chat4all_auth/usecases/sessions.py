"""Sessions of the caller, and whether a session is still alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chat4all_auth.domain import errors, fields
from chat4all_auth.domain.model import EndReason, Session, SessionId, TenantId, User, UserId
from chat4all_auth.repository import SessionNotices, Sessions
from chat4all_runtime import page_token
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import invalid
from chat4all_runtime.identity import Caller, TokenVerifier
from chat4all_runtime.ids import is_uuid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LiveSession:
    """Finds the user behind a checked access token. Here, unlike in services without the table, ended sessions are seen at once."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    async def owner(self, caller: Caller) -> User:
        """The active user whose session it is.

        Raises:
            DomainError: UNAUTHENTICATED `SESSION_ENDED`.
        """
        user = None
        if is_uuid(caller.session_id) and is_uuid(caller.user_id):
            user = await self._sessions.owner_of_live(
                TenantId(caller.tenant_id), UserId(caller.user_id), SessionId(caller.session_id), self._clock.now()
            )
        if user is None:
            raise errors.session_ended()
        return user


class VerifyToken:
    """Checks an access token for another process of ours: signature, claims and session."""

    def __init__(self, verifier: TokenVerifier, live: LiveSession) -> None:
        self._verifier = verifier
        self._live = live

    async def __call__(self, access_token: str) -> Caller:
        """Whose token it is.

        Raises:
            DomainError: UNAUTHENTICATED `TOKEN_INVALID`, `TOKEN_EXPIRED` or `SESSION_ENDED`.
        """
        caller = await self._verifier.verify(fields.token(access_token, "access_token"))
        await self._live.owner(caller)
        return caller


class Logout:
    """Ends the caller's session, or all of them. Ending what has ended is no error, so it may be repeated.

    The end is committed first, then the gateways are told.
    """

    def __init__(self, sessions: Sessions, live: LiveSession, notices: SessionNotices, clock: Clock) -> None:
        self._sessions = sessions
        self._live = live
        self._notices = notices
        self._clock = clock

    async def __call__(self, caller: Caller, all_sessions: bool) -> None:
        """End.

        Raises:
            DomainError: UNAUTHENTICATED `SESSION_ENDED` when all shall end and the asking one has ended itself.
        """
        tenant_id, user_id = TenantId(caller.tenant_id), UserId(caller.user_id)
        if all_sessions:
            await self._live.owner(caller)
            await self._sessions.end_all(tenant_id, user_id, EndReason.LOGOUT_ALL, self._clock.now())
            self._notices.session_ended(user_id, None)
            return
        session_id = fields.session_id(caller.session_id)
        if await self._sessions.end(tenant_id, user_id, session_id, EndReason.LOGOUT, self._clock.now()):
            self._notices.session_ended(user_id, session_id)


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions and where the next page starts, empty on the last."""

    sessions: Sequence[Session]
    next_page_token: str


class ListSessions:
    """The devices the caller is signed in with."""

    def __init__(self, sessions: Sessions, live: LiveSession, clock: Clock) -> None:
        self._sessions = sessions
        self._live = live
        self._clock = clock

    async def __call__(self, caller: Caller, page_size: int, token: str) -> SessionPage:
        """One page, last used first.

        Raises:
            DomainError: INVALID_ARGUMENT `PAGE_SIZE_INVALID` or `PAGE_TOKEN_INVALID`; UNAUTHENTICATED `SESSION_ENDED`.
        """
        size = page_token.page_size(page_size)
        before = _position(token)
        user = await self._live.owner(caller)
        found = await self._sessions.list_live(user.tenant_id, user.user_id, before, size + 1, self._clock.now())
        if len(found) <= size:
            return SessionPage(found, "")
        last = found[size - 1]
        return SessionPage(found[:size], page_token.encode((last.last_used_at - _EPOCH) // _MICROSECOND, last.session_id))


def _position(token: str) -> tuple[datetime, SessionId] | None:
    parts = page_token.decode(token, int, str)
    if parts is None:
        return None
    used, session_id = int(parts[0]), str(parts[1])
    try:
        if not is_uuid(session_id):
            raise ValueError("not an id")
        return _EPOCH + used * _MICROSECOND, SessionId(session_id)
    except (ValueError, OverflowError) as error:
        raise invalid("page_token", "PAGE_TOKEN_INVALID", "page_token is not one that this service gave out.") from error


class DeleteSession:
    """Ends one session of the caller, this one or another. Committed first, then the gateways are told."""

    def __init__(self, sessions: Sessions, live: LiveSession, notices: SessionNotices, clock: Clock) -> None:
        self._sessions = sessions
        self._live = live
        self._notices = notices
        self._clock = clock

    async def __call__(self, caller: Caller, session_id: str) -> None:
        """End.

        Raises:
            DomainError: NOT_FOUND `SESSION_NOT_FOUND`, also for sessions of others; UNAUTHENTICATED `SESSION_ENDED`.
        """
        wanted = fields.session_id(session_id)
        user = await self._live.owner(caller)
        if not await self._sessions.end(user.tenant_id, user.user_id, wanted, EndReason.DELETED, self._clock.now()):
            raise errors.session_not_found(wanted)
        self._notices.session_ended(user.user_id, wanted)
