"""Settings of the router."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import Group, KafkaSettings, MongoSettings, ProcessSettings, RedisSettings


class RouterSettings(Group):
    """How the router reads, remembers and shows."""

    group: str = Field("router", min_length=1, description="Consumer group; all copies of the router share it.")
    commands_topic: str = Field("message.sent", min_length=1, description="Topic of the accepted commands.")
    stored_topic: str = Field("message.stored", min_length=1, description="Topic of the stored facts.")
    failed_topic: str = Field("message.failed", min_length=1, description="Topic of what will not arrive.")
    max_batch: int = Field(500, ge=1, le=1000, description="Most records handled at once; above 500 only the delay grows.")
    gather_ms: int = Field(
        1, ge=0, le=50, description="How long a batch waits for company under load; more saves CPU and adds delay."
    )
    recent_ids: int = Field(
        100_000, ge=1000, le=10_000_000, description="Ids of stored messages kept in memory (about 250 bytes each)."
    )
    known_conversations: int = Field(
        100_000, ge=1000, le=10_000_000, description="Conversations whose next number is kept in memory (about 250 bytes each)."
    )
    redis_timeout_seconds: float = Field(
        0.25, gt=0, le=5, description="Deadline of one publish; a Redis that is away costs this much at most once a second."
    )


class Settings(ProcessSettings):
    """Everything the router is told."""

    kafka: KafkaSettings
    mongo: MongoSettings
    redis: RedisSettings
    router: RouterSettings = RouterSettings()
