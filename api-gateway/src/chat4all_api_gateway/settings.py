"""What the edge can be told from the environment. Defaults are those of one machine with everything on loopback."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from chat4all_runtime.settings import Group, ProcessSettings


def parse_targets(text: str) -> list[tuple[str, int]]:
    """`host:port,host:port` as pairs.

    Raises:
        ValueError: an entry is not host:port, or there is none.
    """
    pairs = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = entry.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{entry!r} is not host:port")
        pairs.append((host.strip("[]"), int(port)))
    if not pairs:
        raise ValueError("at least one host:port is needed")
    return pairs


def _checked_targets(text: str) -> str:
    parse_targets(text)
    return text


Targets = Annotated[str, AfterValidator(_checked_targets)]


class TargetSettings(Group):
    """Where a part listens; several copies are separated by commas."""

    target: Targets = Field(description="host:port of each copy, separated by commas.")


class EdgeTokenSettings(Group):
    """How access tokens are checked at the edge."""

    jwks_url: str = Field(
        "http://127.0.0.1:8084/.well-known/jwks.json",
        pattern="^http://",
        description="Where the auth service publishes its keys.",
    )
    issuer: str = Field("https://auth.chat4all.local", description="Expected `iss`.")
    audience: str = Field("chat4all-api", description="Expected `aud`.")
    leeway_seconds: int = Field(10, ge=0, le=60, description="Tolerated clock difference.")
    keys_cache_seconds: int = Field(
        60, ge=1, le=3600, description="Keys are fetched again this often; a new key must be published so long before its use."
    )


class EdgeSettings(Group):
    """The listener, its limits and its log."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.")
    admin_port: int = Field(8082, ge=1, le=65535, description="Envoy's admin page and metrics, on loopback only. Never public.")
    config_dir: str = Field(".state/edge", description="Folder that the rendered configuration is written to.")
    concurrency: int = Field(1, ge=1, le=256, description="Worker threads; one serves about 5,000 requests a second.")
    allowed_origins: str = Field(
        "http://localhost:4200,http://127.0.0.1:4200",
        description="Origins of browsers that may call, separated by commas; empty allows none.",
    )
    trusted_hops: int = Field(0, ge=0, le=8, description="Proxies in front of the edge whose x-forwarded-for is believed.")
    user_requests_per_second: int = Field(100, ge=0, description="Refill of each user's bucket; 0 switches the limit off.")
    user_burst: int = Field(200, ge=1, description="Size of each user's bucket, in requests.")
    address_requests_per_second: int = Field(
        500, ge=0, description="Refill of each client address's bucket; 0 switches the limit off."
    )
    address_burst: int = Field(1000, ge=1, description="Size of each client address's bucket, in requests.")
    limited_values: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description="Users and addresses that have a bucket at a time; the longest idle give theirs up.",
    )
    max_body_bytes: int = Field(65_536, ge=1024, description="Largest request body, in bytes.")
    max_batch_body_bytes: int = Field(1_048_576, ge=1024, description="Largest body of requests that carry batches, in bytes.")
    max_connections: int = Field(20_000, ge=10, description="Client connections open at a time; more are refused.")
    max_heap_mib: int = Field(1024, ge=128, description="Envoy's memory; at 95 % of it new requests get 503.")
    timeout_seconds: float = Field(15.0, gt=0, le=300, description="Longest wait for a service's answer.")
    socket_idle_seconds: int = Field(
        300, ge=30, le=3600, description="A WebSocket silent in both directions for so long is closed."
    )
    access_log: str = Field(
        "", description="File for one JSON line per request, `/dev/stdout` for standard output; empty for none."
    )
    access_log_min_status: int = Field(
        400, ge=0, le=599, description="Only answers with at least this HTTP status are logged; 0 logs all."
    )


class Settings(ProcessSettings):
    """All of the edge's settings."""

    model_config = SettingsConfigDict(env_prefix="CHAT4ALL_", env_nested_delimiter="__", frozen=True, extra="ignore")

    edge: EdgeSettings = EdgeSettings()
    tokens: EdgeTokenSettings = EdgeTokenSettings()
    auth: TargetSettings = TargetSettings(target="127.0.0.1:8083")
    conversation: TargetSettings = TargetSettings(target="127.0.0.1:8085")
    message: TargetSettings = TargetSettings(target="127.0.0.1:8087")
    presence: TargetSettings = TargetSettings(target="127.0.0.1:8089")
    file: TargetSettings = TargetSettings(target="127.0.0.1:8091")
    websocket: TargetSettings = TargetSettings(target="127.0.0.1:8081")

    def targets(self, part: str) -> list[tuple[str, int]]:
        """Where a part of the route table listens.

        Raises:
            KeyError: there is no setting for that part.
        """
        group = getattr(self, part, None)
        if not isinstance(group, TargetSettings):
            raise KeyError(part)
        return parse_targets(group.target)
