"""The gateway alone: its peers played as in the integration tests, one conversation, many sockets in a process of their own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from fakes.gateway_backends import GatewayBackends
from fakes.gateway_process import GatewayProcess, PrivateRedis

SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Alone:
    """One gateway and what it needs."""

    backends: GatewayBackends
    gateway: GatewayProcess
    redis: PrivateRedis


@asynccontextmanager
async def gateway_alone(**more: str) -> AsyncIterator[Alone]:
    """A running gateway with nobody connected."""
    with PrivateRedis() as redis:
        async with GatewayBackends(redis.url) as backends, GatewayProcess({**backends.environment(), **more}) as gateway:
            yield Alone(backends, gateway, redis)
