"""The decisions of the domain, and the address that limits count by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chat4all_auth.client import client_of
from chat4all_auth.domain.model import Client, RefreshToken, Role, Session, SessionId, TenantId, User, UserId, UserStatus
from chat4all_auth.domain.policy import RefreshVerdict, judge_refresh, may_see_email, scope_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
USER = User(UserId("u"), TenantId("t"), "ana", "Ana", "a@b.org", UserStatus.ACTIVE, Role.USER, NOW, NOW)
SESSION = Session(SessionId("s"), TenantId("t"), UserId("u"), "", "", Client("", ""), NOW, NOW, LATER)
TOKEN = RefreshToken("k", b"", SessionId("s"), NOW, LATER)


@pytest.mark.parametrize(
    ("token", "session", "user", "verdict"),
    [
        ({}, {}, {}, RefreshVerdict.GOOD),
        ({"used_at": NOW}, {}, {}, RefreshVerdict.REUSED),
        ({"used_at": NOW, "expires_at": NOW}, {}, {}, RefreshVerdict.REUSED),
        ({"used_at": NOW}, {"ended_at": NOW}, {}, RefreshVerdict.SESSION_ENDED),
        ({"expires_at": NOW}, {}, {}, RefreshVerdict.EXPIRED),
        ({}, {}, {"status": UserStatus.SUSPENDED}, RefreshVerdict.SUSPENDED),
        ({}, {}, {"status": UserStatus.DELETED}, RefreshVerdict.SESSION_ENDED),
    ],
)
def test_what_becomes_of_a_refresh_token(token, session, user, verdict):
    """Used before, late, ended and suspended are told apart; a second use counts as one however late it comes."""
    judged = judge_refresh(replace(TOKEN, **token), replace(SESSION, **session), replace(USER, **user), NOW)
    assert judged is verdict


def test_every_role_has_scopes():
    """A role without scopes would stop its people from signing in."""
    assert {role: scope_of(role).split()[0] for role in Role} == dict.fromkeys(Role, "chat")


def test_who_sees_an_address():
    """Its owner and the tenant's administrators; not an administrator of elsewhere."""
    other = replace(USER, user_id=UserId("o"))
    assert may_see_email(USER, USER)
    assert not may_see_email(other, USER)
    assert may_see_email(replace(other, role=Role.ADMIN), USER)
    assert not may_see_email(replace(other, role=Role.ADMIN, tenant_id=TenantId("x")), USER)


@pytest.mark.parametrize(
    ("forwarded", "peer", "address"),
    [
        ("", "ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("", "ipv6:%5B::1%5D:5000", "::1"),
        ("", "ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:db8:1:2::/64"),
        ("198.51.100.7", "ipv4:127.0.0.1:5000", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "ipv4:127.0.0.1:5000", "198.51.100.7"),
        ("::ffff:198.51.100.7", "ipv4:127.0.0.1:5000", "198.51.100.7"),
        ("1.1.1.1, nonsense\x00", "ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("", "unix:/run/socket", "unknown"),
    ],
)
def test_the_address_is_what_the_edge_saw(forwarded, peer, address):
    """The last hop counts, in one spelling; nonsense falls back to the peer."""
    assert client_of([("x-forwarded-for", forwarded)] if forwarded else [], peer).address == address


def test_user_agents_are_cut_and_clean():
    """They are shown to people and stored: bounded, without control characters."""
    assert client_of([("user-agent", "x" * 1000)], "").user_agent == "x" * 300
    assert client_of([("user-agent", "bad\x00")], "").user_agent == ""
