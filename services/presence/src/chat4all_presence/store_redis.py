"""Presence in Redis. Scripts do everything that must happen at one moment, by Redis's own clock.

Nothing here must survive: after a flush the next heartbeats build it up again, and only last-seen times are lost.
The scripts touch keys of several users at once, so presence needs one Redis primary, not a cluster's slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from chat4all_presence.domain.model import Change, Device, Heartbeat, Presence, State, overall
from chat4all_presence.repository import Claim
from chat4all_runtime import redis_client
from chat4all_runtime.errors import unavailable
from chat4all_runtime.settings import RedisSettings

EXPIRIES_KEY = "presence:expiries"
CHANGED_KEY = "presence:changed"
CLAIM_LIMIT = 500
# A script holds up everything else in Redis: 14 to 30 us a heartbeat were measured on a busy 2-vCPU machine (valkey 8).
SCRIPT_HEARTBEATS = 200


def open_redis(settings: RedisSettings) -> Redis:
    """A client that tries once more at once, for a connection that went stale, and then says that Redis is away.

    Without it the client library tries for about 4 s (redis-py 8.1.0), and a caller who could do without presence waits.
    """
    client = redis_client.open_async(settings)
    client.set_retry(Retry(ConstantBackoff(0.05), 1))
    return client


def _script(name: str) -> str:
    folder = resources.files(__package__) / "lua"
    return (folder / "settle.lua").read_text() + (folder / f"{name}.lua").read_text()


@contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise unavailable("redis") from error


class RedisPresenceRepository:
    """See `PresenceRepository`.

    Args:
        redis: answers bytes.
        ttl: a device not heard of for so long is gone.
        keep: how long last-seen times are kept.
        coalesce: how long a change waits for one that takes it back.
        lease: how long a claimed change is nobody else's; longer than telling it may take.
        max_devices: devices of one person.
    """

    def __init__(
        self, redis: Redis, *, ttl: timedelta, keep: timedelta, coalesce: timedelta, lease: timedelta, max_devices: int
    ) -> None:
        self._redis = redis
        self._ttl_ms, self._keep_ms, self._coalesce_ms, self._lease_ms = (_ms(span) for span in (ttl, keep, coalesce, lease))
        self._max_devices = max_devices
        self._record = _script("record")
        self._claim = _script("claim")
        self._confirm = _script("confirm")

    async def record(self, heartbeats: Sequence[Heartbeat]) -> None:
        """One round trip, whatever the number."""
        if not heartbeats:
            return
        with _away():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for start in range(0, len(heartbeats), SCRIPT_HEARTBEATS):
                    pipeline.eval(*self._record_arguments(heartbeats[start : start + SCRIPT_HEARTBEATS]))
                await pipeline.execute()

    async def record_and_get(self, heartbeat: Heartbeat) -> Presence:
        """One round trip."""
        with _away():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.eval(*self._record_arguments([heartbeat]))
                pipeline.time()
                pipeline.hgetall(_key(heartbeat.tenant_id, heartbeat.user_id))
                _, time, fields = await pipeline.execute()
        return _presence(heartbeat.user_id, fields, _now_ms(time))

    async def get(self, tenant_id: str, user_ids: Sequence[str]) -> list[Presence]:
        """One round trip for all."""
        with _away():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.time()
                for user_id in user_ids:
                    pipeline.hgetall(_key(tenant_id, user_id))
                time, *found = await pipeline.execute()
        return [_presence(user_id, fields, _now_ms(time)) for user_id, fields in zip(user_ids, found, strict=True)]

    async def claim(self) -> Claim:
        """One round trip; two sorted-set look-ups when nothing is due."""
        limits = (self._coalesce_ms, self._lease_ms, self._max_devices, CLAIM_LIMIT)
        with _away():
            answer = await self._redis.eval(self._claim, 2, EXPIRIES_KEY, CHANGED_KEY, *limits)
        looked_at, claimed = answer
        return Claim([_change(row) for row in claimed], more=looked_at >= CLAIM_LIMIT)

    async def confirm(self, changes: Sequence[Change]) -> None:
        """One round trip."""
        if not changes:
            return
        arguments: list[Any] = [self._coalesce_ms]
        for change in changes:
            arguments += [f"{change.tenant_id}:{change.user_id}", int(change.state), _to_ms(change.changed_at)]
        with _away():
            await self._redis.eval(self._confirm, 1, CHANGED_KEY, *arguments)

    def _record_arguments(self, heartbeats: Sequence[Heartbeat]) -> tuple[Any, ...]:
        # The script's text is sent each time: it is small beside a batch, and a restarted Redis needs no second try.
        arguments: list[Any] = [self._ttl_ms, self._keep_ms, self._coalesce_ms, self._max_devices]
        for heartbeat in heartbeats:
            arguments += [f"{heartbeat.tenant_id}:{heartbeat.user_id}", heartbeat.device_id, int(heartbeat.state)]
        return (self._record, 2, EXPIRIES_KEY, CHANGED_KEY, *arguments)


def _key(tenant_id: str, user_id: str) -> str:
    return f"presence:{tenant_id}:{user_id}"


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _now_ms(time: tuple[int, int]) -> int:
    return time[0] * 1000 + time[1] // 1000


def _to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(value: bytes | None) -> datetime | None:
    return datetime.fromtimestamp(int(value) / 1000, UTC) if value else None


def _presence(user_id: str, fields: Mapping[bytes, bytes], now_ms: int) -> Presence:
    devices = []
    for name, value in sorted(fields.items()):
        if name.startswith(b"d:"):
            state, _, end = value.partition(b":")
            if int(end) > now_ms:  # one that ended but was not swept yet is not there any more
                devices.append(Device(name[2:].decode(), State(int(state))))
    live = tuple(devices)
    return Presence(user_id, overall(live), _moment(fields.get(b"seen")), live)


def _change(row: Sequence[bytes]) -> Change:
    member, state, announced, changed, seen = row
    tenant_id, _, user_id = member.decode().rpartition(":")
    changed_at = datetime.fromtimestamp(int(changed) / 1000, UTC)
    return Change(tenant_id, user_id, State(int(state)), State(int(announced)), changed_at, _moment(seen))
