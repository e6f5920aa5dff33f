"""What the stack is made of: engines and Chat4All processes look the same to it."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal

from chat4all_native.layout import Layout
from chat4all_native.ports import PortBlock
from chat4all_native.process import Launch
from chat4all_native.waiting import Deadline


class StopStage(IntEnum):
    """The order of the end: no stage begins before the one above has ended."""

    EDGE = 0
    GATEWAY = 1
    SERVICE = 2
    ENGINE = 3
    LOG = 4


@dataclass(frozen=True)
class Step:
    """One thing that happened while the stack started or stopped.

    Args:
        elapsed_seconds: since the command began.
        detail: for people: which program and version, what was created, why it failed.
    """

    name: str
    state: Literal["starting", "ready", "running", "stopping", "stopped", "killed", "failed"]
    elapsed_seconds: float
    detail: str = ""


Progress = Callable[[Step], None]


class Part(ABC):
    """One process of the stack and how it is started, asked and ended. Methods are called from worker threads.

    Attributes:
        listeners: names of its ports in `ports.OFFSETS`; the first is the one shown to people.
        needs: parts that must be ready before this one is started.
        start_seconds: longest wait from start to ready.
        stop_seconds: longest wait for the orderly end.
        force_is_normal: ending it by force after that wait loses nothing and is no news.
    """

    name: str
    kind: Literal["engine", "process"]
    listeners: tuple[str, ...]
    needs: tuple[str, ...] = ()
    start_seconds: float = 60.0
    stop_seconds: float = 30.0
    stop_signal: int = signal.SIGTERM
    stop_stage: StopStage = StopStage.ENGINE
    force_is_normal: bool = False

    def find(self) -> str:
        """Find the program without starting anything; returns a text for people: name, version, place.

        Raises:
            StartFailed: it is missing or cannot run here; names what to install.
        """
        return ""

    @abstractmethod
    def prepare(self) -> Launch:
        """Make folders and configuration and say what to start. Called only while it does not run; safe to repeat."""

    @abstractmethod
    def ready(self) -> str | None:
        """Ask for a real answer within two seconds: None when it does its work, else why not, in one sentence."""

    def answers(self) -> str | None:
        """Like `ready`, before `settle` has run."""
        return self.ready()

    def settle(self, deadline: Deadline) -> str:
        """Create inside what must be there (database, bucket, topics); safe to repeat. Returns a text for people.

        Raises:
            StartFailed: it did not work within the deadline.
        """
        return ""

    def clean(self) -> None:  # noqa: B027  # most leave nothing
        """Remove what it leaves outside its own folder; called after its end."""


class Engine(Part):
    """A real server of other makers."""

    kind: Literal["engine", "process"] = "engine"
    title: ClassVar[str]

    def __init__(self, layout: Layout, ports: PortBlock, settings: Mapping[str, str]) -> None:
        self.layout = layout
        self.ports = ports
        self.settings = settings
        self.data = layout.data(self.name)

    def environment(self, **more: str) -> dict[str, str]:
        """A small environment of its own: variables of the caller's shell must not reconfigure an engine."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(self.data), **kept, **more, **self.settings}
