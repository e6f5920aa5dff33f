"""Publishing to the sockets' gateways through Redis: one PUBLISH per conversation and batch, all of a batch in one round trip.

What is lost here is not lost: every line carries its number, and a gateway fills a gap from the log. So a Redis that is away must
cost little: after a failure nothing is tried for a second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from chat4all_router import metrics

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# A gateway's output buffer is cut at 8 MB in 60 s or 32 MB at once: no single publish comes near.
MAX_PUBLISH_BYTES = 512 * 1024


class RedisLive:
    """For the router's thread only.

    Args:
        url: redis://…; holds the password, never logged.
        timeout_seconds: of connecting and of each answer.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._closed_until = 0.0

    def publish(self, lines: Mapping[str, Sequence[bytes]]) -> None:
        """One PUBLISH per conversation (more only when its lines are larger than a publish may be)."""
        if not lines:
            return
        count = sum(map(len, lines.values()))
        if time.monotonic() < self._closed_until:
            metrics.unpublished.inc(count)
            return
        pipeline = self._client.pipeline(transaction=False)
        for conversation_id, entries in lines.items():
            channel = f"conversation:{conversation_id}:events"
            for payload in _payloads(entries):
                pipeline.publish(channel, payload)
        try:
            pipeline.execute()
        except (redis.RedisError, OSError) as error:
            # Some may have gone out; sockets drop what they have seen.
            self._closed_until = time.monotonic() + RETRY_SECONDS
            metrics.publish_failures.inc()
            metrics.unpublished.inc(count)
            log.warning("publish_failed", entries=count, error_type=type(error).__name__, error=str(error)[:200])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _payloads(entries: Sequence[bytes]) -> list[bytes]:
    whole = b"\n".join(entries)
    if len(whole) <= MAX_PUBLISH_BYTES:
        return [whole]
    payloads: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for entry in entries:
        if part and size + len(entry) > MAX_PUBLISH_BYTES:
            payloads.append(b"\n".join(part))
            part, size = [], 0
        part.append(entry)
        size += len(entry) + 1
    return [*payloads, b"\n".join(part)]
