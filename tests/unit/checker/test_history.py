"""Writing down and reading back: nothing written is lost by a kill, nothing unreadable passes unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import checker
import pytest
from checker import HistoryError, HistoryWriter, Nemesis, RecordError, merge, read_history, write_history
from checker.codec import decode, encode
from checker.proof import good_history

_ENDLESS_CLIENT = """
import sys
from pathlib import Path
from checker import HistoryWriter, Nemesis
writer = HistoryWriter(Path(sys.argv[1]), "client")
number = 0
while True:
    writer.write(Nemesis(phase="start", fault="kill", target=str(number)))
    number += 1
    print(number, flush=True)
"""


def test_every_record_type_survives_the_round_trip(tmp_path: Path) -> None:
    records = good_history(1)
    write_history(tmp_path, records)
    assert read_history(tmp_path).records == merge(records).records
    assert {record.op for record in records} == {cls.op for cls in checker.records.RECORD_TYPES.values()}


def test_writer_stamps_and_reader_merges_by_time(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "b") as second, HistoryWriter(tmp_path, "a") as first:
        for number in range(3):
            first.write(Nemesis(phase="start", fault="kill", target=f"a{number}"))
            second.write(Nemesis(phase="start", fault="kill", target=f"b{number}"))
    records = read_history(tmp_path).records
    assert [record.target for record in records if isinstance(record, Nemesis)] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert [record.label for record in records] == ["a#0", "b#0", "a#1", "b#1", "a#2", "b#2"]
    assert all(record.wall_ns > 0 for record in records)


def test_two_writers_cannot_share_a_file(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "client"), pytest.raises(FileExistsError):
        HistoryWriter(tmp_path, "client")


def test_killed_client_keeps_what_it_wrote(tmp_path: Path) -> None:
    """What `write` has returned from is there after SIGKILL, without any closing."""
    environment = {**os.environ, "PYTHONPATH": str(Path(checker.__file__).parents[1])}
    command = [sys.executable, "-c", _ENDLESS_CLIENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as client:
        assert client.stdout is not None
        written = 0
        while written < 200:
            written = int(client.stdout.readline())
        client.kill()
    records = read_history(tmp_path).records
    assert len(records) >= written
    assert [record.index for record in records] == list(range(len(records)))


def test_torn_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    records = [record for record in good_history(1) if record.writer == "store"]
    write_history(tmp_path, records)
    path = tmp_path / "store.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    history = read_history(tmp_path)
    assert history.torn_lines == 1
    assert history.records == records[:-1]


def test_broken_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    write_history(tmp_path, good_history(1))
    path = tmp_path / "store.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"op":"store_row"\n', *lines[2:]]))
    with pytest.raises(HistoryError, match=r"store\.jsonl:3"):
        read_history(tmp_path)


def test_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HistoryError):
        read_history(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"7",
        b'{"phase":"start"}',
        b'{"op":"dance"}',
        b'{"op":"nemesis","phase":"maybe","fault":"kill","target":"router"}',
        b'{"op":"nemesis","phase":"start","fault":"kill"}',
        b'{"op":"nemesis","phase":"start","fault":"kill","target":"router","colour":"red"}',
        b'{"op":"history_page","session_id":"s","user_id":"u","conversation_id":"c","entries":[["m",1,"u","b"]]}',
        b'{"op":"history_page","session_id":"s","user_id":"u","conversation_id":"c","entries":[[1]]}',
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(RecordError):
        decode(line)


def test_defaults_are_not_written() -> None:
    line = encode(Nemesis(phase="stop", fault="kill", target="x"), monotonic_ns=1, wall_ns=2, writer="n", index=0)
    assert (
        line
        == b'{"op":"nemesis","monotonic_ns":1,"wall_ns":2,"writer":"n","index":0,"phase":"stop","fault":"kill","target":"x"}\n'
    )
