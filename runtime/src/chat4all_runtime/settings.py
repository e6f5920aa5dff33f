"""Settings that several processes share; each process composes its own class from them.

Values come from the environment only: prefix `CHAT4ALL_`, nested with `__` (`CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS`).
"""

from __future__ import annotations

import json
import sys
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Group(BaseModel):
    """Base of the nested groups: frozen, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LogSettings(Group):
    """How the process logs."""

    format: str = Field("json", pattern="^(json|console)$", description="`json` for machines, `console` for people.")
    level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level that is written.")


class HttpSettings(Group):
    """The process's own HTTP listener for health and metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")


class GrpcSettings(Group):
    """The process's gRPC listener."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    default_deadline_seconds: float = Field(10.0, gt=0, le=300, description="Deadline of calls that bring none.")
    max_in_flight: int = Field(1000, ge=1, le=100_000, description="Calls under way; beyond it they are refused at once.")
    grace_seconds: float = Field(8.0, ge=0, le=120, description="How long calls in flight may finish at shutdown.")
    reflection: bool = Field(True, description="Serve gRPC reflection; switch off in production.")
    server: str = Field(
        "grpcio",
        pattern="^(grpcio|native)$",
        description="`native` has pygrpc-native do HTTP/2 outside Python: half the CPU of a call, a young library, no TLS.",
    )


class ShutdownSettings(Group):
    """The end of the process."""

    hard_stop_seconds: float = Field(25.0, gt=0, le=300, description="After this the process ends itself, finished or not.")


class KafkaSettings(Group):
    """The Kafka cluster."""

    bootstrap_servers: str = Field(description="host:port list of brokers.")
    linger_ms: float = Field(0.5, ge=0, le=100, description="How long the producer waits for company, in milliseconds.")
    queue_max_messages: int = Field(100_000, ge=1000, description="Producer queue bound; beyond it calls are refused.")
    delivery_timeout_ms: int = Field(30_000, ge=1000, description="Longest wait for the brokers' acknowledgement.")
    session_timeout_ms: int = Field(10_000, ge=6000, description="A consumer silent for so long loses its partitions.")


class PostgresSettings(Group):
    """The PostgreSQL database."""

    dsn: SecretStr = Field(description="postgresql://user:password@host:port/database")
    pool_size: int = Field(8, ge=1, le=100, description="Connections of this process.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="Deadline of a statement and of waiting for a connection.")


class MongoSettings(Group):
    """The MongoDB replica set."""

    uri: SecretStr = Field(description="mongodb://host:port/?replicaSet=…")
    database: str = Field("chat4all", description="Database name.")
    timeout_seconds: float = Field(10.0, gt=0, le=60, description="Deadline of one operation, server selection included.")


class RedisSettings(Group):
    """The Redis server; nothing in it must survive."""

    url: SecretStr = Field(description="redis://host:port/0")
    timeout_seconds: float = Field(2.0, gt=0, le=60, description="Deadline of one command.")


class InternalSettings(Group):
    """How our own processes know each other."""

    secret: SecretStr = Field(min_length=32, description="Shared by all our processes; signs service tokens.")


class TokenSettings(Group):
    """How access tokens are checked."""

    jwks_url: str = Field(description="Where the auth service publishes its keys.")
    issuer: str = Field("https://auth.chat4all.local", description="Expected `iss`.")
    audience: str = Field("chat4all-api", description="Expected `aud`.")
    leeway_seconds: float = Field(10.0, ge=0, le=60, description="Tolerated clock difference.")


class ProcessSettings(BaseSettings):
    """Base of each process's settings class."""

    model_config = SettingsConfigDict(env_prefix="CHAT4ALL_", env_nested_delimiter="__", frozen=True, extra="ignore")

    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    instance: str = Field(
        "1", pattern="^[a-z0-9-]{1,40}$", description="Tells copies of the same process apart; stable over restarts."
    )


S = TypeVar("S", bound=ProcessSettings)


def load(settings_type: type[S]) -> S:
    """Read the settings from the environment; with `--check-config` on the command line print them, secrets masked, and exit.

    Exits with status 2 and one line per wrong field when they are not valid.
    """
    try:
        settings = settings_type()
    except ValidationError as error:
        for problem in error.errors():
            name = "CHAT4ALL_" + "__".join(str(part).upper() for part in problem["loc"])
            sys.stderr.write(f"setting {name}: {problem['msg']}\n")
        sys.exit(2)
    if "--check-config" in sys.argv[1:]:
        sys.stdout.write(json.dumps(settings.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
        sys.exit(0)
    return settings
