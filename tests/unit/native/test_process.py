"""Detached processes and their pid files: never the wrong process, never one forgotten."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat4all_native.layout import Layout
from chat4all_native.process import Launch, ManagedProcess, kill_strays, strays
from chat4all_native.waiting import Deadline, wait_until

SLEEPER = "import signal, time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path / "state", tmp_path / "cache")
    layout.make()
    yield layout
    kill_strays(layout.state)


def start(layout: Layout, code: str, name: str = "sleeper") -> ManagedProcess:
    process = ManagedProcess(name, layout)
    process.start(Launch([sys.executable, "-c", code], {"PATH": os.environ["PATH"]}, layout.state))
    assert wait_until(lambda: None if process.log_tail(1) else "silent", Deadline(10)) is None
    return process


def test_it_runs_detached_and_another_object_finds_it(layout: Layout) -> None:
    """The next command finds what this one started, in a session of its own."""
    pid = start(layout, SLEEPER).pid()
    assert pid is not None
    assert ManagedProcess("sleeper", layout).pid() == pid
    assert os.getsid(pid) == pid


def test_an_orderly_stop_removes_the_pid_file(layout: Layout) -> None:
    """After a stop nothing runs and nothing says so."""
    process = start(layout, SLEEPER)
    assert process.stop(signal.SIGTERM, 5.0) is True
    assert process.pid() is None
    assert layout.known() == []
    assert process.stop(signal.SIGTERM, 5.0) is True


def test_who_does_not_listen_is_killed_after_the_grace_time(layout: Layout) -> None:
    """A process that ignores SIGTERM does not hold up the end."""
    process = start(layout, STUBBORN)
    assert process.stop(signal.SIGTERM, 0.3) is False
    assert process.pid() is None


def test_a_killed_child_is_dead_at_once_and_says_how(layout: Layout) -> None:
    """A zombie is not taken for a running process."""
    process = start(layout, SLEEPER)
    process.signal(signal.SIGKILL)
    assert wait_until(lambda: "alive" if process.pid() else None, Deadline(5)) is None
    assert wait_until(lambda: None if "SIGKILL" in process.ended() else process.ended(), Deadline(5)) is None


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_a_recycled_pid_is_never_touched(layout: Layout, change: dict[str, object]) -> None:
    """The number of a live stranger in an old pid file is not enough to signal or stop it."""
    victim = start(layout, SLEEPER)
    path = layout.run("old")
    path.write_text(json.dumps({**json.loads(layout.run("sleeper").read_text()), **change}))
    old = ManagedProcess("old", layout)
    assert old.pid() is None
    assert old.signal(signal.SIGKILL) is False
    assert old.stop(signal.SIGKILL, 1.0) is True
    assert victim.pid() is not None


@pytest.mark.parametrize("content", ["", "{", "{}", '{"pid": 1}', "null"])
def test_a_broken_pid_file_means_not_running(layout: Layout, content: str) -> None:
    """A machine that went down while the file was written starts again without help."""
    layout.run("sleeper").write_text(content)
    assert ManagedProcess("sleeper", layout).pid() is None


def test_what_lost_its_pid_file_is_found_by_its_mark(layout: Layout, tmp_path: Path) -> None:
    """Removing the pid files does not leave anything running after `down`; other copies are not touched."""
    process = start(layout, SLEEPER)
    pid = process.pid()
    layout.run("sleeper").unlink()
    assert strays(layout.state, "sleeper") == [pid]
    assert strays(layout.state, "other") == []
    assert strays(tmp_path / "other") == []
    assert kill_strays(layout.state) == [pid]
    assert strays(layout.state) == []


def test_the_log_tail_can_be_of_this_start_only(layout: Layout) -> None:
    """An error of yesterday is not shown as the reason of today's failure."""
    start(layout, "print('yesterday', flush=True)")
    process = ManagedProcess("sleeper", layout)
    assert wait_until(lambda: "alive" if process.pid() else None, Deadline(5)) is None
    process.start(Launch([sys.executable, "-c", "print('today')"], {}, layout.state))
    assert wait_until(lambda: None if "today" in process.log_tail(5) else "silent", Deadline(10)) is None
    assert process.log_tail(5) == ["yesterday", "today"]
    assert process.log_tail(5, this_start_only=True) == ["today"]
