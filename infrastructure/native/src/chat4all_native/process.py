"""One detached operating system process: started in its own session, found again by a pid file, ended in order.

The pid file holds pid, start time in clock ticks and the boot id, so a number that was given to another program meanwhile is
never taken for ours. Each child also carries the name of its copy in its environment (`CHAT4ALL_STACK_DIR`,
`CHAT4ALL_STACK_PART`), so what lost its pid file is still found.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from chat4all_native.layout import Layout

MARK_DIR = "CHAT4ALL_STACK_DIR"
MARK_PART = "CHAT4ALL_STACK_PART"
_LOG_KEEP_BYTES = 32 << 20

# Exit statuses of children of this interpreter, by pid; processes started by an earlier command have none.
_exit_statuses: dict[int, int] = {}


@dataclass(frozen=True)
class Launch:
    """What to start.

    Args:
        environment: the whole environment; nothing is inherited.
        user: run as this uid (and gid); None keeps the caller's.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    user: tuple[int, int] | None = None


@dataclass(frozen=True)
class Identity:
    """Tells one process from every other of this machine, before and after."""

    pid: int
    start_ticks: int
    boot_id: str
    started_at: str
    log_offset: int = field(default=0)


def _start_ticks(pid: int) -> int | None:
    """Start time of a live process; None when it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _open(identity: Identity) -> int | None:
    """A handle that means exactly this process; None when it no longer runs."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if identity.boot_id == _boot_id() and _start_ticks(identity.pid) == identity.start_ticks:
        return handle
    os.close(handle)
    return None


class ManagedProcess:
    """One named process of a copy. Safe to make many of for the same name: the truth is in the pid file."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.name = name
        self._layout = layout
        self.log_path = layout.log(name)

    def identity(self) -> Identity | None:
        """The recorded process if it still runs."""
        recorded = self._recorded()
        return recorded if recorded and _alive(recorded) else None

    def pid(self) -> int | None:
        """Its pid while it runs."""
        identity = self.identity()
        return identity.pid if identity else None

    def _recorded(self) -> Identity | None:
        try:
            return Identity(**json.loads(self._layout.run(self.name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # never started, or the machine went down while it was written: then it does not run either

    def start(self, launch: Launch) -> int:
        """Start it detached, its output appended to the log file (put aside at 32 MiB). Returns the pid.

        Raises:
            OSError: the program cannot be executed.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LOG_KEEP_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        environment = {**launch.environment, MARK_DIR: str(self._layout.state), MARK_PART: self.name}
        uid, gid = launch.user or (None, None)
        with self.log_path.open("ab") as log:
            offset = log.tell()
            child = subprocess.Popen(
                list(launch.command),
                env=environment,
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=[] if launch.user else None,
            )
        # The thread reaps the child when it ends: a zombie would look like a process that hangs.
        threading.Thread(target=_reap, args=(child,), name=f"reap-{self.name}", daemon=True).start()
        identity = Identity(child.pid, _start_ticks(child.pid) or 0, _boot_id(), datetime.now(UTC).isoformat(), offset)
        path = self._layout.run(self.name)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(identity)))
        draft.replace(path)
        return child.pid

    def signal(self, number: int) -> bool:
        """Send a signal; False when it does not run."""
        identity = self._recorded()
        handle = _open(identity) if identity else None
        if handle is None:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def stop(self, number: int, grace_seconds: float) -> bool:
        """Ask it to end with a signal, end it by force after the grace time, remove the pid file.

        Returns:
            True when it ended by itself (or did not run), False when it had to be killed.
        """
        identity = self._recorded()
        handle = _open(identity) if identity else None
        orderly = True
        if handle is not None:
            try:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
                    orderly = _wait(handle, grace_seconds)
                    if not orderly:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        _wait(handle, grace_seconds)
            finally:
                os.close(handle)
        self._layout.run(self.name).unlink(missing_ok=True)
        return orderly

    def ended(self) -> str:
        """How it ended, for a sentence."""
        recorded = self._recorded()
        status = _exit_statuses.get(recorded.pid) if recorded else None
        if status is None:
            return "ended"
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def log_tail(self, lines: int, *, this_start_only: bool = False) -> list[str]:
        """The last lines of its log."""
        recorded = self._recorded()
        try:
            with self.log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                first = recorded.log_offset if this_start_only and recorded and recorded.log_offset <= size else 0
                log.seek(max(first, size - 400 * max(lines, 1)))
                return log.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []


def _alive(identity: Identity) -> bool:
    handle = _open(identity)
    if handle is None:
        return False
    os.close(handle)
    return True


def _wait(handle: int, seconds: float) -> bool:
    """Wait for the end of the process behind a handle; False when it did not come in time."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def _reap(child: subprocess.Popen[bytes]) -> None:
    _exit_statuses[child.pid] = child.wait()


def strays(state: Path, part: str | None = None) -> list[int]:
    """Running processes of this copy by the mark in their environment (or of one part of it), pid file or not."""
    marks = {f"{MARK_DIR}={state}".encode()} | ({f"{MARK_PART}={part}".encode()} if part else set())
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if marks <= set((entry / "environ").read_bytes().split(b"\0")) and _start_ticks(int(entry.name)) is not None:
                found.append(int(entry.name))
    return sorted(found)


def kill_strays(state: Path, part: str | None = None, grace_seconds: float = 10.0) -> list[int]:
    """End by force what `strays` finds and wait until it is gone. Returns the pids."""
    found = strays(state, part)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if pid in strays(state, part):  # still the same program behind the number
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _wait(handle, grace_seconds)
            finally:
                os.close(handle)
    return found
