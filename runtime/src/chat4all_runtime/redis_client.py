"""Redis clients with deadlines. Nothing kept there must survive; every use has a way back."""

from __future__ import annotations

import redis
import redis.asyncio

from chat4all_runtime.settings import RedisSettings


def open_async(settings: RedisSettings) -> redis.asyncio.Redis:
    """A client for services; close it with `aclose()`."""
    return redis.asyncio.Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        health_check_interval=15,
    )


def open_sync(settings: RedisSettings) -> redis.Redis:
    """A client for a worker's thread."""
    return redis.Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
    )
