"""What the documents list is what the code has: metrics and topics."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
_METRIC = re.compile(r"(?:Counter|Gauge|Histogram)\(\s*\"(chat4all_[a-z0-9_]+)\"")


def declared_metrics() -> set[str]:
    """Every metric that our code declares."""
    sources = [path for pattern in ("*/src/**/*.py", "*/*/src/**/*.py") for path in ROOT.glob(pattern)]
    return {name for source in sources for name in _METRIC.findall(source.read_text())}


def test_every_metric_is_documented() -> None:
    """monitoring/metrics.md has exactly the metrics of the code."""
    listed = set(re.findall(r"^\| `(chat4all_[a-z0-9_]+)`", (ROOT / "monitoring" / "metrics.md").read_text(), re.MULTILINE))
    assert listed == declared_metrics()


def test_every_topic_is_documented() -> None:
    """docs/events.md speaks of every topic of topics.yaml, dead letters and channels by their pattern."""
    document = (ROOT / "docs" / "events.md").read_text()
    topics = yaml.safe_load((ROOT / "infrastructure" / "kafka" / "topics.yaml").read_text())["topics"]
    names = topics if isinstance(topics, dict) else [topic["name"] for topic in topics]
    for name in names:
        if not name.endswith(".dlq"):
            assert f"`{name}`" in document or name.startswith("channel.outbound."), name
