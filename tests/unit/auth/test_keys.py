"""Signing keys on the disk, and the tokens made with them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from chat4all_auth.domain.model import Role, SessionId, TenantId, User, UserId, UserStatus
from chat4all_auth.keys import SigningKeys
from chat4all_auth.tokens import JwtAccessTokens, hash_refresh_token, new_refresh_token
from chat4all_runtime.clock import SystemClock

NOW = datetime.now(UTC)
USER = User(UserId("u"), TenantId("t"), "ana", "Ana", "", UserStatus.ACTIVE, Role.ADMIN, NOW, NOW)


def open_keys(folder, activation=timedelta(0)):
    keys = SigningKeys(folder, activation, SystemClock())
    keys.open()
    return keys


def test_first_key_is_made_once(tmp_path):
    """The first start makes one key that only its owner can read; later starts keep it."""
    first = open_keys(tmp_path / "deep" / "keys").jwks()
    assert open_keys(tmp_path / "deep" / "keys").jwks() == first
    files = list((tmp_path / "deep" / "keys").iterdir())
    assert [file.suffix for file in files] == [".pem"]
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert files[0].stem == first["keys"][0]["kid"]


def test_newest_key_signs_when_it_has_been_published_long_enough(tmp_path):
    """All keys are published; a further one waits; the only one does not."""
    keys = open_keys(tmp_path, timedelta(minutes=5))
    old = keys.signer(NOW).kid
    other = open_keys(tmp_path / "other")
    added = next((tmp_path / "other").glob("*.pem")).rename(tmp_path / "added.pem")
    os.utime(tmp_path / f"{old}.pem", (NOW.timestamp() - 3600,) * 2)
    os.utime(added, (NOW.timestamp() - 60,) * 2)
    keys.reload()
    assert [key["kid"] for key in keys.jwks()["keys"]] == ["added", old]
    assert keys.jwks()["keys"][0]["x"] == other.jwks()["keys"][0]["x"]
    assert keys.signer(NOW).kid == old
    assert keys.signer(NOW + timedelta(minutes=5)).kid == "added"


def test_files_that_are_no_keys_do_no_harm(tmp_path):
    """A broken file is left out; a folder with nothing else keeps the process from starting; lost files do not stop it."""
    keys = open_keys(tmp_path)
    good = keys.jwks()
    (tmp_path / "broken.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense")
    keys.reload()
    assert keys.jwks() == good
    for path in tmp_path.glob("*.pem"):
        if path.name != "broken.pem":
            path.unlink()
    keys.reload()
    assert keys.jwks() == good
    with pytest.raises(RuntimeError, match="no key"):
        open_keys(tmp_path)


async def test_access_token_names_key_and_scopes(tmp_path):
    """Header and claims are what the design names; the signature fits the published key."""
    keys = open_keys(tmp_path)
    tokens = JwtAccessTokens(keys, "iss", "aud", 60)
    token = tokens.mint(USER, SessionId("s"), datetime.now(UTC))
    kid = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, await keys.key(kid), algorithms=["EdDSA"], audience="aud", issuer="iss")
    assert {name: claims[name] for name in ("sub", "tenant_id", "sid", "scope")} == {
        "sub": "u",
        "tenant_id": "t",
        "sid": "s",
        "scope": "chat agent admin",
    }
    assert claims["exp"] == claims["iat"] + 60
    assert await keys.key("other") is None


def test_refresh_tokens_are_random_and_kept_as_hashes():
    """256 bits, never twice."""
    tokens = {new_refresh_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {43}
    assert len(hash_refresh_token(tokens.pop())) == 32
