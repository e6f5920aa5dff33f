"""What the edge says while something behind it is away, and what is written down."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import grpc
from integration.api_gateway.backends import Backends
from integration.api_gateway.conftest import Edge, free_port
from integration.api_gateway.test_tokens import reason_of

from chat4all.auth.v1 import auth_service_pb2_grpc


def test_a_dead_service_is_503_at_once(backends: Backends, tmp_path: Path) -> None:
    """One service down: 503 with Retry-After and no hint of hosts, quickly; the others go on; logged when that is asked for."""
    log = tmp_path / "access.log"
    settings = {
        "CHAT4ALL_MESSAGE__TARGET": f"127.0.0.1:{free_port()}",
        "CHAT4ALL_WEBSOCKET__TARGET": f"127.0.0.1:{free_port()}",
        "CHAT4ALL_EDGE__ACCESS_LOG": str(log),
    }
    with Edge(tmp_path, backends, **settings) as edge:
        token = backends.tokens.mint("u7")
        edge.await_keys(token)
        started = time.monotonic()
        answer = edge.post("/v1/conversations/c1/messages?", token, json={"message_id": "m"})
        assert time.monotonic() - started < 2
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["code"] == 14
        assert reason_of(answer) == "SERVICE_UNAVAILABLE"
        assert "127.0.0.1" not in answer.text
        assert edge.get("/v1/users/me", token).status_code == 200
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "x" * 22 + "==",
            "sec-websocket-version": "13",
        }
        assert edge.get("/v1/ws", None, **upgrade).status_code == 503
        edge.await_condition(lambda: log.exists() and log.read_text().count("\n") >= 2)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        line = next(line for line in lines if line["path"] == "/v1/conversations/c1/messages")
        assert line["status"] == 503
        assert line["user_id"] == "u7"
        assert line["request_id"] == answer.headers["x-request-id"]
        assert min(line["status"] for line in lines) >= 400


def test_without_keys_nobody_is_blamed(backends: Backends, tmp_path: Path) -> None:
    """Before the first keys have come a token cannot be judged: 503, not 401; open paths are served."""
    settings = {"CHAT4ALL_TOKENS__JWKS_URL": f"http://127.0.0.1:{free_port()}/.well-known/jwks.json"}
    with Edge(tmp_path, backends, **settings) as edge:
        answer = edge.get("/v1/users/me", backends.tokens.mint())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert reason_of(answer) == "AUTH_UNAVAILABLE"
        edge.await_condition(lambda: edge.post("/v1/auth/login", json={}).status_code == 200)


async def test_a_service_that_is_not_serving_gets_nothing(backends: Backends, tmp_path: Path) -> None:
    """A server that answers no health check is not sent calls, though its port is open."""
    server = grpc.aio.server()
    auth_service_pb2_grpc.add_AuthServiceServicer_to_server(auth_service_pb2_grpc.AuthServiceServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    def check() -> None:
        with Edge(tmp_path, backends, CHAT4ALL_AUTH__TARGET=f"127.0.0.1:{port}") as edge:
            edge.await_condition(lambda: edge.get("/v1/users/me", backends.tokens.mint()).status_code == 503)
            answer = edge.get("/v1/users/me", backends.tokens.mint())
            assert reason_of(answer) in {"SERVICE_UNAVAILABLE", "AUTH_UNAVAILABLE"}
            edge.await_condition(lambda: edge.get("/v1/presence?user_ids=a", backends.tokens.mint()).status_code == 200)
            assert reason_of(edge.get("/v1/users/me", backends.tokens.mint())) == "SERVICE_UNAVAILABLE"

    await asyncio.to_thread(check)
    await server.stop(0)


def test_a_frozen_service_is_given_up(backends: Backends, tmp_path: Path) -> None:
    """Past the deadline the client gets 504 with the reason, not silence."""
    backends.frozen.add("GetCurrentUser")
    try:
        with Edge(tmp_path, backends, CHAT4ALL_EDGE__TIMEOUT_SECONDS="0.5") as edge:
            edge.await_condition(lambda: edge.get("/v1/presence?user_ids=a", backends.tokens.mint()).status_code == 200)
            answer = edge.get("/v1/users/me", backends.tokens.mint())
            assert answer.status_code == 504
            assert answer.json()["code"] == 4
            assert reason_of(answer) == "DEADLINE_EXCEEDED"
    finally:
        backends.frozen.clear()


def test_the_pid_is_envoys_and_it_ends_when_told(backends: Backends, tmp_path: Path) -> None:
    """What was started is what serves: a signal to the pid ends the edge, with status 0."""
    with Edge(tmp_path, backends) as edge:
        command = Path(f"/proc/{edge.process.pid}/cmdline").read_bytes()
        assert b"--disable-hot-restart" in command
    assert edge.process.returncode == 0
