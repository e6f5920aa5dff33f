"""`infrastructure/kafka/topics.yaml` and its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat4all_native.errors import StartFailed
from chat4all_native.layout import checkout
from chat4all_native.topics import FILE, TopicSettings, read_topics, wanted_config

DESIGNED = {
    "message.sent", "message.stored", "message.delivered", "message.read", "message.failed",
    "conversation.created", "conversation.updated", "channel.inbound", "file.uploaded", "user.presence", "webhook.event",
    "channel.outbound.whatsapp", "channel.outbound.instagram", "channel.outbound.telegram", "channel.outbound.messenger",
}  # fmt: skip

VALID = """
dead_letters: {partitions: {development: 1, production: 3}, retention_hours: 336, cleanup: delete}
topics:
  - {name: a.b, key: id, owner: x, readers: [y], partitions: {development: 2, production: 9}, retention_hours: 24, cleanup: delete}
  - {name: c.d, key: id, owner: x, partitions: {development: 1, production: 1}, retention_hours: 1, cleanup: compact}
"""


def test_the_committed_file_holds_every_topic_of_the_design() -> None:
    """No producer or consumer meets an unknown topic: the broker creates none by itself."""
    assert {topic.name for topic in read_topics(checkout() / FILE).topics} == DESIGNED


def test_every_consumed_topic_has_dead_letters_for_two_weeks() -> None:
    """What cannot be processed has somewhere to go, and stays long enough for a person to look."""
    file = read_topics(checkout() / FILE)
    storage = file.storage()
    for topic in file.topics:
        assert topic.readers, f"{topic.name} names no reader"
        assert storage[f"{topic.name}.dlq"].retention_hours == 14 * 24


def test_what_one_conversation_needs_in_order_is_spread_alike() -> None:
    """The topics of the main path have 12 partitions in development and at least 128 in production."""
    file = read_topics(checkout() / FILE)
    counts = {topic.name: topic.partitions for topic in file.topics}
    for name in ("message.sent", "message.stored", "conversation.created", "conversation.updated"):
        assert counts[name].development == 12
        assert counts[name].production >= 128


def test_topics_without_readers_have_no_dead_letters(tmp_path: Path) -> None:
    """Dead letters are written by readers only."""
    (tmp_path / "topics.yaml").write_text(VALID)
    assert set(read_topics(tmp_path / "topics.yaml").storage()) == {"a.b", "a.b.dlq", "c.d"}


def test_settings_reach_the_topic_config(tmp_path: Path) -> None:
    """Hours become milliseconds; replication is a setting, never part of the file."""
    (tmp_path / "topics.yaml").write_text(VALID)
    topic = read_topics(tmp_path / "topics.yaml").topics[0]
    settings = TopicSettings(profile="production", replication_factor=3, min_insync_replicas=2)
    assert wanted_config(topic, settings) == {
        "cleanup.policy": "delete",
        "retention.ms": "86400000",
        "min.insync.replicas": "2",
        "message.timestamp.type": "LogAppendTime",
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (VALID.replace("cleanup: compact", "cleanup: shred"), "topics.1.cleanup"),
        (VALID.replace("retention_hours: 24", "retention_days: 1"), "topics.0.retention_hours"),
        (VALID.replace("c.d", "a.b"), "named twice: a.b"),
        (VALID.replace("c.d", "C D"), "topics.1.name"),
        ("topics: [", "not valid YAML"),
        ("", "not valid at"),
    ],
)
def test_a_wrong_file_is_told_with_its_field(tmp_path: Path, text: str, named: str) -> None:
    """A typing error in the file stops the start with the place of the error, not with a half-made cluster."""
    (tmp_path / "topics.yaml").write_text(text)
    with pytest.raises(StartFailed, match=named):
        read_topics(tmp_path / "topics.yaml")
