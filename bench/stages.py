"""Where the time goes: means of the processes' own histograms between two looks, so that the next bottleneck has a name."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

# Histogram → what its figure is called here; seconds are shown as milliseconds, others as they are.
_WATCHED = {
    "chat4all_gateway_send_stage_seconds": "gateway, send until",
    "chat4all_gateway_submit_items": "gateway, sends in a call",
    "chat4all_grpc_server_duration_seconds": "message",
    "chat4all_router_accepted_to_stored_seconds": "router, oldest of a batch from accepted to stored",
    "chat4all_router_stage_duration_seconds": "router",
    "chat4all_router_batch_records": "router, records in a batch",
    "chat4all_history_stage_duration_seconds": "history",
}
_METHODS = {"SendMessage", "SendMessageBatch", "SubmitMessages"}


class StageMeter:
    """Means per stage between `start()` and `stop()`.

    Args:
        urls: `/metrics` of the processes to look at, by name.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def start(self) -> None:
        """Begin."""
        self._before = self._read()

    def stop(self) -> dict[str, float]:
        """Mean of each stage that did something since `start()`: milliseconds, or records and sends where the name says so."""
        means = {}
        for name, (total, count) in self._read().items():
            total_before, count_before = self._before.get(name, (0.0, 0.0))
            if count > count_before:
                means[name] = round((total - total_before) / (count - count_before), 2)
        return means

    def _read(self) -> dict[str, tuple[float, float]]:
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for url in self._urls.values():
            for family in text_string_to_metric_families(httpx.get(url, timeout=5).text):
                if family.name not in _WATCHED:
                    continue
                factor = 1000 if family.name.endswith("_seconds") else 1
                for sample in family.samples:
                    name = _name(family.name, sample.labels)
                    if name is None:
                        continue
                    if sample.name.endswith("_sum"):
                        sums[name] = sums.get(name, 0.0) + sample.value * factor
                    elif sample.name.endswith("_count"):
                        counts[name] = counts.get(name, 0.0) + sample.value
        return {name: (total, counts[name]) for name, total in sums.items()}


def _name(family: str, labels: Mapping[str, str]) -> str | None:
    if "method" in labels:
        method = labels["method"].rsplit("/", 1)[1]
        return f"message, {method} {labels['code']}" if method in _METHODS else None
    return " ".join([_WATCHED[family], *(value for key, value in labels.items() if key != "le")])
