"""Who gets past the door, and what a client cannot pretend."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from integration.api_gateway.backends import Backends
from integration.api_gateway.conftest import Edge


def reason_of(response: httpx.Response) -> str:
    """The reason in the one error shape, after checking the shape."""
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert isinstance(body["code"], int)
    assert body["message"]
    [info] = [detail for detail in body["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert info["domain"] == "edge.chat4all"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return str(info["reason"])


def encoded(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_a_good_token_passes_and_is_forwarded(edge: Edge, backends: Backends) -> None:
    """Services check the token again, so it must reach them; the scheme's name has no case."""
    token = backends.tokens.mint()
    assert edge.get("/v1/users/me", token).status_code == 200
    assert backends.last("GetCurrentUser")[0]["authorization"] == f"Bearer {token}"
    assert edge.get("/v1/users/me", None, authorization=f"bearer {token}").status_code == 200


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": -60}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"aud": "somebody-else"}, "TOKEN_INVALID"),
        ({"aud": None}, "TOKEN_INVALID"),
        ({"iss": "https://evil.example"}, "TOKEN_INVALID"),
        ({"nbf": 600}, "TOKEN_INVALID"),
        ({"kid": "unknown"}, "TOKEN_INVALID"),
    ],
)
def test_wrong_claims_are_401(edge: Edge, backends: Backends, changes: dict[str, Any], reason: str) -> None:
    """Expired, endless, future, for another audience, by another issuer, by an unknown key: not signed in, one status.

    Times are seconds from now, and now is when the test runs.
    """
    now = int(time.time())
    claims = {name: now + value if isinstance(value, int) else value for name, value in changes.items()}
    answer = edge.get("/v1/users/me", backends.tokens.mint(**claims))
    assert answer.status_code == 401
    assert answer.json()["code"] == 16
    assert reason_of(answer) == reason
    assert backends.calls == []


def test_wrong_signatures_are_401(edge: Edge, backends: Backends) -> None:
    """Unsigned, signed by a foreign key, by a confused algorithm, or changed after signing: refused."""
    tokens = backends.tokens
    good = tokens.mint()
    head, body, signature = good.split(".")
    other_body = encoded(tokens.claims("somebody-else"))
    public = jwt.get_algorithm_by_name("EdDSA").to_jwk(tokens.key.public_key(), as_dict=True)["x"]
    forged = [
        jwt.encode(tokens.claims("u1"), None, algorithm="none"),
        f"{encoded({'alg': 'none', 'kid': 'k1'})}.{body}.",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{other_body}.{signature}",
        tokens.mint(key=tokens.foreign_key),
        jwt.encode(tokens.claims("u1"), public.ljust(64, "x"), algorithm="HS256", headers={"kid": "k1"}),
        "not-a-token",
    ]
    for token in forged:
        answer = edge.get("/v1/users/me", token)
        assert answer.status_code == 401, token
        assert reason_of(answer) in {"TOKEN_INVALID", "TOKEN_MISSING"}
    assert backends.calls == []


@pytest.mark.parametrize("authorization", [None, "", "Basic dTpw"])
def test_no_token_is_401(edge: Edge, authorization: str | None) -> None:
    """Without a token every path that is not open answers 401, one that does not exist too."""
    for path in ["/v1/users/me", "/v1/conversations", "/v1/nothing", "/v1/users/me?access_token=x"]:
        answer = edge.get(path, None, **({} if authorization is None else {"authorization": authorization}))
        assert answer.status_code == 401
        assert reason_of(answer) == "TOKEN_MISSING"
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_in_the_url_is_not_one(edge: Edge, backends: Backends) -> None:
    """Tokens never travel in a URL."""
    assert edge.get(f"/v1/users/me?access_token={backends.tokens.mint()}").status_code == 401


def test_open_paths_need_no_token(edge: Edge) -> None:
    """Registering, signing in, refreshing, the keys and the edge's health; a bad token there does not matter either."""
    assert edge.post("/v1/auth/register", json={"username": "ana"}).json()["username"] == "ana"
    assert edge.post("/v1/auth/login", json={}).json()["expires_in"] == 900
    assert edge.post("/v1/auth/refresh", "expired", json={}).status_code == 200
    assert edge.get("/.well-known/jwks.json").json()["keys"][0]["kid"] == "k1"
    health = edge.get("/health")
    assert health.json()["status"] == "ok"
    assert health.headers["x-request-id"]


def test_nobody_can_pose_from_outside(edge: Edge, backends: Backends) -> None:
    """Headers that mean something inside are removed, on open paths too; the request id is the edge's own."""
    posing = {
        "x-service-token": "t", "X-Acting-User-Id": "u", "x-acting-anything": "v", "x-user-id": "u", "x-tenant-id": "t",
        "x-session-id": "s", "x-scope": "admin", "x-envoy-max-retries": "9", "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1", "x-forwarded-for": "203.0.113.9", "x-request-id": "mine", "x_service_token": "t",
    }  # fmt: skip
    answer = edge.get("/v1/users/me", backends.tokens.mint(), **posing)
    edge.post("/v1/auth/login", json={}, headers=posing)
    for method in ["GetCurrentUser", "Login"]:
        metadata, _ = backends.last(method)
        taken = {name.lower() for name in posing} - {"x-request-id", "x-forwarded-for"}
        assert not taken & set(metadata)
        assert metadata["x-request-id"] != "mine"
        assert metadata["x-forwarded-for"] == "127.0.0.1"
    assert answer.headers["x-request-id"] == backends.last("GetCurrentUser")[0]["x-request-id"]
