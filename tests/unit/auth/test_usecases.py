"""What the use cases do when a step fails; the good ways are shown on real engines."""

# ruff: noqa: D101, D102 - the fakes do what the protocols in repository.py say

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from chat4all_auth.domain.model import (
    Client,
    Credentials,
    RefreshToken,
    Role,
    Session,
    SessionId,
    TenantId,
    User,
    UserId,
    UserStatus,
)
from chat4all_auth.repository import Family, PasswordCheck
from chat4all_auth.usecases.sign_in import Login, LoginAttempt, RefreshTokens
from chat4all_runtime.errors import Code, DomainError, unavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = User(UserId("u"), TenantId("default"), "ana", "Ana", "", UserStatus.ACTIVE, Role.USER, NOW, NOW)
CLIENT = Client("192.0.2.1", "tests")
ATTEMPT = LoginAttempt("ana", "password", "", "", "")


class FixedClock:
    def now(self):
        return NOW


class Tokens:
    lifetime_seconds = 900

    def mint(self, user, session_id, now):
        return f"{user.user_id}/{session_id}"


class Throttle:
    """Counts what the real one would."""

    def __init__(self):
        self.account = 0
        self.address = 0

    async def begin_login(self, tenant_id, username, address):
        self.account += 1

    async def forgive_login(self, tenant_id, username):
        self.account -= 1

    async def count_failed_login(self, address):
        self.address += 1


class Passwords:
    def __init__(self, outcome):
        self.outcome = outcome

    async def check(self, password_hash, password):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Accounts:
    def __init__(self, found=None):
        self.found = found

    async def credentials(self, tenant_id, username):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Sessions:
    """Rotates one family; tells whether the transaction was committed."""

    def __init__(self, family=None, commit_error=None):
        self.family = family
        self.commit_error = commit_error
        self.opened = []
        self.replaced = []
        self.ended = []

    async def open(self, session, token):
        self.opened.append((session, token))

    @asynccontextmanager
    async def rotation(self):
        yield self
        if self.commit_error:
            raise self.commit_error

    async def lock(self, token_hash):
        return self.family

    async def replace(self, used, by, session):
        self.replaced.append((used, by, session))

    async def end(self, session_id, reason, now):
        self.ended.append((session_id, reason))


class Notices:
    def __init__(self):
        self.told = []

    def session_ended(self, user_id, session_id):
        self.told.append((user_id, session_id))


def login(throttle, accounts, passwords, sessions=None):
    return Login(accounts, sessions or Sessions(), passwords, throttle, Tokens(), FixedClock(), timedelta(days=30))


@pytest.mark.parametrize(
    ("accounts", "passwords", "code", "account", "address"),
    [
        (Accounts(), Passwords(PasswordCheck(False)), Code.UNAUTHENTICATED, 1, 1),
        (Accounts(Credentials(USER, "h")), Passwords(PasswordCheck(False)), Code.UNAUTHENTICATED, 1, 1),
        (Accounts(Credentials(USER, None)), Passwords(PasswordCheck(True)), Code.UNAUTHENTICATED, 1, 1),
        (Accounts(unavailable("postgres")), Passwords(PasswordCheck(True)), Code.UNAVAILABLE, 0, 0),
        (
            Accounts(Credentials(USER, "h")),
            Passwords(DomainError(Code.RESOURCE_EXHAUSTED, "PASSWORDS_BUSY", "")),
            Code.RESOURCE_EXHAUSTED,
            0,
            0,
        ),
    ],
)
async def test_only_wrong_guesses_are_charged(accounts, passwords, code, account, address):
    """Failures of ours cost nobody an attempt; an account without a password cannot be entered."""
    throttle = Throttle()
    with pytest.raises(DomainError) as caught:
        await login(throttle, accounts, passwords)(ATTEMPT, CLIENT)
    assert caught.value.code is code
    assert (throttle.account, throttle.address) == (account, address)


async def test_success_opens_one_session_and_costs_nothing():
    """The session expires with its refresh token; only the hash of that is given to the store."""
    throttle, sessions = Throttle(), Sessions()
    signed_in = await login(throttle, Accounts(Credentials(USER, "h")), Passwords(PasswordCheck(True)), sessions)(ATTEMPT, CLIENT)
    ((session, token),) = sessions.opened
    assert session.expires_at == token.expires_at == NOW + timedelta(days=30)
    assert signed_in.refresh_token.encode() not in token.token_hash
    assert (throttle.account, throttle.address) == (0, 0)


def family(**token):
    session = Session(SessionId("s"), TenantId("default"), UserId("u"), "", "", CLIENT, NOW, NOW, NOW + timedelta(days=1))
    return Family(RefreshToken("t", b"", SessionId("s"), NOW, NOW + timedelta(days=1), **token), session, USER)


async def test_nothing_is_given_out_when_the_commit_fails():
    """A new refresh token leaves only after the store has kept it; no notice goes out for an end that was not kept."""
    for shown in (family(), family(used_at=NOW)):
        notices = Notices()
        refresh = RefreshTokens(Sessions(shown, unavailable("postgres")), Tokens(), notices, FixedClock(), timedelta(days=30))
        with pytest.raises(DomainError) as caught:
            await refresh("token", CLIENT)
        assert caught.value.code is Code.UNAVAILABLE
        assert notices.told == []


async def test_reuse_ends_the_family_before_it_is_refused():
    """The end is committed, then told to the gateways, then the caller is refused."""
    sessions, notices = Sessions(family(used_at=NOW)), Notices()
    with pytest.raises(DomainError) as caught:
        await RefreshTokens(sessions, Tokens(), notices, FixedClock(), timedelta(days=30))("token", CLIENT)
    assert caught.value.reason == "REFRESH_TOKEN_REUSED"
    assert [session_id for session_id, _ in sessions.ended] == ["s"]
    assert sessions.replaced == []
    assert notices.told == [("u", "s")]
