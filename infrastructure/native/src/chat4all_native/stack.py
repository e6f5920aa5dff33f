"""The whole of one copy: starts what does not run, in parallel where dependencies allow, and ends it in order.

State is on disk only (pid files, logs, data), so any command at any time can make a new `Stack` for the same folder. Commands that
change what runs take turns by a lock on the folder. A `Stack` starts threads only for the time of a call.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chat4all_native import status
from chat4all_native.engines import ENGINE_TYPES, make_engines
from chat4all_native.environment import connections
from chat4all_native.errors import StartFailed
from chat4all_native.layout import Layout, checkout
from chat4all_native.parts import Part, Progress, Step
from chat4all_native.ports import DEFAULT_BASE, SETTING, PortBlock
from chat4all_native.process import ManagedProcess, kill_strays
from chat4all_native.processes import SPECS, ChatProcess, make_processes
from chat4all_native.starting import Start
from chat4all_native.waiting import Deadline, wait_until

ENGINES: tuple[str, ...] = tuple(engine.name for engine in ENGINE_TYPES)
PROCESSES: tuple[str, ...] = tuple(spec.name for spec in SPECS if not spec.optional)


def _quiet(step: Step) -> None:
    """Progress for nobody."""


class Stack:
    """One copy of the engines and processes.

    Args:
        state_dir: its folder; `.state` of the checkout by default.
        port_base: first of its 40 ports; by default CHAT4ALL_PORT_BASE, else where it runs, else 8080.
        settings: environment variables for all Chat4All processes.
        overrides: environment variables for one part, by its name; they win. Both count for parts started from now on.
        cache_dir: where downloads are kept; `.state/cache` of the checkout by default, for all copies.

    Raises:
        StartFailed: the port base is not a number or the block does not fit.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        port_base: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        overrides: Mapping[str, Mapping[str, str]] | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self.layout = Layout(state_dir or checkout() / ".state", cache_dir)
        requested = port_base if port_base is not None else _base_from_environment()
        self._running_base = self.layout.read_port_base() if self._any_alive() else None
        self._requested_base = requested
        try:
            self.ports = PortBlock(self._running_base or requested or DEFAULT_BASE)
        except ValueError as error:
            raise StartFailed("stack", str(error)) from error
        own = {name: {**(settings or {}), **(overrides or {}).get(name, {})} for name in (*PROCESSES, *_optional())}
        parts: list[Part] = [*make_engines(self.layout, self.ports, overrides or {})]
        parts += make_processes(self.layout, self.ports, own)
        self._parts = {part.name: part for part in parts}
        self._processes = {name: ManagedProcess(name, self.layout) for name in self._parts}

    def _any_alive(self) -> bool:
        return any(ManagedProcess(name, self.layout).pid() for name in self.layout.known())

    def up(self, progress: Progress = _quiet, *, only: Iterable[str] | None = None) -> None:
        """Start what does not run and wait until all of it is ready. What runs is left alone.

        Args:
            progress: told of each step, one call at a time, from worker threads.
            only: names of parts; all but the optional ones by default. What they need beyond that is taken to run already.

        Raises:
            StartFailed: the first thing that went wrong; what was started before it keeps running, and `up` may be repeated.
        """
        names = list(only) if only is not None else [*ENGINES, *PROCESSES]
        parts = [self._part(name) for name in names]
        self.layout.make()
        with self.layout.exclusive():
            self._check_base()
            start = Start(parts, self._processes, self.layout, self.ports, progress)
            start.check()
            self.layout.write_port_base(self.ports.base)
            start.run()

    def _check_base(self) -> None:
        running = self.layout.read_port_base() if self._any_alive() else None
        if running is not None and running != (self._requested_base or self.ports.base):
            raise StartFailed(
                "stack", f"this copy runs on the ports from {running} on; run `chat4all down` before you move it to another block"
            )

    def start(self, name: str, progress: Progress = _quiet) -> int:
        """Start one part and wait until it is ready. Returns its pid.

        Raises:
            StartFailed: see `up`.
        """
        self.up(progress, only=[name])
        pid = self.pid(name)
        if pid is None:
            raise StartFailed(name, "it was ready and has ended since; read its log", self.log_tail(name, 15))
        return pid

    def down(self, progress: Progress = _quiet) -> None:
        """End everything in order: edge, sockets, services, engines, Kafka; then whatever of this copy is left.

        Raises:
            StartFailed: another command holds the lock for too long.
        """
        if not self.layout.state.is_dir():
            return
        with self.layout.exclusive():
            clock = Deadline(0)  # tells how long ago this began
            lock = threading.Lock()
            for stage in sorted({part.stop_stage for part in self._parts.values()}):
                parts = [part for part in self._parts.values() if part.stop_stage == stage]
                with ThreadPoolExecutor(len(parts)) as pool:
                    for ending in [pool.submit(self._end, part, progress, clock, lock) for part in parts]:
                        ending.result()
            for name in self.layout.known():
                ManagedProcess(name, self.layout).stop(signal.SIGTERM, 10.0)  # of an older version of this list
            kill_strays(self.layout.state)

    def _end(self, part: Part, progress: Progress, clock: Deadline, lock: threading.Lock) -> None:
        process = self._processes[part.name]
        running = process.pid() is not None
        if running:
            with lock:
                progress(Step(part.name, "stopping", clock.elapsed_seconds))
        orderly = process.stop(part.stop_signal, part.stop_seconds) or part.force_is_normal
        part.clean()
        if running:
            with lock:
                progress(Step(part.name, "stopped" if orderly else "killed", clock.elapsed_seconds))

    def stop(self, name: str) -> bool:
        """End one part in order. Returns False when it had to be killed."""
        part = self._part(name)
        with self.layout.exclusive():
            orderly = self._processes[name].stop(part.stop_signal, part.stop_seconds)
            part.clean()
        return orderly or part.force_is_normal

    def kill(self, name: str, signal_number: int) -> bool:
        """Send a signal to one part; returns False when it does not run. Returns at once."""
        self._part(name)
        return self._processes[name].signal(signal_number)

    def pid(self, name: str) -> int | None:
        """The pid of a part while it runs."""
        self._part(name)
        return self._processes[name].pid()

    def wait_ready(self, names: Iterable[str], deadline_seconds: float) -> None:
        """Wait until the named parts run and answer, whoever started them.

        Raises:
            StartFailed: one of them was not ready in time; says which and why.
        """
        deadline = Deadline(deadline_seconds)
        for name in names:
            part = self._part(name)

            def why_not(part: Part = part) -> str | None:
                return part.ready() if self.pid(part.name) else "it does not run"

            if reason := wait_until(why_not, deadline):
                raise StartFailed(name, f"not ready after {deadline_seconds:.0f} s: {reason}", self.log_tail(name, 15))

    def status(self) -> list[status.PartStatus]:
        """How every part is; optional ones only when they run."""
        shown = [part for part in self._parts.values() if part.name not in _optional() or self.pid(part.name)]
        return status.gather([(part, self._processes[part.name], self.ports.port(part.listeners[0])) for part in shown])

    def log_tail(self, name: str, lines: int) -> list[str]:
        """The last lines of a part's log."""
        self._part(name)
        return self._processes[name].log_tail(lines)

    def log_path(self, name: str) -> Path:
        """The log file of a part, for a command that follows it."""
        self._part(name)
        return self.layout.log(name)

    def environment(self, name: str) -> dict[str, str]:
        """What a Chat4All process is given; for an engine, and for any other name, the addresses and secrets alone.

        Contains secrets: do not print it.
        """
        part = self._parts.get(name)
        return part.environment() if isinstance(part, ChatProcess) else connections(self.layout, self.ports)

    def names(self) -> Sequence[str]:
        """All parts that can be named."""
        return list(self._parts)

    def _part(self, name: str) -> Part:
        try:
            return self._parts[name]
        except KeyError:
            raise StartFailed(name, f"there is no part of this name; there are {', '.join(self._parts)}") from None


def _optional() -> tuple[str, ...]:
    return tuple(spec.name for spec in SPECS if spec.optional)


def _base_from_environment() -> int | None:
    text = os.environ.get(SETTING)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise StartFailed("stack", f"{SETTING} must be a number, not {text!r}") from None
