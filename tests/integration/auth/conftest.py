"""The auth process on real engines, inside the test's own event loop, and relays that can cut it off from an engine."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import grpc
import pytest
from grpc_status import rpc_status

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all.auth.v1 import auth_service_pb2_grpc as pb_grpc
from chat4all_auth.server import listening
from chat4all_auth.settings import Settings
from chat4all_runtime.errors import DomainError
from chat4all_runtime.grpc_errors import from_status
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.ids import new_id
from chat4all_runtime.lifecycle import Process

PASSWORD = "correct horse battery"


def unique(prefix: str = "user") -> str:
    return f"{prefix}-{new_id()[-12:]}"


def some_address() -> str:
    """An address of its own, so that limits of one test do not meet those of another in the shared Redis."""
    return f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"


async def refusal(call: Awaitable[Any]) -> DomainError:
    """The refusal of a call that must be refused, with code, reason, metadata and retry delay."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, f"a plain status instead of a refusal: {caught.value!r}"
    return from_status(status)


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float = 15.0) -> Any:
    """The first true answer of `check`, asked again and again."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):  # noqa: ASYNC110 - the condition lives in another process
            await asyncio.sleep(0.05)
        return answer


@dataclass
class Auth:
    """A running auth process and a client of it."""

    settings: Settings
    process: Process
    stub: Any
    channel: Any
    http: str
    address: str = field(default_factory=some_address)

    def metadata(self, token: str = "", address: str = "") -> tuple[tuple[str, str], ...]:
        """Metadata as the edge sends it, with a forged first hop."""
        forwarded = ("x-forwarded-for", f"203.0.113.9, {address or self.address}")
        return (forwarded, ("authorization", f"Bearer {token}")) if token else (forwarded,)

    def service_metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of a process of ours."""
        return (("x-service-token", ServiceTokens(self.settings.internal, "tests").mint()),)

    async def call(self, method: str, request: Any, token: str = "", address: str = "") -> Any:
        """Call a method as somebody outside."""
        return await getattr(self.stub, method)(request, metadata=self.metadata(token, address), timeout=20)

    async def internal(self, method: str, request: Any) -> Any:
        """Call a method as a process of ours."""
        return await getattr(self.stub, method)(request, metadata=self.service_metadata(), timeout=20)

    async def register(self, username: str | None = None, **fields: str) -> Any:
        """Make an account with the common password."""
        values = {
            "username": unique() if username is None else username,
            "password": PASSWORD,
            "display_name": "Somebody",
        } | fields
        return await self.call("Register", pb.RegisterRequest(**values))

    async def login(self, username: str, password: str = PASSWORD, address: str = "", **fields: str) -> Any:
        """Sign in."""
        return await self.call("Login", pb.LoginRequest(username=username, password=password, **fields), address=address)

    async def signed_in(self, **fields: str) -> Any:
        """Make an account and sign in."""
        user = await self.register(**fields)
        return await self.login(user.username, tenant_id=fields.get("tenant_id", ""))

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """Look into the store, or change it behind the process."""
        connection = await asyncpg.connect(self.settings.postgres.dsn.get_secret_value(), server_settings={"search_path": "auth"})
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()


class Relay:
    """A TCP relay to an engine that a test can cut and mend."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL of the engine through the relay."""
        credentials, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self._port}"))

    async def mend(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        finally:
            self._writers -= {writer, there_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def relay() -> AsyncIterator[Callable[[str], Awaitable[Relay]]]:
    """To be called with the URL of an engine; gives a relay to it."""
    relays: list[Relay] = []

    async def open_relay(url: str) -> Relay:
        relays.append(made := Relay(url))
        await made.mend()
        return made

    yield open_relay
    for made in relays:
        await made.cut()


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Auth]:
    process = Process("auth", 1_000_000.0)  # its hard-stop timer would end the test run
    ports: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def live() -> None:
        async with listening(settings, process) as opened:
            ports.set_result(opened)
            await done.wait()

    living = asyncio.create_task(live())
    await asyncio.wait({living, ports}, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        await living
    opened = ports.result()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{opened.grpc_port}") as channel:
            yield Auth(settings, process, pb_grpc.AuthServiceStub(channel), channel, f"http://127.0.0.1:{opened.http_port}")
    finally:
        done.set()
        await living


@pytest.fixture
async def start(
    engines: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[Auth]]]:
    """To be called with further settings as in the environment; gives a running process. All share keys and stores."""
    async with AsyncExitStack() as stack:

        async def begin(**environment: str) -> Auth:
            defaults = {
                "CHAT4ALL_AUTH__KEYS_DIR": str(tmp_path / "keys"),
                "CHAT4ALL_PASSWORDS__MEMORY_KIB": "1024",
                "CHAT4ALL_PASSWORDS__ITERATIONS": "1",
            }
            for name, value in (engines | defaults | environment).items():
                monkeypatch.setenv(name, value)
            return await stack.enter_async_context(_running(Settings()))

        yield begin


@pytest.fixture
async def auth(start: Callable[..., Awaitable[Auth]]) -> Auth:
    """A running auth process with cheap password hashing."""
    return await start()
