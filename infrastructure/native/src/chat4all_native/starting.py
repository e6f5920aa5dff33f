"""One start: checks everything first, then brings the parts up in parallel, each as soon as what it needs is ready.

The first failure cancels the waiting of the others; what runs by then keeps running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

from chat4all_native.errors import StartFailed, diagnose
from chat4all_native.layout import Layout
from chat4all_native.parts import Part, Progress, Step
from chat4all_native.ports import PortBlock, is_free, taken_sentence
from chat4all_native.process import ManagedProcess, kill_strays
from chat4all_native.waiting import Cancelled, Deadline, wait_until

_TAIL_LINES = 15
_PORT_RELEASE_SECONDS = 3.0
_NEEDS_SECONDS = 600.0  # never reached: each part has its own, shorter deadline, and a failure cancels


class Start:
    """The start of some parts. Made for one call of `Stack.up`."""

    def __init__(
        self, parts: Sequence[Part], processes: Mapping[str, ManagedProcess], layout: Layout, ports: PortBlock, progress: Progress
    ) -> None:
        self._parts = parts
        self._processes = processes
        self._layout = layout
        self._ports = ports
        self._progress = progress
        self._clock = Deadline(0)  # a clock only: it tells how long ago this began
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._done = {part.name: threading.Event() for part in parts}
        self._found: dict[str, str] = {}
        self._failures: list[StartFailed] = []

    def check(self) -> None:
        """Find the programs and check the ports of all that is to be started, before anything is.

        Raises:
            StartFailed: something is missing or taken.
        """
        starting = [part for part in self._parts if self._processes[part.name].pid() is None]
        for part in starting:
            kill_strays(self._layout.state, part.name)  # what lost its pid file, or its head
        for part in starting:
            for listener in part.listeners:
                # A process killed a moment ago may still be giving its port back.
                port = self._ports.port(listener)
                if wait_until(partial(_why_taken, port), Deadline(_PORT_RELEASE_SECONDS)):
                    raise StartFailed(part.name, taken_sentence(port, listener, self._ports.base))
        self._in_parallel([partial(self._find, part) for part in starting])

    def _find(self, part: Part) -> None:
        self._found[part.name] = part.find()

    def run(self) -> None:
        """Start and wait.

        Raises:
            StartFailed: the first failure.
        """
        self._in_parallel([partial(self._bring_up, part) for part in self._parts])

    def _in_parallel(self, tasks: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max(1, len(tasks))) as pool:
            try:
                for future in [pool.submit(self._guard, task) for task in tasks]:
                    future.result()
            except BaseException:  # an interrupt: let the others stop waiting, or the pool would not end
                self._cancelled.set()
                raise
        if self._failures:
            raise self._failures[0]

    def _guard(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Cancelled:
            return
        except StartFailed as failure:
            self._failures.append(failure)
            self._cancelled.set()
            self._tell(failure.name, "failed", failure.sentence)

    def _tell(self, name: str, state: Literal["starting", "ready", "running", "failed"], detail: str = "") -> None:
        with self._lock:
            self._progress(Step(name, state, self._clock.elapsed_seconds, detail))

    def _bring_up(self, part: Part) -> None:
        for need in part.needs:
            if need in self._done:
                wait_until(partial(self._waits_for, need), Deadline(_NEEDS_SECONDS), cancelled=self._cancelled)
        process = self._processes[part.name]
        deadline = Deadline(part.start_seconds)
        running = process.pid() is not None
        if not running:
            if part.name not in self._found:
                self._find(part)  # it ran a moment ago, when everything was checked
            self._tell(part.name, "starting", self._found.get(part.name, ""))
            self._launch(part, process)
        self._await(part, process, part.answers, deadline)
        try:
            detail = part.settle(deadline)
        except (StartFailed, Cancelled):
            raise
        except Exception as error:  # whatever the engine's client raises while it sets up the inside
            raise self._failed(part, f"it runs but could not be set up ({error})") from error
        self._await(part, process, part.ready, deadline)
        self._done[part.name].set()
        self._tell(part.name, "running" if running else "ready", detail)

    def _waits_for(self, need: str) -> str | None:
        return None if self._done[need].is_set() else f"waits for {need}"

    def _launch(self, part: Part, process: ManagedProcess) -> None:
        try:
            process.start(part.prepare())
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise StartFailed(
                part.name, f"it cannot be started ({reason}); check that folder and program are there and yours"
            ) from error

    def _await(self, part: Part, process: ManagedProcess, ask: Callable[[], str | None], deadline: Deadline) -> None:
        """Wait for the answer while it lives."""

        def why_not() -> str | None:
            return ask() if process.pid() is not None else "ended"

        reason: str | None = "ended"
        while process.pid() is not None:
            # In short stretches, so that a death is told at once and not at the deadline.
            stretch = Deadline(min(0.5, deadline.remaining_seconds))
            reason = wait_until(why_not, stretch, cancelled=self._cancelled)
            if reason is None:
                return
            if deadline.passed:
                raise self._failed(
                    part, f"it runs (pid {process.pid()}) but was not ready after {part.start_seconds:.0f} s: {reason}"
                )
        raise self._failed(part, f"it {process.ended()} while it started")

    def _failed(self, part: Part, what: str) -> StartFailed:
        tail = self._processes[part.name].log_tail(_TAIL_LINES, this_start_only=True)
        advice = diagnose(tail) or f"its log {self._layout.log(part.name)} says why"
        return StartFailed(part.name, f"{what}; {advice}", tail)


def _why_taken(port: int) -> str | None:
    return None if is_free(port) else "taken"
