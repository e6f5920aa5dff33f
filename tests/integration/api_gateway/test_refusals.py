"""Replies that the edge makes itself: one shape, the contract's statuses, an id to quote."""

from __future__ import annotations

import socket

import pytest
from integration.api_gateway.backends import Backends, store_away
from integration.api_gateway.conftest import Edge
from integration.api_gateway.test_tokens import reason_of


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/"),
        ("DELETE", "/v1/users"),
        ("PUT", "/v1/auth/login"),
        ("GET", "/v1/users/a/b/c"),
        ("GET", "/v1/files/f1:complete"),
        ("POST", "/v1/files/f1:unknown"),
        ("GET", "/v1/users/me/"),
        ("POST", "/health"),
        ("GET", "/metrics"),
        ("POST", "/chat4all.auth.v1.AuthService/GetCurrentUser"),
        ("TRACE", "/v1/users/me"),
    ],
)
def test_unknown_path_or_verb_is_404(edge: Edge, backends: Backends, verb: str, path: str) -> None:
    """What is in no contract is not there, whichever way it is asked for."""
    answer = edge.request(verb, path, backends.tokens.mint())
    assert answer.status_code == 404
    assert answer.json()["code"] == 5
    assert reason_of(answer) == "ROUTE_NOT_FOUND"
    assert backends.calls == []


@pytest.mark.parametrize("body", ['{"message_id":', "[]", '{"message_id": {}}', "\xff", '{"wait_for": "NO_SUCH_ONE"}'])
def test_malformed_json_is_400(edge: Edge, backends: Backends, body: str) -> None:
    """A body that is not the request's JSON is the client's fault, never ours, and is not forwarded."""
    answer = edge.post("/v1/conversations/c1/messages", backends.tokens.mint(), content=body.encode("latin-1"))
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert reason_of(answer) == "MALFORMED_REQUEST"
    assert backends.calls == []


def test_unknown_query_parameter_is_400_and_named(edge: Edge, backends: Backends) -> None:
    """A misspelt parameter is told, not ignored."""
    answer = edge.get("/v1/users?pagesize=3", backends.tokens.mint())
    assert answer.status_code == 400
    assert "pagesize" in answer.json()["message"]
    assert reason_of(answer) == "MALFORMED_REQUEST"


def test_large_bodies_are_413(edge: Edge, backends: Backends) -> None:
    """64 KiB, and 1 MiB for batches; chunked bodies are counted too; nothing of it reaches a service."""
    token = backends.tokens.mint()

    def chunks() -> object:
        for _ in range(20):
            yield b"x" * 8192

    large = [
        edge.post("/v1/conversations/c1/messages", token, content=b"x" * 1_000_000),
        edge.post("/v1/conversations/c1/messages", token, content=chunks()),
        edge.post("/v1/conversations/c1/messages:batch", token, content=b"x" * 1_100_000),
        edge.post("/v1/auth/login", content=b"x" * 65_537),
    ]
    for answer in large:
        assert answer.status_code == 413
        assert reason_of(answer) == "REQUEST_TOO_LARGE"
    assert backends.calls == []
    longest = {"message_id": "m", "content": {"type": "text", "text": "ж" * 10_000}}
    assert edge.post("/v1/conversations/c1/messages", token, json=longest).status_code == 200
    batch = {"messages": [{"message_id": str(number), "content": {"type": "text", "text": "x" * 4000}} for number in range(200)]}
    assert len(edge.post("/v1/conversations/c1/messages:batch", token, json=batch).json()["results"]) == 200


def test_large_headers_are_400(edge: Edge, backends: Backends) -> None:
    """Refused while they are being read, and still in the one shape."""
    answer = edge.get("/v1/users/me", backends.tokens.mint(), big="x" * 20_000)
    assert answer.status_code == 400
    assert reason_of(answer) == "HEADERS_TOO_LARGE"


def test_what_is_not_http_gets_an_answer(edge: Edge) -> None:
    """Broken bytes cost one connection and nothing more."""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
        connection.sendall(b"GET / NONSENSE/9\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert edge.get("/health").status_code == 200


def test_a_services_503_says_when_to_retry(edge: Edge, backends: Backends) -> None:
    """A store that is away is 503 with Retry-After and with the service's own reason; repeatable calls were tried three times."""
    backends.refusals["SendMessage"] = store_away()
    backends.refusals["Login"] = store_away()
    answer = edge.post("/v1/conversations/c1/messages", backends.tokens.mint(), json={"message_id": "m"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["details"][0]["reason"] == "KAFKA_UNAVAILABLE"
    assert len(backends.calls) == 3
    backends.calls.clear()
    assert edge.post("/v1/auth/login", json={}).status_code == 503
    assert len(backends.calls) == 1, "a login may have happened: it is not sent again"


def test_a_service_with_a_store_away_still_serves_the_rest(edge: Edge, backends: Backends) -> None:
    """Many refusals do not shut out the only copy: what it can still do, it does, and the refusal keeps its reason."""
    backends.refusals["SendMessage"] = store_away()
    token = backends.tokens.mint()
    for _ in range(15):
        answer = edge.post("/v1/conversations/c1/messages", token, json={"message_id": "m"})
        assert answer.json()["details"][0]["reason"] == "KAFKA_UNAVAILABLE"
    assert edge.get("/v1/conversations/c1/messages", token).status_code == 200


def test_browsers_of_allowed_origins_may_call(edge: Edge, backends: Backends) -> None:
    """Preflights need no token; answers, refusals included, may be read by the allowed origin and by no other."""
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    preflight = edge.request("OPTIONS", "/v1/conversations", headers={"origin": "https://app.example", **ask})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert "DELETE" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in preflight.headers
    for path, status in [("/v1/users/me", 401), ("/v1/auth/login", 404)]:
        refusal = edge.get(path, None, origin="https://app.example")
        assert refusal.status_code == status
        assert refusal.headers["access-control-allow-origin"] == "https://app.example"
        assert "x-request-id" in refusal.headers["access-control-expose-headers"]
    foreign = edge.request("OPTIONS", "/v1/conversations", headers={"origin": "https://evil.example", **ask})
    assert "access-control-allow-origin" not in foreign.headers
    served = edge.get("/v1/users/me", backends.tokens.mint(), origin="https://evil.example")
    assert "access-control-allow-origin" not in served.headers
