"""Settings of the websocket gateway; the only reader of its environment."""

from __future__ import annotations

from pydantic import Field

from chat4all_runtime.settings import Group, InternalSettings, ProcessSettings, RedisSettings, TokenSettings

LOCAL_ORIGINS = ["http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*", "http://[::1]:*"]


class TargetSettings(Group):
    """Where a service listens."""

    target: str = Field(description="host:port of its gRPC server.")


class WebsocketSettings(Group):
    """The listener for clients and what one socket may do."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_origins: list[str] = Field(
        LOCAL_ORIGINS,
        description="Values of `Origin` that may connect, as a JSON list; `:*` at the end stands for any port or none. "
        "Clients that send no `Origin` (anything but a browser) may always connect.",
    )
    max_sockets: int = Field(18_000, ge=1, le=1_000_000, description="Sockets of this process; beyond it HTTP 503.")
    max_sockets_per_user: int = Field(20, ge=1, le=1000, description="Sockets of one user on this process.")
    hello_timeout_seconds: float = Field(10.0, gt=0, le=60, description="How long a socket may stay without a hello.")
    attach_timeout_seconds: float = Field(5.0, gt=0, le=30, description="How long answering a hello may take.")
    heartbeat_seconds: float = Field(20.0, ge=0.2, le=300, description="Silence after which a socket is pinged.")
    heartbeat_timeout_seconds: float = Field(20.0, ge=0.2, le=300, description="Further silence after which it is closed.")
    write_buffer_bytes: int = Field(
        1024 * 1024,
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Unsent bytes of one socket; beyond it it is closed as too slow.",
    )
    sends_per_second: float = Field(50.0, gt=0, le=100_000, description="Sends and syncs of one socket, on average.")
    send_burst: int = Field(200, ge=1, le=100_000, description="Sends and syncs of one socket at once.")
    max_outstanding_sends: int = Field(256, ge=1, le=10_000, description="Sends of one socket that are not accepted yet.")
    frames_per_second: int = Field(
        2000, ge=10, le=100_000, description="Frames of one socket; beyond it reading pauses for a while."
    )
    protocol_errors_per_minute: int = Field(20, ge=1, le=1000, description="Faulty frames of one socket before it is closed.")
    drain_seconds: float = Field(4.0, ge=0, le=60, description="Over how long sockets are sent away at shutdown.")


class FanoutSettings(Group):
    """Following conversations."""

    max_replay_entries: int = Field(1000, ge=1, le=10_000, description="Missed entries that are replayed; beyond it `reset`.")
    page_entries: int = Field(200, ge=1, le=1000, description="Entries read from the message service at once.")
    held_entries: int = Field(1000, ge=10, le=100_000, description="Entries kept while a hole before them is filled.")
    replay_workers: int = Field(8, ge=1, le=100, description="Replays that read at the same time.")
    position_check_seconds: float = Field(20.0, ge=0.2, le=600, description="How often each feed is compared with the log.")
    position_check_seconds_without_redis: float = Field(
        2.0, ge=0.2, le=600, description="The same while Redis is away and the log is all there is."
    )
    membership_check_seconds: float = Field(
        300.0, ge=1, le=3600, description="How often each user's conversations are listed again."
    )
    canary_seconds: float = Field(3.0, ge=0.1, le=60, description="How often the Redis connection is proved alive.")


class SendSettings(Group):
    """Passing sends on to the message service."""

    batch_items: int = Field(200, ge=1, le=200, description="Sends in one call.")
    calls: int = Field(4, ge=1, le=64, description="Calls in flight; a conversation is in one of them at a time.")
    pace_ms: float = Field(
        10.0, ge=0, le=50, description="Least time between two calls under load; more saves CPU and adds delay."
    )
    deadline_seconds: float = Field(
        10.0, gt=0, le=60, description="How long a send is tried before its outcome is called unknown."
    )
    queue_items: int = Field(
        20_000, ge=100, le=1_000_000, description="Sends waiting in this process; beyond it they are refused."
    )


class PresenceSettings(TargetSettings):
    """The presence service and how it is told."""

    heartbeat_seconds: float = Field(20.0, ge=0.2, le=60, description="How often connected devices are reported.")
    offline_grace_seconds: float = Field(2.0, ge=0, le=60, description="How long a device may be gone before it is reported.")


class Settings(ProcessSettings):
    """Everything the gateway can be told."""

    websocket: WebsocketSettings = WebsocketSettings()
    fanout: FanoutSettings = FanoutSettings()
    send: SendSettings = SendSettings()
    redis: RedisSettings
    internal: InternalSettings
    tokens: TokenSettings
    conversation: TargetSettings
    message: TargetSettings
    presence: PresenceSettings
