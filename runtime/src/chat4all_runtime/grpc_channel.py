"""Channels to our own services: one per process and target, kept for ever, with keepalive and the service token on each call."""

from __future__ import annotations

from types import TracebackType

import grpc

from chat4all_runtime.grpc_server import MAX_MESSAGE_BYTES
from chat4all_runtime.identity import ServiceTokens

# Only calls that are safe to repeat and never reached the service are retried by gRPC itself (transparent retries);
# more than that is the caller's own decision.
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class ServiceChannel:
    """A channel from `__aenter__` to `__aexit__`; give `channel` to a generated stub and `metadata()` to each call."""

    def __init__(self, target: str, tokens: ServiceTokens) -> None:
        self._target = target
        self._tokens = tokens
        self.channel: grpc.aio.Channel

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata that says which of our processes calls."""
        return (("x-service-token", self._tokens.mint()),)

    async def __aenter__(self) -> ServiceChannel:
        self.channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.channel.close(grace=1.0)


def user_metadata(access_token: str) -> tuple[tuple[str, str], ...]:
    """Metadata that passes a user's own token on."""
    return (("authorization", f"Bearer {access_token}"),)
