"""One gateway process with played peers for this folder; tests that break things start their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from fakes.gateway_backends import GatewayBackends
from fakes.gateway_process import GatewayProcess, PrivateRedis

QUICK = {
    "CHAT4ALL_FANOUT__POSITION_CHECK_SECONDS": "2",
    "CHAT4ALL_FANOUT__POSITION_CHECK_SECONDS_WITHOUT_REDIS": "0.5",
    "CHAT4ALL_FANOUT__CANARY_SECONDS": "0.5",
    "CHAT4ALL_FANOUT__MAX_REPLAY_ENTRIES": "500",
    "CHAT4ALL_FANOUT__PAGE_ENTRIES": "100",
    "CHAT4ALL_WEBSOCKET__HELLO_TIMEOUT_SECONDS": "1",
    "CHAT4ALL_WEBSOCKET__DRAIN_SECONDS": "1",
    "CHAT4ALL_PRESENCE__OFFLINE_GRACE_SECONDS": "0.2",
    "CHAT4ALL_PRESENCE__HEARTBEAT_SECONDS": "1",
}


@dataclass
class Place:
    """A gateway and everything around it."""

    backends: GatewayBackends
    gateway: GatewayProcess
    redis: PrivateRedis

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self.gateway.url


@pytest.fixture(scope="session")
def private_redis() -> Iterator[PrivateRedis]:
    """Redis for this folder."""
    with PrivateRedis() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_place(private_redis: PrivateRedis) -> AsyncIterator[Place]:
    """The gateway all gentle tests share."""
    async with (
        GatewayBackends(private_redis.url) as backends,
        GatewayProcess({**backends.environment(), **QUICK}) as gateway,
    ):
        yield Place(backends, gateway, private_redis)


@pytest.fixture
def place(shared_place: Place) -> Iterator[Place]:
    """The shared gateway, with the knobs of its peers put back after each test."""
    yield shared_place
    backends = shared_place.backends
    backends.publish, backends.accept_only, backends.submit_delay_seconds = True, False, 0.0
    backends.away.clear()
    backends.refuse.clear()
