"""What the history worker measures: per batch, never per entry."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

STAGES = ("decode", "lookup", "insert")
OUTCOMES = ("written", "repeated", "rejected")

stage_seconds = Histogram(
    "chat4all_history_stage_duration_seconds",
    "Time of one stage for one batch.",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
entries = Counter("chat4all_history_entries_total", "What became of the records.", ["outcome"])
looked_up = Counter("chat4all_history_looked_up_entries_total", "Entries searched for before writing, since they may be repeats.")

for _stage in STAGES:
    stage_seconds.labels(_stage)
for _outcome in OUTCOMES:
    entries.labels(_outcome)
