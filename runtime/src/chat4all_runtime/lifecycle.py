"""The life of a process: settings, logs, one event loop, signals, an orderly end, and a timer that guarantees the end.

`run()` is what each `main()` calls. The coroutine it is given opens its resources on one `AsyncExitStack` from the bottom up,
calls `process.health.serving()`, awaits `process.wait_for_stop()` and leaves the stack.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import uvloop

from chat4all_runtime import logs, tracing
from chat4all_runtime.health import Health
from chat4all_runtime.settings import ProcessSettings, load

log = structlog.get_logger()

S = TypeVar("S", bound=ProcessSettings)

EXIT_FAILED = 1
EXIT_HARD_STOP = 70


class Process:
    """What the running process knows about itself."""

    def __init__(self, name: str, hard_stop_seconds: float) -> None:
        self.name = name
        self.health = Health()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._hard_stop_seconds = hard_stop_seconds
        self._loop = asyncio.get_running_loop()

    async def wait_for_stop(self) -> None:
        """Return when the process shall end; raise what `fail()` was given.

        Raises:
            BaseException: a part of the process cannot go on.
        """
        await self._stop.wait()
        self.health.draining()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin the orderly end; the hard-stop timer is armed first. Safe to call twice."""
        if self._stop.is_set():
            return
        timer = threading.Timer(self._hard_stop_seconds, _end_now)
        timer.daemon = True
        timer.start()
        self._stop.set()

    def fail(self, error: BaseException) -> None:
        """A part cannot go on: end the process with status 1. Callable from any thread."""
        self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.stop()


def _end_now() -> None:
    sys.stderr.write("the orderly end took too long; stopping now\n")
    os._exit(EXIT_HARD_STOP)


def run(name: str, settings_type: type[S], serve: Callable[[S, Process], Awaitable[None]]) -> None:
    """Run one process until it is told to stop. Exits with 0 after an orderly end, 1 with one log line after a failure."""
    settings = load(settings_type)
    logs.configure(settings.log, name)
    tracing.configure(name)
    try:
        uvloop.run(_live(name, settings, serve))
    except Exception as error:
        log.error("process_failed", error=str(error), error_type=type(error).__name__, exc_info=settings.log.level == "DEBUG")
        sys.exit(EXIT_FAILED)
    finally:
        tracing.shutdown()


async def _live(name: str, settings: S, serve: Callable[[S, Process], Awaitable[None]]) -> None:
    process = Process(name, settings.shutdown.hard_stop_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    log.info("process_started", pid=os.getpid())
    serving = asyncio.ensure_future(serve(settings, process))
    stopping = asyncio.ensure_future(process._stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done() and process.health.not_ready().get("process") == "starting":
        serving.cancel()  # told to stop while still waiting for an engine
        await asyncio.wait({serving})
        return
    await serving
    log.info("process_stopped")
