"""What runs and how it is: one row per part, asked in parallel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import psutil

from chat4all_native.parts import Part
from chat4all_native.process import ManagedProcess

_CPU_SAMPLE_SECONDS = 0.3


@dataclass(frozen=True)
class PartStatus:
    """One part.

    Args:
        why_not_ready: None when it answered; else the reason, in one sentence.
        rss_bytes: resident memory; for a family of processes the memory its children share counts once.
        cpu_percent: of one core, over the last 0.3 s.
    """

    name: str
    kind: str
    port: int
    pid: int | None
    up_since: datetime | None
    why_not_ready: str | None
    rss_bytes: int
    cpu_percent: float

    @property
    def ready(self) -> bool:
        """It runs and answered."""
        return self.why_not_ready is None


def gather(parts: Sequence[tuple[Part, ManagedProcess, int]]) -> list[PartStatus]:
    """Ask all parts at once; takes about as long as the slowest answer (at most some seconds).

    Args:
        parts: part, its process, the port to show.
    """
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        return list(pool.map(lambda entry: _one(*entry), parts))


def _one(part: Part, process: ManagedProcess, port: int) -> PartStatus:
    identity = process.identity()
    if identity is None:
        return PartStatus(part.name, part.kind, port, None, None, "it does not run", 0, 0.0)
    family = _family(identity.pid)
    before, began = _cpu_seconds(family), time.monotonic()
    why_not = part.ready()
    time.sleep(max(0.0, _CPU_SAMPLE_SECONDS - (time.monotonic() - began)))  # a rate needs a stretch of time
    cpu = (_cpu_seconds(family) - before) / (time.monotonic() - began) * 100
    since = datetime.fromisoformat(identity.started_at)
    return PartStatus(part.name, part.kind, port, identity.pid, since, why_not, _memory(family), max(0.0, round(cpu, 1)))


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(family: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in family:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _memory(family: Sequence[psutil.Process]) -> int:
    total = 0
    for number, process in enumerate(family):
        with contextlib.suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss if number == 0 else max(0, memory.rss - memory.shared)
    return total
