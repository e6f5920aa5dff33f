"""The verdict: counts, classes, confidence, witnesses that must not be absent, and the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from checker import Record, Rules, ViolationClass, check, merge, write_history
from checker.__main__ import main
from checker.proof import RESUME_LIMIT, good_history
from checker.records import HistoryPage, Session, StoreRow, TimeseriesRow
from checker.report import SHOWN_PER_CLASS

RULES = Rules(resume_limit=RESUME_LIMIT)
LIMIT = ["--resume-limit", str(RESUME_LIMIT)]


def test_empty_run_proves_nothing() -> None:
    report = check(merge([]))
    assert not report.clean
    assert "says nothing" in report.confidence


def test_confidence_is_three_over_the_acknowledged() -> None:
    report = check(merge(good_history(1)), RULES)
    acknowledged = report.counts.acknowledged
    assert f"0 lost in {acknowledged:,} acknowledged" in report.confidence
    assert f"3/{acknowledged}" in report.confidence
    assert "95 %" in report.confidence


def test_loss_is_not_called_confidence() -> None:
    rows = [record for record in good_history(1) if not isinstance(record, StoreRow)]
    report = check(merge(rows), RULES)
    assert report.per_class[ViolationClass.LOST] >= report.counts.acknowledged
    assert "findings of loss" in report.confidence
    assert f"… and {len(report.of(ViolationClass.LOST)) - SHOWN_PER_CLASS:,} more" in report.render()


def _is_drain(record: Record) -> bool:
    return isinstance(record, HistoryPage) and record.drain


def _is_settled_close(record: Record) -> bool:
    return isinstance(record, Session) and record.settled


@pytest.mark.parametrize(
    ("absent", "relaxed"),
    [
        (lambda record: isinstance(record, StoreRow), replace(RULES, store=False)),
        (lambda record: isinstance(record, TimeseriesRow), replace(RULES, time_series=False)),
        (_is_drain, replace(RULES, drain=False)),
        (_is_settled_close, replace(RULES, settled=False)),
    ],
    ids=["store", "time_series", "drain", "settled"],
)
def test_absent_witness_is_a_violation_unless_the_rules_do_without(absent: Callable[[Record], bool], relaxed: Rules) -> None:
    history = merge(record for record in good_history(1) if not absent(record))
    assert not check(history, RULES).clean
    report = check(history, relaxed)
    assert report.clean, report.render()


def test_command_passes_a_good_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(tmp_path, good_history(1))
    assert main([str(tmp_path), *LIMIT]) == 0
    assert capsys.readouterr().out.startswith("CLEAN")


def test_command_fails_a_broken_run_and_names_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = good_history(1)
    victim = next(record for record in records if isinstance(record, StoreRow))
    write_history(tmp_path, [record for record in records if record is not victim])
    assert main([str(tmp_path), *LIMIT]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("BROKEN")
    assert victim.message_id in printed


def test_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(tmp_path, good_history(1))
    assert main([str(tmp_path), "--json", *LIMIT]) == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["clean"] is True
    assert report["per_class"] == {name.value: 0 for name in ViolationClass}


def test_command_says_when_there_is_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no *.jsonl files" in capsys.readouterr().err
