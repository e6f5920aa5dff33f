"""Limits on guessing, kept in Redis so that all copies of the process share them.

Each limit is a bucket of N tokens that fills again evenly within its window. It is stored as one number, the time at which it
will be full (GCRA), so it costs the same for any N. An attempt on an account takes its token before the password is checked and
gets it back when it was no wrong guess: parallel guesses cannot slip past. An address is only charged for failures, so that an
office behind one address can sign in together; there, what is being checked at once bounds the overshoot.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from chat4all_auth import metrics
from chat4all_auth.domain import errors
from chat4all_auth.domain.model import TenantId

log = structlog.get_logger()

# KEYS[1] the bucket; ARGV: limit, window in ms, tokens to take (0 looks, -1 gives back), 1 to take even from an empty bucket.
# Answers 0, or the milliseconds until a token is there. The server's clock is the only one.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local window, cost = tonumber(ARGV[2]), tonumber(ARGV[3])
local interval = window / tonumber(ARGV[1])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if cost >= 0 and ARGV[4] == '0' then
    local wait = full_at + interval * math.max(cost, 1) - now - window
    if wait >= 1 then return math.ceil(wait) end  -- less is rounding
end
if cost ~= 0 then
    full_at = math.min(full_at + interval * cost, now + window)
    if full_at > now then
        redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now))
    else
        redis.call('DEL', KEYS[1])
    end
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many within so long."""

    count: int
    window: timedelta


class RedisThrottle:
    """Implements `repository.Throttle`. While Redis is away everything passes, is logged and counted.

    Args:
        timeout_seconds: longest wait for one answer.
    """

    def __init__(
        self, client: redis.asyncio.Redis, *, account: Limit, address: Limit, registration: Limit, timeout_seconds: float
    ) -> None:
        self._run: Any = client.register_script(_SCRIPT)
        self._account = account
        self._address = address
        self._registration = registration
        self._timeout_seconds = timeout_seconds

    async def begin_login(self, tenant_id: TenantId, username: str, address: str) -> None:
        """Refuse when a limit is used up, else charge the account."""
        wait = await self._take(f"auth:logins:address:{address}", self._address, 0)
        wait = wait or await self._take(_account_key(tenant_id, username), self._account, 1)
        if wait:
            raise errors.login_throttled(wait)

    async def forgive_login(self, tenant_id: TenantId, username: str) -> None:
        """Give the account's token back."""
        await self._take(_account_key(tenant_id, username), self._account, -1)

    async def count_failed_login(self, address: str) -> None:
        """Charge the address."""
        await self._take(f"auth:logins:address:{address}", self._address, 1, always=True)

    async def begin_registration(self, address: str) -> None:
        """Refuse when the limit is used up, else charge the address."""
        if wait := await self._take(f"auth:registrations:address:{address}", self._registration, 1):
            raise errors.registration_throttled(wait)

    async def _take(self, key: str, limit: Limit, cost: int, *, always: bool = False) -> timedelta | None:
        arguments = [limit.count, int(limit.window.total_seconds() * 1000), cost, int(always)]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                milliseconds = await self._run(keys=[key], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            metrics.throttle_failures.inc()
            log.warning("throttle_not_reachable", error=str(error), error_type=type(error).__name__)
            return None
        return timedelta(milliseconds=int(milliseconds)) if milliseconds else None


def _account_key(tenant_id: TenantId, username: str) -> str:
    digest = hashlib.sha256(f"{tenant_id}/{username}".encode()).hexdigest()[:32]
    return f"auth:logins:account:{digest}"
