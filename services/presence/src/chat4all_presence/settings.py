"""What the presence service can be told from the environment."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import (
    Group,
    GrpcSettings,
    InternalSettings,
    KafkaSettings,
    ProcessSettings,
    RedisSettings,
    TokenSettings,
)


class PresenceSettings(Group):
    """How long presence lasts and how fast changes are told."""

    ttl_seconds: float = Field(60.0, ge=1, le=3600, description="A device not heard of for so long is gone.")
    keep_last_seen_days: float = Field(30.0, gt=0, le=365, description="When somebody was last seen is forgotten after this.")
    coalesce_seconds: float = Field(1.0, ge=0, le=60, description="A change waits so long for one that takes it back.")
    tick_seconds: float = Field(0.5, gt=0, le=60, description="How often expired devices and due changes are looked for.")
    max_devices: int = Field(50, ge=1, le=1000, description="Devices of one person; the one closest to its end gives way.")
    kafka_wait_seconds: float = Field(5.0, gt=0, le=60, description="Longest wait for Kafka; a change not taken is told again.")


class Settings(ProcessSettings):
    """All settings of the process."""

    grpc: GrpcSettings = GrpcSettings()
    kafka: KafkaSettings
    redis: RedisSettings
    internal: InternalSettings
    tokens: TokenSettings
    presence: PresenceSettings = PresenceSettings()
