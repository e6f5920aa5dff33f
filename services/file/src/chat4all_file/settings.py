"""Settings of the file service."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, SecretStr

from chat4all_runtime.settings import (
    Group,
    GrpcSettings,
    InternalSettings,
    KafkaSettings,
    MongoSettings,
    ProcessSettings,
    TokenSettings,
)


class S3Settings(Group):
    """The object store."""

    endpoint: str = Field(description="http(s)://host:port; clients must be able to reach it, for links carry it.")
    access_key: SecretStr = Field(description="Access key id.")
    secret_key: SecretStr = Field(description="Secret access key.")
    bucket: str = Field("chat4all-files", description="Bucket of all files; not public.")
    region: str = Field("us-east-1", description="Region for signatures.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Deadline of one request.")
    concurrency: int = Field(8, ge=1, le=64, description="Requests to the store at once.")


class ConversationTarget(Group):
    """Where the conversation service is."""

    target: str = Field(description="host:port of its gRPC server.")


class FileSettings(Group):
    """How long things live."""

    link_seconds: int = Field(600, ge=30, le=86_400, description="Life of upload and download links.")
    upload_hours: int = Field(24, ge=1, le=720, description="An upload not completed by then is abandoned.")

    @property
    def upload_life(self) -> timedelta:
        """The same as a duration."""
        return timedelta(hours=self.upload_hours)


class Settings(ProcessSettings):
    """Everything the file service is told."""

    grpc: GrpcSettings = GrpcSettings()
    kafka: KafkaSettings
    mongo: MongoSettings
    s3: S3Settings
    internal: InternalSettings
    tokens: TokenSettings
    conversation: ConversationTarget
    files: FileSettings = FileSettings()
