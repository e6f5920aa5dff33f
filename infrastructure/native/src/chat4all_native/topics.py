"""Brings a Kafka cluster to what `infrastructure/kafka/topics.yaml` says: creates the missing, aligns retention and cleanup.

Never deletes a topic and never changes a partition count (that would move keys to other partitions and break their order); it
tells. Used by the stack on every start and, for any cluster, by `apply_topics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public there, but not marked as exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chat4all_native.errors import StartFailed

FILE = Path("infrastructure/kafka/topics.yaml")
DEAD_LETTER_SUFFIX = ".dlq"
_DEFAULT_SECONDS = 60.0


class TopicSettings(BaseSettings):
    """What differs between a development machine and a cluster."""

    model_config = SettingsConfigDict(env_prefix="CHAT4ALL_TOPICS__", frozen=True)

    profile: Literal["development", "production"] = Field("development", description="Which partition counts of topics.yaml.")
    replication_factor: int = Field(1, ge=1, le=10, description="Copies of each partition; 3 where three brokers exist.")
    min_insync_replicas: int = Field(1, ge=1, le=10, description="Copies that must have a record before it is acknowledged.")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Partitions(_Strict):
    """Partition counts by profile."""

    development: int = Field(ge=1, le=1000)
    production: int = Field(ge=1, le=1000)


class Storage(_Strict):
    """How long records of a topic stay."""

    partitions: Partitions
    retention_hours: int = Field(ge=1)
    cleanup: Literal["delete", "compact"]


class Topic(Storage):
    """One topic of the file."""

    name: str = Field(pattern=r"^[a-z]+(\.[a-z_]+)+$")
    key: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    readers: tuple[str, ...] = ()


class TopicFile(_Strict):
    """The whole file."""

    dead_letters: Storage
    topics: tuple[Topic, ...]

    @model_validator(mode="after")
    def _names_once(self) -> TopicFile:
        names = [topic.name for topic in self.topics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self

    def storage(self) -> dict[str, Storage]:
        """All topics by name, the dead-letter topic of each consumed topic among them."""
        named: dict[str, Storage] = {topic.name: topic for topic in self.topics}
        return named | {topic.name + DEAD_LETTER_SUFFIX: self.dead_letters for topic in self.topics if topic.readers}


@dataclass
class Report:
    """What was done and what a person should know."""

    created: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line; empty when there is nothing to tell."""
        parts = [f"{len(self.created)} topics created"] if self.created else []
        parts += [f"settings changed: {', '.join(self.altered)}"] if self.altered else []
        return "; ".join(parts + self.differing)


def read_topics(path: Path) -> TopicFile:
    """Read and check the file.

    Raises:
        StartFailed: it is not there or not valid; names the field.
    """
    try:
        return TopicFile.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise StartFailed("kafka", f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise StartFailed("kafka", f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise StartFailed("kafka", f"{path} is not valid at `{where}`: {problem['msg']}") from error


def wanted_config(storage: Storage, settings: TopicSettings) -> dict[str, str]:
    """The topic settings we decide; all others stay the broker's."""
    return {
        "cleanup.policy": storage.cleanup,
        "retention.ms": str(storage.retention_hours * 3_600_000),
        "min.insync.replicas": str(settings.min_insync_replicas),
        # A record's time is when the broker took it. The producer's own clock says when it meant to send, which a process that
        # slept in between cannot tell from now; who must know repeats (the time series) needs the difference.
        "message.timestamp.type": "LogAppendTime",
    }


def apply(admin: AdminClient, file: TopicFile, settings: TopicSettings, timeout_seconds: float = _DEFAULT_SECONDS) -> Report:
    """Create the missing topics, align the settings of the others. Safe to repeat and to run twice at once.

    Raises:
        StartFailed: the cluster refused or did not answer in time.
    """
    report = Report()
    try:
        there = admin.list_topics(timeout=timeout_seconds).topics
        wanted = file.storage()
        missing = {name: storage for name, storage in wanted.items() if name not in there}
        _create(admin, missing, settings, timeout_seconds, report)
        kept = {name: storage for name, storage in wanted.items() if name in there}
        for name, storage in kept.items():
            count, planned = len(there[name].partitions), getattr(storage.partitions, settings.profile)
            if count != planned:
                report.differing.append(f"{name} has {count} partitions where topics.yaml says {planned}; left as it is")
        _align(admin, kept, settings, timeout_seconds, report)
    except KafkaException as error:
        raise StartFailed("kafka", f"the topics could not be applied: {error.args[0].str()}") from error
    return report


def _create(
    admin: AdminClient, missing: Mapping[str, Storage], settings: TopicSettings, timeout_seconds: float, report: Report
) -> None:
    if not missing:
        return
    new = [
        NewTopic(
            name,
            num_partitions=getattr(storage.partitions, settings.profile),
            replication_factor=settings.replication_factor,
            config=wanted_config(storage, settings),
        )
        for name, storage in missing.items()
    ]
    futures = admin.create_topics(new, operation_timeout=timeout_seconds, request_timeout=timeout_seconds)
    for name, future in futures.items():
        try:
            future.result(timeout_seconds)
            report.created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another command was quicker
                raise


def _align(
    admin: AdminClient, kept: Mapping[str, Storage], settings: TopicSettings, timeout_seconds: float, report: Report
) -> None:
    if not kept:
        return
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in kept]
    changes = []
    for resource, future in admin.describe_configs(resources, request_timeout=timeout_seconds).items():
        present = future.result(timeout_seconds)
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in wanted_config(kept[resource.name], settings).items()
            if present[key].value != value
        ]
        if entries:
            changes.append(ConfigResource(ResourceType.TOPIC, resource.name, incremental_configs=entries))
    if not changes:
        return
    for resource, altered in admin.incremental_alter_configs(changes, request_timeout=timeout_seconds).items():
        altered.result(timeout_seconds)
        report.altered.append(resource.name)
