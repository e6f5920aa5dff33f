"""`python -m checker DIR`: judge a recorded run; exit 0 when clean, 1 when broken, 2 when unreadable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson

from .history import HistoryError, read_history
from .report import check
from .verdicts import Rules


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="checker", description="Judge a recorded run.")
    parser.add_argument("directory", type=Path, help="holds the *.jsonl files of the run")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    for witness in ("store", "time-series", "drain", "settled"):
        parser.add_argument(f"--without-{witness}", action="store_true", help=f"the run has no {witness} witness")
    parser.add_argument("--resume-limit", type=int, default=Rules().resume_limit, help="missed entries without a reset")
    given = parser.parse_args(arguments)
    rules = Rules(
        store=not given.without_store,
        time_series=not given.without_time_series,
        drain=not given.without_drain,
        settled=not given.without_settled,
        resume_limit=given.resume_limit,
    )
    try:
        report = check(read_history(given.directory), rules)
    except HistoryError as error:
        sys.stderr.write(f"checker: {error}\n")
        return 2
    sys.stdout.write(orjson.dumps(report.as_dict()).decode() + "\n" if given.json else report.render())
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
