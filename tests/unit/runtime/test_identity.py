"""Tokens: only what our auth service signed, for us, in time, by the one accepted algorithm, is a caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from chat4all_runtime.errors import DomainError
from chat4all_runtime.identity import ServiceTokens, TokenVerifier
from chat4all_runtime.settings import InternalSettings, TokenSettings

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
SETTINGS = TokenSettings(jwks_url="http://127.0.0.1:1/unused")


class OneKey:
    """A key source with one key."""

    async def key(self, kid: str) -> Any | None:
        """The key named `k1`."""
        return KEY.public_key() if kid == "k1" else None


def claims(**changes: Any) -> dict[str, Any]:
    """Claims as the auth service writes them, changed."""
    now = int(time.time())
    base = {"sub": "u1", "tenant_id": "default", "sid": "s1", "scope": "user", "iss": SETTINGS.issuer, "aud": SETTINGS.audience,
            "iat": now, "exp": now + 900}  # fmt: skip
    return {name: value for name, value in (base | changes).items() if value is not None}


def sign(kid: str = "k1", key: Ed25519PrivateKey = KEY, **changes: Any) -> str:
    """A token with changed claims."""
    return jwt.encode(claims(**changes), key, algorithm="EdDSA", headers={"kid": kid})


async def test_a_good_token_names_its_caller() -> None:
    """Every claim we rely on is read, and the second look is served from memory."""
    verifier = TokenVerifier(SETTINGS, OneKey())
    caller = await verifier.verify(sign())
    assert (caller.user_id, caller.tenant_id, caller.session_id, caller.scopes) == ("u1", "default", "s1", {"user"})


@pytest.mark.parametrize(
    ("token_of", "reason"),
    [
        (lambda: sign(exp=int(time.time()) - 60), "TOKEN_EXPIRED"),
        (lambda: sign(iat=int(time.time()) + 600), "TOKEN_INVALID"),
        (lambda: sign(nbf=int(time.time()) + 600), "TOKEN_INVALID"),
        (lambda: sign(aud="somebody-else"), "TOKEN_INVALID"),
        (lambda: sign(iss="https://elsewhere"), "TOKEN_INVALID"),
        (lambda: sign(exp=None), "TOKEN_INVALID"),
        (lambda: sign(sid=None), "TOKEN_INVALID"),
        (lambda: sign(tenant_id=None), "TOKEN_INVALID"),
        (lambda: sign(kid="k2"), "TOKEN_INVALID"),
        (lambda: sign(key=OTHER), "TOKEN_INVALID"),
        (lambda: sign()[:-4] + "AAAA", "TOKEN_INVALID"),
        (lambda: jwt.encode(claims(), None, algorithm="none", headers={"kid": "k1"}), "TOKEN_INVALID"),
        (lambda: jwt.encode(claims(), "x" * 32, algorithm="HS256", headers={"kid": "k1"}), "TOKEN_INVALID"),
        (lambda: "", "TOKEN_INVALID"),
        (lambda: "a.b.c", "TOKEN_INVALID"),
        (lambda: "é" * 50, "TOKEN_INVALID"),
    ],
)
async def test_a_bad_token_is_refused(token_of: Callable[[], str], reason: str) -> None:
    """Expired, future, foreign, unsigned, wrongly signed and malformed tokens are UNAUTHENTICATED by reason.

    Signed when the test runs: a long run reaches it long after the tests were collected.
    """
    with pytest.raises(DomainError) as caught:
        await TokenVerifier(SETTINGS, OneKey()).verify(token_of())
    assert caught.value.reason == reason


def test_service_tokens_need_the_secret() -> None:
    """A process is known by the shared secret; another secret or a user's audience is refused."""
    ours = ServiceTokens(InternalSettings(secret=SecretStr("a" * 32)), "router")
    assert ours.verify(ours.mint()).service == "router"
    theirs = ServiceTokens(InternalSettings(secret=SecretStr("b" * 32)), "router")
    with pytest.raises(DomainError, match="not valid"):
        ours.verify(theirs.mint())
    with pytest.raises(DomainError, match="not valid"):
        ours.verify(jwt.encode(claims(), "a" * 32, algorithm="HS256"))
