"""A token bucket kept in the fields of its connection: no object and no timer for each socket."""

from __future__ import annotations

from typing import Protocol


class Bucket(Protocol):
    """What carries the bucket; `tokens` below zero means never used."""

    tokens: float
    tokens_at: float


def take(bucket: Bucket, now: float, per_second: float, burst: int) -> float:
    """Take one token.

    Args:
        bucket: where the tokens are kept.
        now: seconds on a clock that only moves forward.
        per_second: tokens that come in a second.
        burst: tokens that can be there at once.

    Returns:
        0 when there was one, else the seconds until there will be.
    """
    gained = burst if bucket.tokens < 0 else (now - bucket.tokens_at) * per_second
    available = min(float(burst), max(bucket.tokens, 0.0) + gained)
    bucket.tokens_at = now
    if available >= 1.0:
        bucket.tokens = available - 1.0
        return 0.0
    bucket.tokens = available
    return (1.0 - available) / per_second
