"""A real Envoy before real servers. Nothing here needs the engines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import httpx
import pytest
from integration.api_gateway.backends import Backends


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Edge:
    """One Envoy process, started the way it is in production: `python -m chat4all_api_gateway`."""

    def __init__(self, folder: Path, backends: Backends, **settings: str) -> None:
        self.port = free_port()
        self.admin_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHAT4ALL_", "OTEL_"))}
        services = {f"CHAT4ALL_{part}__TARGET": f"127.0.0.1:{backends.grpc_port}" for part in _PARTS}
        self._environment = {
            **kept,
            **services,
            "CHAT4ALL_EDGE__PORT": str(self.port),
            "CHAT4ALL_EDGE__ADMIN_PORT": str(self.admin_port),
            "CHAT4ALL_EDGE__CONFIG_DIR": str(folder),
            "CHAT4ALL_EDGE__ALLOWED_ORIGINS": "https://app.example",
            "CHAT4ALL_WEBSOCKET__TARGET": f"127.0.0.1:{backends.websocket_port}",
            "CHAT4ALL_TOKENS__JWKS_URL": f"http://127.0.0.1:{backends.http_port}/.well-known/jwks.json",
            **settings,
        }

    def __enter__(self) -> Edge:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / "envoy.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chat4all_api_gateway"], env=self._environment, stdout=log, stderr=log
            )
        self.await_condition(self._listening)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(20)

    def await_condition(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when the condition holds; fail with Envoy's own words when it never does."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log_path.read_text()
            assert time.monotonic() < deadline, self.log_path.read_text()
            time.sleep(0.05)

    def _listening(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def await_keys(self, token: str) -> None:
        """Return when the edge has fetched the keys."""
        self.await_condition(lambda: self.get("/v1/users/me", token).status_code == 200)

    def get(self, path: str, token: str | None = None, **headers: str) -> httpx.Response:
        """GET, signed in when a token is given."""
        return self.request("GET", path, token, headers=headers)

    def request(self, verb: str, path: str, token: str | None = None, **options: object) -> httpx.Response:
        """Any request, signed in when a token is given."""
        headers = dict(options.pop("headers", None) or {})  # type: ignore[call-overload]
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return httpx.request(verb, self.url + path, headers=headers, timeout=20, **options)  # type: ignore[arg-type]

    def post(self, path: str, token: str | None = None, **options: object) -> httpx.Response:
        """POST, signed in when a token is given."""
        return self.request("POST", path, token, **options)


_PARTS = ["AUTH", "CONVERSATION", "MESSAGE", "PRESENCE", "FILE"]


@pytest.fixture(scope="package")
def backends() -> Iterator[Backends]:
    with Backends() as running:
        yield running


@pytest.fixture(scope="package")
def edge(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge with the default settings, but no limits on how many requests a test may make."""
    limits = {"CHAT4ALL_EDGE__USER_REQUESTS_PER_SECOND": "0", "CHAT4ALL_EDGE__ADDRESS_REQUESTS_PER_SECOND": "0"}
    with Edge(tmp_path_factory.mktemp("edge"), backends, **limits) as running:
        running.await_keys(backends.tokens.mint())
        yield running


@pytest.fixture(autouse=True)
def fresh(backends: Backends) -> None:
    """No call and no refusal left from the test before."""
    backends.calls.clear()
    backends.refusals.clear()
