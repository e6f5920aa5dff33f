"""A Redis database of this folder's own, and the presence process with real engines."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import jwt
import pytest
import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import make_url

from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.settings import InternalSettings

# Databases of the same Redis are apart except for pub/sub, which tests filter by user.
DATABASE = 7


def redis_url(engines: dict[str, str]) -> str:
    """The address of the database that belongs to these tests."""
    url = make_url(engines["CHAT4ALL_REDIS__URL"]).set(database=str(DATABASE))
    return url.render_as_string(hide_password=False)


@pytest.fixture
async def store(engines: dict[str, str]) -> AsyncIterator[redis.asyncio.Redis]:
    """The database, empty."""
    client = redis.asyncio.Redis.from_url(redis_url(engines))
    await client.flushdb()
    yield client
    await client.aclose()


class Signer:
    """Mints access tokens and publishes the key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = jwt.get_algorithm_by_name("EdDSA").to_jwk(self._key.public_key(), as_dict=True)
        document = json.dumps({"keys": [{**public, "kid": "k1"}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop publishing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def metadata(self, user_id: str, tenant_id: str = "default", session_id: str = "s1") -> tuple[tuple[str, str], ...]:
        """Metadata of a signed-in call."""
        now = int(time.time())
        claims = {
            "sub": user_id, "tenant_id": tenant_id, "sid": session_id, "iss": "https://auth.chat4all.local",
            "aud": "chat4all-api", "iat": now, "exp": now + 600,
        }  # fmt: skip
        return (("authorization", f"Bearer {jwt.encode(claims, self._key, algorithm='EdDSA', headers={'kid': 'k1'})}"),)


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    running = Signer()
    yield running
    running.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PresenceProcess:
    """`python -m chat4all_presence` with a short time to live."""

    def __init__(self, engines: dict[str, str], signer: Signer, log_path: str, **settings: str) -> None:
        self.grpc_port = free_port()
        self._log_path = log_path
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CHAT4ALL_", "OTEL_"))},
            **engines,
            "CHAT4ALL_REDIS__URL": redis_url(engines),
            "CHAT4ALL_GRPC__PORT": str(self.grpc_port),
            "CHAT4ALL_HTTP__PORT": "0",
            "CHAT4ALL_TOKENS__JWKS_URL": signer.url,
            "CHAT4ALL_TOKENS__ISSUER": "https://auth.chat4all.local",
            "CHAT4ALL_TOKENS__AUDIENCE": "chat4all-api",
            "CHAT4ALL_PRESENCE__TTL_SECONDS": "2",
            "CHAT4ALL_PRESENCE__COALESCE_SECONDS": "0.3",
            "CHAT4ALL_PRESENCE__TICK_SECONDS": "0.1",
            **settings,
        }
        secret = InternalSettings(secret=engines["CHAT4ALL_INTERNAL__SECRET"])  # type: ignore[arg-type]  # pydantic wraps it
        self._services = ServiceTokens(secret, "tests")

    def internal(self) -> tuple[tuple[str, str], ...]:
        """Metadata of one of our own processes."""
        return (("x-service-token", self._services.mint()),)

    async def __aenter__(self) -> PresenceProcess:
        with open(self._log_path, "ab") as log:  # noqa: ASYNC230  # a local file
            self.process = subprocess.Popen(  # noqa: ASYNC220  # returns at once
                [sys.executable, "-m", "chat4all_presence"], env=self._environment, stdout=log, stderr=log
            )
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        await asyncio.wait_for(self.channel.channel_ready(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, 30)


Start = Callable[..., PresenceProcess]


@pytest.fixture
def start(engines: dict[str, str], signer: Signer, store: redis.asyncio.Redis, tmp_path: Any) -> Start:
    """Makes a process; enter it with `async with`."""

    def make(**settings: str) -> PresenceProcess:
        return PresenceProcess(engines, signer, str(tmp_path / "presence.log"), **settings)

    return make
