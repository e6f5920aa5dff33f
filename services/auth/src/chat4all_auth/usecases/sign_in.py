"""Signing in and staying signed in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chat4all_auth import metrics
from chat4all_auth.domain import errors, fields
from chat4all_auth.domain.model import Client, EndReason, RefreshToken, Session, SessionId, SignedIn, TenantId, User, UserStatus
from chat4all_auth.domain.policy import RefreshVerdict, judge_refresh
from chat4all_auth.repository import AccessTokens, Accounts, Family, Passwords, Rotation, SessionNotices, Sessions, Throttle
from chat4all_auth.tokens import hash_refresh_token, new_refresh_token
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """What somebody shows, unchecked."""

    username: str
    password: str
    device_id: str
    device_name: str
    tenant_id: str


def _fresh_token(session_id: SessionId, now: datetime, lifetime: timedelta) -> tuple[str, RefreshToken]:
    token = new_refresh_token()
    return token, RefreshToken(new_id(), hash_refresh_token(token), session_id, now, now + lifetime)


class Login:
    """Checks a password and opens a session.

    Answer and time are the same for an unknown user, an unknown tenant and a wrong password.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        passwords: Passwords,
        throttle: Throttle,
        tokens: AccessTokens,
        clock: Clock,
        refresh_lifetime: timedelta,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._throttle = throttle
        self._tokens = tokens
        self._clock = clock
        self._refresh_lifetime = refresh_lifetime

    async def __call__(self, attempt: LoginAttempt, client: Client) -> SignedIn:
        """Count, check, open, sign.

        Raises:
            DomainError: INVALID_ARGUMENT by field, `INVALID_CREDENTIALS`, `ACCOUNT_SUSPENDED` (password was right),
                `LOGIN_THROTTLED`, `PASSWORDS_BUSY`, `POSTGRES_UNAVAILABLE`.
        """
        outcome = "failed"
        try:
            signed_in = await self._login(attempt, client)
            outcome = "success"
        except DomainError as error:
            outcome = _outcome(error)
            raise
        finally:
            metrics.logins.labels(outcome).inc()
        return signed_in

    async def _login(self, attempt: LoginAttempt, client: Client) -> SignedIn:
        tenant_id = fields.tenant_id(attempt.tenant_id)
        username = fields.login_name(attempt.username)
        password = fields.login_password(attempt.password)
        device_id = fields.device(attempt.device_id, "device_id")
        device_name = fields.device(attempt.device_name, "device_name")
        account = username or attempt.username
        await self._throttle.begin_login(tenant_id, account, client.address)
        try:
            user = await self._check_password(tenant_id, username, password)
        except DomainError as error:
            if error.reason == "INVALID_CREDENTIALS":
                await self._throttle.count_failed_login(client.address)
            else:
                await self._throttle.forgive_login(tenant_id, account)
            raise
        await self._throttle.forgive_login(tenant_id, account)
        if user.status is UserStatus.SUSPENDED:
            raise errors.account_suspended()
        now = self._clock.now()
        session = Session(
            session_id=SessionId(new_id()),
            tenant_id=tenant_id,
            user_id=user.user_id,
            device_id=device_id,
            device_name=device_name,
            client=client,
            created_at=now,
            last_used_at=now,
            expires_at=now + self._refresh_lifetime,
        )
        refresh_token, kept = _fresh_token(session.session_id, now, self._refresh_lifetime)
        await self._sessions.open(session, kept)
        access_token = self._tokens.mint(user, session.session_id, now)
        return SignedIn(user, session.session_id, access_token, refresh_token, self._tokens.lifetime_seconds)

    async def _check_password(self, tenant_id: TenantId, username: str | None, password: str) -> User:
        found = None if username is None else await self._accounts.credentials(tenant_id, username)
        old_hash = found.password_hash if found else None
        checked = await self._passwords.check(old_hash, password)
        if found is None or old_hash is None or not checked.fits:
            raise errors.invalid_credentials()
        if checked.better_hash is not None:
            await self._accounts.replace_password_hash(found.user.user_id, old_hash, checked.better_hash, self._clock.now())
        return found.user


def _outcome(error: DomainError) -> str:
    if error.reason == "INVALID_CREDENTIALS":
        return "invalid_credentials"
    if error.reason == "ACCOUNT_SUSPENDED":
        return "suspended"
    return {Code.RESOURCE_EXHAUSTED: "throttled", Code.INVALID_ARGUMENT: "refused"}.get(error.code, "failed")


class RefreshTokens:
    """Exchanges a refresh token for a new pair, once.

    One transaction: the old token is used and the next kept, or neither. A second use ends the session, for whoever holds the
    tokens now; that is committed before it is refused.
    """

    def __init__(
        self, sessions: Sessions, tokens: AccessTokens, notices: SessionNotices, clock: Clock, refresh_lifetime: timedelta
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._notices = notices
        self._clock = clock
        self._refresh_lifetime = refresh_lifetime

    async def __call__(self, refresh_token: str, client: Client) -> SignedIn:
        """Lock, judge, rotate, sign.

        Raises:
            DomainError: UNAUTHENTICATED `REFRESH_TOKEN_INVALID`, `REFRESH_TOKEN_EXPIRED`, `REFRESH_TOKEN_REUSED`,
                `SESSION_ENDED`; `ACCOUNT_SUSPENDED`, `POSTGRES_UNAVAILABLE`.
        """
        token_hash = hash_refresh_token(fields.token(refresh_token, "refresh_token"))
        outcome = "failed"
        try:
            async with self._sessions.rotation() as rotation:
                family = await rotation.lock(token_hash)
                now = self._clock.now()
                verdict = None if family is None else judge_refresh(family.token, family.session, family.user, now)
                next_token = ""
                if family is not None and verdict is RefreshVerdict.GOOD:
                    next_token = await self._rotate(rotation, family, client, now)
                elif family is not None and verdict is RefreshVerdict.REUSED:
                    await rotation.end(family.session.session_id, EndReason.REFRESH_REUSED, now)
            outcome = "invalid" if verdict is None else verdict.value
        finally:
            metrics.refreshes.labels(outcome).inc()
        if family is None or verdict is None:
            raise errors.refresh_token_invalid()
        if verdict is RefreshVerdict.REUSED:
            self._notices.session_ended(family.user.user_id, family.session.session_id)
        if verdict is not RefreshVerdict.GOOD:
            raise _REFUSALS[verdict]()
        access_token = self._tokens.mint(family.user, family.session.session_id, now)
        return SignedIn(family.user, family.session.session_id, access_token, next_token, self._tokens.lifetime_seconds)

    async def _rotate(self, rotation: Rotation, family: Family, client: Client, now: datetime) -> str:
        token, kept = _fresh_token(family.session.session_id, now, self._refresh_lifetime)
        session = replace(family.session, client=client, last_used_at=now, expires_at=now + self._refresh_lifetime)
        await rotation.replace(family.token, kept, session)
        return token


_REFUSALS = {
    RefreshVerdict.SESSION_ENDED: errors.session_ended,
    RefreshVerdict.REUSED: errors.refresh_token_reused,
    RefreshVerdict.EXPIRED: errors.refresh_token_expired,
    RefreshVerdict.SUSPENDED: errors.account_suspended,
}
