"""Writing a run down and reading it back.

Each process or client owns one `HistoryWriter` and thereby one file; a reader merges the files by monotonic time.
A record is on its way to the kernel when `write` returns, so `kill -9` of the client keeps everything written before
it. Not for use by several threads at once; an asyncio client needs no lock, because `write` does not await.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from .codec import RecordError, decode, encode
from .collector import collector_paused
from .records import Record

FILE_SUFFIX = ".jsonl"


class HistoryError(Exception):
    """A directory that does not hold a usable history."""


class HistoryWriter:
    """Appends records to `<directory>/<writer>.jsonl`, stamped and unbuffered (about 4 µs a record)."""

    def __init__(self, directory: Path, writer: str) -> None:
        """Create the file.

        Args:
            directory: made when missing.
            writer: unique in the run; a client that is started again takes a new name.

        Raises:
            FileExistsError: another writer has this name; two writers in one file would tear each other's lines.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._writer = writer
        self._next_index = 0
        self._file = (directory / f"{writer}{FILE_SUFFIX}").open("xb", buffering=0)

    def write(self, record: Record) -> None:
        """Stamp and append one record: an invocation before its bytes leave, an outcome after it was read.

        Raises:
            OSError: the line could not be written whole (disk full); the run is worth nothing from here on.
        """
        line = encode(
            record,
            monotonic_ns=time.monotonic_ns(),
            wall_ns=time.time_ns(),
            writer=self._writer,
            index=self._next_index,
        )
        written = self._file.write(line)
        if written != len(line):
            raise OSError(f"history {self._file.name}: {written} of {len(line)} bytes written")
        self._next_index += 1

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> HistoryWriter:
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self.close()


@dataclass(frozen=True, slots=True)
class History:
    """All records of a run in time order; one writer's records keep their order.

    Attributes:
        records: the merged records.
        torn_lines: files whose last line was cut by a kill and left out.
    """

    records: list[Record]
    torn_lines: int = 0


def merge(records: Iterable[Record]) -> History:
    """Order records by monotonic time. The sort is stable: give each writer's records in the order written."""
    return History(sorted(records, key=attrgetter("monotonic_ns")))


def read_history(directory: Path) -> History:
    """Read and merge every `*.jsonl` file of a directory.

    Raises:
        HistoryError: no file there, or a line in the middle of a file that is no record.
    """
    paths = sorted(directory.glob(f"*{FILE_SUFFIX}"))
    if not paths:
        raise HistoryError(f"no *{FILE_SUFFIX} files in {directory}")
    records: list[Record] = []
    pool: dict[str, str] = {}
    torn_lines = 0
    with collector_paused():
        for path in paths:
            torn_lines += _read_file(path, records, pool)
    return History(merge(records).records, torn_lines)


def write_history(directory: Path, records: Iterable[Record]) -> None:
    """Write records that carry stamps, one file per writer; for made-up histories, a run uses `HistoryWriter`."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for record in records:
            if record.writer not in files:
                path = directory / f"{record.writer}{FILE_SUFFIX}"
                files[record.writer] = stack.enter_context(path.open("wb"))
            files[record.writer].write(
                encode(
                    record,
                    monotonic_ns=record.monotonic_ns,
                    wall_ns=record.wall_ns,
                    writer=record.writer,
                    index=record.index,
                )
            )


def _read_file(path: Path, records: list[Record], pool: dict[str, str]) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return 1  # only the last line of a file can lack its end
            try:
                records.append(decode(line, pool))
            except RecordError as error:
                raise HistoryError(f"{path}:{number}: {error}") from error
    return 0
