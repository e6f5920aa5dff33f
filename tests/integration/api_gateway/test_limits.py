"""Limits per user and per address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.api_gateway.backends import Backends
from integration.api_gateway.conftest import Edge
from integration.api_gateway.test_tokens import reason_of


@pytest.fixture(scope="module")
def limited(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge with small buckets."""
    settings = {
        "CHAT4ALL_EDGE__USER_REQUESTS_PER_SECOND": "1",
        "CHAT4ALL_EDGE__USER_BURST": "3",
        "CHAT4ALL_EDGE__ADDRESS_REQUESTS_PER_SECOND": "1",
        "CHAT4ALL_EDGE__ADDRESS_BURST": "40",
        # The last address in x-forwarded-for is believed, so that a test can come from several.
        "CHAT4ALL_EDGE__TRUSTED_HOPS": "1",
    }
    with Edge(tmp_path_factory.mktemp("limited"), backends, **settings) as running:
        running.await_keys(backends.tokens.mint("first"))
        yield running


def test_each_user_has_a_bucket(limited: Edge, backends: Backends) -> None:
    """One user's flood is refused with the time to wait and does not touch another user at the same address."""
    flood = [limited.get("/v1/users/me", backends.tokens.mint("flooder"), **_at("192.0.2.1")) for _ in range(8)]
    statuses = [answer.status_code for answer in flood]
    assert statuses[:3] == [200, 200, 200]
    assert 429 in statuses
    refused = flood[statuses.index(429)]
    assert reason_of(refused) == "RATE_LIMITED"
    assert refused.json()["code"] == 8
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-ratelimit-limit"] == "3"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    # Another token of the same user is the same user.
    assert limited.get("/v1/users/me", backends.tokens.mint("flooder", jti="j2"), **_at("192.0.2.1")).status_code == 429
    other = limited.get("/v1/users/me", backends.tokens.mint("quiet"), **_at("192.0.2.1"))
    assert other.status_code == 200
    assert other.headers["x-ratelimit-remaining"] == "2"


def test_each_address_has_a_bucket(limited: Edge, backends: Backends) -> None:
    """A flood without tokens is refused by address, before tokens are looked at; another address is served."""
    flood = [limited.post("/v1/auth/login", json={}, headers=_at("192.0.2.7")) for _ in range(60)]
    statuses = [answer.status_code for answer in flood]
    assert statuses[:40] == [200] * 40
    assert 429 in statuses
    refused = flood[statuses.index(429)]
    assert reason_of(refused) == "RATE_LIMITED"
    assert refused.headers["retry-after"] == "1"
    assert limited.post("/v1/auth/login", json={}, headers=_at("192.0.2.8")).status_code == 200
    assert backends.last("Login")[0]["x-forwarded-for"] == "192.0.2.8"


def test_limits_can_be_switched_off(edge: Edge, backends: Backends) -> None:
    """0 per second means no limit and no headers about one."""
    token = backends.tokens.mint("many")
    answers = [edge.get("/v1/users/me", token) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert "x-ratelimit-limit" not in answers[0].headers


def _at(address: str) -> dict[str, str]:
    return {"x-forwarded-for": address}
