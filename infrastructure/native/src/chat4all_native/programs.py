"""Finds the program of an engine: on the PATH when a good enough version is there, else from its wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chat4all_native.errors import StartFailed

Version = tuple[int, ...]
_ASK_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """An executable and what it says about itself."""

    path: Path
    version: Version
    source: str

    def describe(self, title: str) -> str:
        """For people: `PostgreSQL 15.18 (from the PATH: /usr/lib/...)`."""
        return f"{title} {'.'.join(map(str, self.version))} ({self.source}: {self.path})"


def package_folder(module: str) -> Path | None:
    """Folder of an installed package; None when it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def wheel_file(module: str, inside: str) -> Path | None:
    """A file in an installed package; None when package or file is missing."""
    folder = package_folder(module)
    return folder / inside if folder and (folder / inside).is_file() else None


def script(name: str) -> Path | None:
    """A program that a wheel put beside this Python."""
    path = Path(sys.executable).parent / name
    return path if path.is_file() else None


def ask_version(path: Path, argument: str, pattern: str) -> Version | None:
    """Run `path argument` and read the version; None when it does not run or says something else."""
    try:
        done = subprocess.run(  # HOME: weed looks for its configuration there
            [str(path), argument],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=False,
            env={**os.environ, "HOME": "/"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, done.stdout + done.stderr)
    return tuple(int(number) for number in match[1].split(".")) if match else None


def choose(
    name: str,
    *,
    on_path: Iterable[str],
    wheel: Path | None,
    argument: str,
    pattern: str,
    good: Callable[[Version], bool],
    wanted: str,
    series: tuple[int, Path] | None = None,
) -> Program:
    """The first good program, those on the PATH before the wheel's.

    Args:
        name: the engine, for the error.
        on_path: names to look for on the PATH.
        wheel: its program, None when the wheel is not installed.
        argument: makes the program tell its version.
        pattern: finds the version in what it tells, as group 1.
        good: whether a version on the PATH will do; the wheel's is known to.
        wanted: what to install when there is none, as the end of the sentence.
        series: how many numbers of the version must stay the same over the life of the data, and the file that remembers them:
            an engine does not read the files of a newer one.

    Raises:
        StartFailed: there is none.
    """
    size, memory = series or (0, Path())
    recorded = memory.read_text().strip() if series and memory.is_file() else None
    seen = []
    for program in _candidates(on_path, wheel, argument, pattern, good):
        own = ".".join(map(str, program.version[:size]))
        if recorded in (None, own):
            return program
        seen.append(own)
    if recorded and seen:
        raise StartFailed(
            name,
            f"its data was written by version {recorded} and only {', '.join(seen)} is here; install {recorded} again, "
            f"or remove {memory.parent} to start empty",
        )
    if wheel:
        raise StartFailed(
            name, f"the program of its wheel, {wheel}, does not run here; it is made for Linux on x86-64 with glibc"
        )
    raise StartFailed(name, f"it is not installed: {wanted}")


def _candidates(
    on_path: Iterable[str], wheel: Path | None, argument: str, pattern: str, good: Callable[[Version], bool]
) -> Iterator[Program]:
    for program_name in on_path:
        found = shutil.which(program_name)
        if found and (version := ask_version(Path(found).resolve(), argument, pattern)) and good(version):
            yield Program(Path(found).resolve(), version, "on the PATH")
    if wheel and (version := ask_version(wheel, argument, pattern)):
        yield Program(wheel, version, "from the wheel")


def remember_series(program: Program, size: int, memory: Path) -> None:
    """Note with the data which version series writes it."""
    memory.write_text(".".join(map(str, program.version[:size])) + "\n")


def missing_libraries(path: Path) -> list[str]:
    """Shared libraries the program needs and this system lacks, by `ldd`."""
    done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    return sorted({line.split()[0] for line in done.stdout.splitlines() if "not found" in line})
