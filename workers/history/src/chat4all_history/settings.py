"""Settings of the history worker."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import Group, KafkaSettings, MongoSettings, ProcessSettings


class HistorySettings(Group):
    """How history is read and kept."""

    group: str = Field("history", min_length=1, description="Consumer group; all copies of the worker share it.")
    stored_topic: str = Field("message.stored", min_length=1, description="Topic of the stored facts.")
    max_batch: int = Field(2000, ge=1, le=5000, description="Most records written at once.")
    fetch_min_bytes: int = Field(65_536, ge=1, le=16_777_216, description="The broker waits for so much, or fetch_wait_ms.")
    fetch_wait_ms: int = Field(500, ge=1, le=10_000, description="Longest wait of the broker for fetch_min_bytes.")
    recent_ids: int = Field(
        200_000, ge=1000, le=10_000_000, description="Ids of written entries kept in memory (about 200 bytes each)."
    )
    retention_days: int = Field(90, ge=1, le=3650, description="Entries older than this are removed by the store.")


class Settings(ProcessSettings):
    """Everything the history worker is told."""

    kafka: KafkaSettings
    mongo: MongoSettings
    history: HistorySettings = HistorySettings()
