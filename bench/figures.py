"""Percentiles and CPU accounting shared by all scenarios."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share (0 to 1) of the values lies; 0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and max, in milliseconds."""
    return {
        "p50_ms": round(percentile(milliseconds, 0.50), 2),
        "p99_ms": round(percentile(milliseconds, 0.99), 2),
        "max_ms": round(max(milliseconds, default=0.0), 2),
    }


@dataclass
class CpuMeter:
    """CPU seconds that named processes use between `start()` and `stop()`, children included where they live on.

    This process counts without its children: the copy under test is started by it.
    """

    pids: Mapping[str, int]

    def start(self) -> None:
        """Begin."""
        self._before = self._read()

    def stop(self) -> dict[str, float]:
        """CPU seconds by name since `start()`."""
        after = self._read()
        return {name: after[name] - self._before.get(name, 0.0) for name in after}

    def _read(self) -> dict[str, float]:
        seconds = {}
        for name, pid in self.pids.items():
            try:
                process = psutil.Process(pid)
                family = [process] if pid == os.getpid() else [process, *process.children(recursive=True)]
                seconds[name] = sum(member.cpu_times().user + member.cpu_times().system for member in family)
            except psutil.NoSuchProcess:
                continue
        return seconds


def per_message(cpu_seconds: Mapping[str, float], messages: int) -> dict[str, float]:
    """CPU µs per message by process, largest first, with the sum of all but the load generator as `sum`."""
    each = {name: round(seconds / max(messages, 1) * 1e6, 1) for name, seconds in cpu_seconds.items()}
    each = dict(sorted(each.items(), key=lambda item: -item[1]))
    each["sum"] = round(sum(value for name, value in each.items() if name != "generator"), 1)
    return each
