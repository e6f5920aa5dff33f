"""Settings of the message service."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import (
    Group,
    GrpcSettings,
    InternalSettings,
    KafkaSettings,
    MongoSettings,
    ProcessSettings,
    RedisSettings,
    TokenSettings,
)


class Target(Group):
    """Where another of our services is."""

    target: str = Field(description="host:port of its gRPC server.")
    timeout_seconds: float = Field(2.0, gt=0, le=60, description="Deadline of one question to it.")


class MembershipSettings(Group):
    """What is remembered of who is in which conversation."""

    ttl_seconds: float = Field(30.0, gt=0, le=300, description="A membership older than this is asked for again.")
    max_conversations: int = Field(50_000, ge=1, description="Conversations remembered; the longest unused goes first.")
    max_members: int = Field(1_000_000, ge=1, description="Members remembered over all conversations, about 100 bytes each.")
    parallel_loads: int = Field(16, ge=1, le=200, description="Conversations asked for at the same time.")


class SendSettings(Group):
    """The send path."""

    recent_ids: int = Field(200_000, ge=1000, description="Accepted ids remembered, about 400 bytes each.")
    lookup_wait_seconds: float = Field(
        0.2, gt=0, le=10, description="Longest a send waits to hear whether its id was used before."
    )
    pace_ms: float = Field(
        5.0, ge=0, le=50, description="Least time between two hand-overs to Kafka under load; more saves CPU and adds delay."
    )
    max_waiting_for_stored: int = Field(20_000, ge=1, description="Messages waited for at the same time with wait_for STORED.")


class Settings(ProcessSettings):
    """Everything the message service is told."""

    grpc: GrpcSettings = GrpcSettings()
    kafka: KafkaSettings
    mongo: MongoSettings
    redis: RedisSettings
    internal: InternalSettings
    tokens: TokenSettings
    conversation: Target
    file: Target
    memberships: MembershipSettings = MembershipSettings()
    sends: SendSettings = SendSettings()
