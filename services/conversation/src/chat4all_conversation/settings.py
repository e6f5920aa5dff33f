"""Settings of the conversation service; nothing else reads the environment."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import (
    Group,
    GrpcSettings,
    InternalSettings,
    KafkaSettings,
    PostgresSettings,
    ProcessSettings,
    RedisSettings,
    TokenSettings,
)


class PeerSettings(Group):
    """Another service of ours."""

    target: str = Field(description="host:port of its gRPC listener.")
    timeout_seconds: float = Field(3.0, gt=0, le=60, description="Deadline of one call.")


class LimitSettings(Group):
    """What one conversation may hold."""

    max_members: int = Field(1000, ge=2, le=10_000, description="Members of one conversation, the creator included.")


class OutboxSettings(Group):
    """How events leave PostgreSQL for Kafka."""

    batch_rows: int = Field(500, ge=1, le=5000, description="Rows handed to Kafka at once.")
    poll_seconds: float = Field(
        5.0, ge=1, le=300, description="How often to look for rows that a killed copy left behind; own rows go at once."
    )


class LiveSettings(Group):
    """What is told to connected clients through Redis."""

    queue_size: int = Field(10_000, ge=100, le=1_000_000, description="Lines that may wait for Redis; more are dropped, counted.")


class ActivitySettings(Group):
    """How the log's progress is followed."""

    group: str = Field("conversation-activity", min_length=1, max_length=100, description="Consumer group on `message.stored`.")


class Settings(ProcessSettings):
    """Everything the conversation service can be told."""

    grpc: GrpcSettings = GrpcSettings()
    postgres: PostgresSettings
    kafka: KafkaSettings
    redis: RedisSettings
    internal: InternalSettings
    tokens: TokenSettings
    auth: PeerSettings
    message: PeerSettings
    limits: LimitSettings = LimitSettings()
    outbox: OutboxSettings = OutboxSettings()
    live: LiveSettings = LiveSettings()
    activity: ActivitySettings = ActivitySettings()
