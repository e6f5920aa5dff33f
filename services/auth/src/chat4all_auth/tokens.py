"""Makes the two kinds of tokens: signed access tokens, and opaque refresh tokens that are kept only as a hash."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import jwt

from chat4all_auth.domain.model import SessionId, User
from chat4all_auth.domain.policy import scope_of
from chat4all_auth.keys import SigningKeys
from chat4all_runtime.ids import new_id

_REFRESH_BYTES = 32


class JwtAccessTokens:
    """Implements `repository.AccessTokens`: EdDSA JWTs signed with the newest published key."""

    def __init__(self, keys: SigningKeys, issuer: str, audience: str, lifetime_seconds: int) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.lifetime_seconds = lifetime_seconds

    def mint(self, user: User, session_id: SessionId, now: datetime) -> str:
        """A signed token for that session; about 0.1 ms of CPU."""
        issued = int(now.timestamp())
        claims = {
            "sub": user.user_id,
            "tenant_id": user.tenant_id,
            "scope": scope_of(user.role),
            "sid": session_id,
            "iss": self._issuer,
            "aud": self._audience,
            "iat": issued,
            "exp": issued + self.lifetime_seconds,
            "jti": new_id(),
        }
        key = self._keys.signer(now)
        return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"kid": key.kid})


def new_refresh_token() -> str:
    """256 random bits, 43 characters."""
    return secrets.token_urlsafe(_REFRESH_BYTES)


def hash_refresh_token(token: str) -> bytes:
    """What is kept and looked up. A fast hash is enough: nobody guesses 256 bits."""
    return hashlib.sha256(token.encode()).digest()
