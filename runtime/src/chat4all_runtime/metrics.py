"""Prometheus metrics that every process has; an area declares its own beside its code.

Names are `chat4all_<area>_<what>_<unit>`; labels have few values, never an id. Each is listed in monitoring/metrics.md.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

grpc_server_seconds = Histogram(
    "chat4all_grpc_server_duration_seconds", "Time to answer a call.", ["method", "code"], buckets=LATENCY_BUCKETS
)
kafka_produced_records = Counter("chat4all_kafka_produced_records_total", "Records acknowledged or failed.", ["topic", "outcome"])
kafka_consumed_records = Counter("chat4all_kafka_consumed_records_total", "Records handled.", ["topic", "outcome"])
kafka_batch_seconds = Histogram(
    "chat4all_kafka_batch_duration_seconds",
    "Time to handle one batch, retries included.",
    ["group"],
    buckets=LATENCY_BUCKETS,
)
kafka_consumer_lag_records = Gauge(
    "chat4all_kafka_consumer_lag_records", "Records waiting, by partition owned.", ["topic", "partition"]
)
