"""What an operator asks Kafka: topics with their size and lag, dead letters, and putting a dead letter back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from chat4all_cli.rest import Json

_TIMEOUT_SECONDS = 10.0
GROUPS = ("router", "history", "conversation-activity")


def topics(servers: str) -> list[Json]:
    """Every topic of ours: partitions, records kept, and how far each group is behind.

    Raises:
        KafkaException: the brokers do not answer.
    """
    admin = AdminClient({"bootstrap.servers": servers})
    reader = _reader(servers)
    try:
        found = admin.list_topics(timeout=_TIMEOUT_SECONDS).topics
        committed = _committed(admin)
        rows = []
        for name in sorted(topic for topic in found if not topic.startswith("__")):
            records = 0
            lag: dict[str, int] = {}
            for number in found[name].partitions:
                low, high = reader.get_watermark_offsets(TopicPartition(name, number), timeout=_TIMEOUT_SECONDS)
                records += high - low
                for group in GROUPS:
                    if (group, name, number) in committed:
                        lag[group] = lag.get(group, 0) + max(0, high - max(low, committed[group, name, number]))
            rows.append({"topic": name, "partitions": len(found[name].partitions), "records": records, "lag": lag})
        return rows
    finally:
        reader.close()


def _committed(admin: AdminClient) -> dict[tuple[str, str, int], int]:
    offsets = {}
    for group in GROUPS:
        future = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        try:
            for place in future.result(timeout=_TIMEOUT_SECONDS).topic_partitions:
                if place.offset >= 0:
                    offsets[group, place.topic, place.partition] = place.offset
        except KafkaException:
            continue  # the group has never been here
    return offsets


def dead_letters(servers: str, topic: str | None, limit: int) -> list[Json]:
    """Dead letters, oldest first, at most `limit`: where each is, where it came from, why."""
    rows = []
    for message in _letters(servers, topic):
        headers = _headers(message)
        rows.append(
            {
                "id": f"{message.topic()}/{message.partition()}/{message.offset()}",
                "reason": headers.get("dlq_reason", ""),
                "detail": headers.get("dlq_detail", ""),
                "origin": "/".join(headers.get(name, "") for name in ("dlq_topic", "dlq_partition", "dlq_offset")),
                "group": headers.get("dlq_group", ""),
                "key": (message.key() or b"").decode(errors="replace"),
                "type": headers.get("ce_type", ""),
                "bytes": len(message.value() or b""),
            }
        )
        if len(rows) >= limit:
            break
    return rows


def dead_letter(servers: str, letter_id: str) -> Message:
    """One dead letter.

    Raises:
        ValueError: the id is not of the form topic/partition/offset, or nothing is there.
    """
    try:
        topic, partition, offset = letter_id.rsplit("/", 2)
        place = TopicPartition(topic, int(partition), int(offset))
    except ValueError as error:
        raise ValueError(f"'{letter_id}' is not the id of a dead letter; `chat4all dlq list` shows them.") from error
    reader = _reader(servers)
    try:
        low, high = reader.get_watermark_offsets(place, timeout=_TIMEOUT_SECONDS)
        if not topic.endswith(".dlq") or not low <= place.offset < high:
            raise ValueError(f"There is no dead letter {letter_id}; `chat4all dlq list` shows them.")
        reader.assign([place])
        message = reader.poll(_TIMEOUT_SECONDS)
        if message is None or message.error() is not None:
            raise ValueError(f"{letter_id} could not be read within {_TIMEOUT_SECONDS:.0f} s; try again.")
        return message
    finally:
        reader.close()


def describe(message: Message) -> Json:
    """All of a dead letter but its content, which may be somebody's words."""
    return {
        "key": (message.key() or b"").decode(errors="replace"),
        "bytes": len(message.value() or b""),
        "headers": _headers(message),
    }


def replay(servers: str, message: Message) -> str:
    """Put a dead letter back on the topic it came from, as it was; consumers remove repeats. Returns that topic.

    Raises:
        ValueError: it does not say where it came from.
        KafkaException: the brokers did not acknowledge.
    """
    origin = _headers(message).get("dlq_topic", "")
    if not origin:
        raise ValueError("The record does not say which topic it came from; it cannot be put back.")
    kept: Any = [(name, value) for name, value in _header_list(message) if not name.startswith("dlq_")]
    errors: list[Any] = []
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
    producer.produce(origin, message.value(), message.key(), headers=kept, on_delivery=lambda error, _: errors.append(error))
    producer.flush(_TIMEOUT_SECONDS)
    if errors != [None]:
        raise KafkaException(errors[0] if errors else "not acknowledged in time")
    return origin


def _reader(servers: str) -> Consumer:
    return Consumer(
        {"bootstrap.servers": servers, "group.id": "chat4all-cli", "enable.auto.commit": False, "auto.offset.reset": "earliest",
         "enable.partition.eof": True}
    )  # fmt: skip


def _letters(servers: str, topic: str | None) -> Iterator[Message]:
    reader = _reader(servers)
    try:
        found = reader.list_topics(timeout=_TIMEOUT_SECONDS).topics
        wanted = [f"{topic.removesuffix('.dlq')}.dlq"] if topic else sorted(name for name in found if name.endswith(".dlq"))
        places = []
        for name in wanted:
            for number in found[name].partitions if name in found else ():
                low, high = reader.get_watermark_offsets(TopicPartition(name, number), timeout=_TIMEOUT_SECONDS)
                if high > low:
                    places.append(TopicPartition(name, number, low))
        reader.assign(places)
        ended = 0
        while ended < len(places):
            message = reader.poll(_TIMEOUT_SECONDS)
            if message is None:
                return
            if message.error() is not None:
                ended += 1  # the end of one partition
            else:
                yield message
    finally:
        reader.close()


def _header_list(message: Message) -> list[tuple[str, Any]]:
    found: Any = message.headers() or []
    return list(found)


def _headers(message: Message) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else (value or b"").decode(errors="replace")
        for name, value in _header_list(message)
    }
