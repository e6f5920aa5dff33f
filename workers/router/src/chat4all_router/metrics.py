"""What the router measures: per batch, never per message."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
STAGES = ("decode", "lookup", "number", "insert", "publish", "produce")
OUTCOMES = ("stored", "repeated", "told_again", "conflict", "rejected")

stage_seconds = Histogram(
    "chat4all_router_stage_duration_seconds", "Time of one stage for one batch.", ["stage"], buckets=_STAGE_BUCKETS
)
batch_records = Histogram(
    "chat4all_router_batch_records", "Records in one batch.", buckets=(1, 2, 5, 10, 25, 50, 100, 200, 300, 400, 500, 1000)
)
accepted_to_stored_seconds = Histogram(
    "chat4all_router_accepted_to_stored_seconds",
    "From accepted to stored, of the oldest entry of each batch.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
entries = Counter("chat4all_router_entries_total", "What became of the records.", ["outcome"])
collisions = Counter("chat4all_router_collisions_total", "Rounds of settling a conversation another owner wrote to.")
moved = Counter("chat4all_router_moved_rows_total", "Rows moved down into a hole before anybody saw them.")
unpublished = Counter("chat4all_router_unpublished_entries_total", "Entries not shown live because Redis was away.")
publish_failures = Counter("chat4all_router_publish_failures_total", "Attempts to publish that failed.")

for _stage in STAGES:
    stage_seconds.labels(_stage)
for _outcome in OUTCOMES:
    entries.labels(_outcome)
