"""The Redis store: what happens at one moment, what ends by itself, and that two processes never tell the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio
from integration.presence.conftest import free_port

from chat4all_presence.domain.model import Change, Heartbeat, State
from chat4all_presence.store_redis import CHANGED_KEY, EXPIRIES_KEY, RedisPresenceRepository, open_redis
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import RedisSettings


def repository(client: redis.asyncio.Redis, **changes: object) -> RedisPresenceRepository:
    spans: dict[str, object] = {
        "ttl": timedelta(seconds=30), "keep": timedelta(days=30), "coalesce": timedelta(0), "lease": timedelta(seconds=30),
        "max_devices": 3,
    }  # fmt: skip
    return RedisPresenceRepository(client, **{**spans, **changes})  # type: ignore[arg-type]


def beat(user_id: str, device_id: str = "phone", state: State = State.ONLINE, tenant_id: str = "default") -> Heartbeat:
    return Heartbeat(tenant_id, user_id, device_id, state)


async def until_claimed(presences: RedisPresenceRepository) -> list[Change]:
    """The next changes, as soon as there are some."""
    async with asyncio.timeout(10):
        while True:
            changes = (await presences.claim()).changes
            if changes:
                return changes
            await asyncio.sleep(0.02)


async def test_the_best_of_several_devices(store: redis.asyncio.Redis) -> None:
    """State is the best over live devices; saying goodbye on one leaves the others; last seen is when any was heard of."""
    presences, user = repository(store), new_id()
    before = datetime.now(UTC) - timedelta(seconds=5)
    await presences.record([beat(user, "phone", State.AWAY), beat(user, "laptop")])
    [known] = await presences.get("default", [user])
    assert known.state is State.ONLINE
    assert {device.device_id: device.state for device in known.devices} == {"phone": State.AWAY, "laptop": State.ONLINE}
    assert known.last_seen is not None
    assert before < known.last_seen
    assert (await presences.record_and_get(beat(user, "laptop", State.OFFLINE))).state is State.AWAY
    gone = await presences.record_and_get(beat(user, "phone", State.OFFLINE))
    assert (gone.state, gone.devices) == (State.OFFLINE, ())
    assert gone.last_seen is not None


async def test_tenants_do_not_see_each_other(store: redis.asyncio.Redis) -> None:
    """The same id in another tenant is somebody never heard of."""
    presences, user = repository(store), new_id()
    await presences.record([beat(user, tenant_id="acme")])
    [foreign] = await presences.get("other", [user])
    assert (foreign.state, foreign.last_seen, foreign.devices) == (State.OFFLINE, None, ())


async def test_answers_keep_the_order_asked(store: redis.asyncio.Redis) -> None:
    """200 users, known and unknown mixed, one twice."""
    presences = repository(store)
    users = [new_id() for _ in range(199)]
    await presences.record([beat(user) for user in users[::2]])
    asked = [*users, users[0]]
    answer = await presences.get("default", asked)
    assert [presence.user_id for presence in answer] == asked
    assert [presence.state for presence in answer[:3]] == [State.ONLINE, State.OFFLINE, State.ONLINE]


async def test_a_thousand_heartbeats_at_once(store: redis.asyncio.Redis) -> None:
    """The largest batch is recorded whole, and its changes come out page by page, each once."""
    presences = repository(store)
    users = {new_id() for _ in range(1000)}
    await presences.record([beat(user) for user in users])
    told: list[str] = []
    while len(told) < 1000:
        claim = await presences.claim()
        told += [change.user_id for change in claim.changes]
        await presences.confirm(claim.changes)
    assert sorted(told) == sorted(users)
    assert await store.zcard(CHANGED_KEY) == 0
    await presences.record([beat(user) for user in users])
    assert (await presences.claim()).changes == []


async def test_a_device_that_falls_silent_ends(store: redis.asyncio.Redis) -> None:
    """Its gateway died: the state is told as offline once the time to live is over, and last seen stays."""
    presences, user = repository(store, ttl=timedelta(seconds=0.3)), new_id()
    await presences.record([beat(user)])
    await presences.confirm(await until_claimed(presences))
    [gone] = await until_claimed(presences)
    assert (gone.user_id, gone.state, gone.previous_state) == (user, State.OFFLINE, State.ONLINE)
    assert gone.last_seen is not None
    assert gone.last_seen < gone.changed_at
    await presences.confirm([gone])
    [known] = await presences.get("default", [user])
    assert (known.state, known.devices, known.last_seen) == (State.OFFLINE, (), gone.last_seen)
    assert await store.zcard(EXPIRIES_KEY) == 0
    seconds = await store.ttl(f"presence:default:{user}")
    assert 29 * 86_400 < seconds <= 30 * 86_400


async def test_an_ended_device_is_not_shown_before_it_is_swept(store: redis.asyncio.Redis) -> None:
    """Readers do not depend on the sweep."""
    presences, user = repository(store, ttl=timedelta(seconds=0.1)), new_id()
    await presences.record([beat(user)])
    async with asyncio.timeout(5):
        while True:
            [known] = await presences.get("default", [user])
            if not known.devices:
                break
            await asyncio.sleep(0.02)
    assert known.state is State.OFFLINE


async def test_heartbeats_keep_a_device_alive(store: redis.asyncio.Redis) -> None:
    """The sweep finds a later end than the one it knew, and tells nothing."""
    presences, user = repository(store, ttl=timedelta(seconds=0.5)), new_id()
    await presences.record([beat(user)])
    await presences.confirm(await until_claimed(presences))
    first_end = await store.zscore(EXPIRIES_KEY, f"default:{user}")
    async with asyncio.timeout(10):
        while await store.zscore(EXPIRIES_KEY, f"default:{user}") == first_end:
            await presences.record([beat(user)])
            assert (await presences.claim()).changes == []
            await asyncio.sleep(0.05)
    assert (await presences.get("default", [user]))[0].state is State.ONLINE


async def test_what_is_taken_back_in_time_is_not_told(store: redis.asyncio.Redis) -> None:
    """A page that reloads within the coalescing time disturbs nobody; a change that lasts is told once, in its last state."""
    presences, user, other = repository(store, coalesce=timedelta(seconds=0.3)), new_id(), new_id()
    await presences.record([beat(user), beat(other, state=State.AWAY)])
    await presences.record([beat(user, state=State.OFFLINE), beat(other)])
    [told] = await until_claimed(presences)
    assert (told.user_id, told.state, told.previous_state) == (other, State.ONLINE, State.OFFLINE)
    await presences.confirm([told])
    assert await store.zcard(CHANGED_KEY) == 0


async def test_two_processes_never_tell_the_same(store: redis.asyncio.Redis) -> None:
    """Claims are disjoint, for changes and for expiries."""
    ttl = timedelta(seconds=0.2)
    both = [repository(store, ttl=ttl), repository(store, ttl=ttl)]
    users = {new_id() for _ in range(300)}
    await both[0].record([beat(user) for user in users])
    told: list[tuple[str, State]] = []

    async def work(presences: RedisPresenceRepository) -> None:
        while len(told) < 600:
            changes = (await presences.claim()).changes
            told.extend((change.user_id, change.state) for change in changes)
            await presences.confirm(changes)

    async with asyncio.timeout(20):
        await asyncio.gather(*(work(presences) for presences in both))
    assert len(told) == len(set(told)) == 600


async def test_a_claim_of_a_dead_process_comes_again(store: redis.asyncio.Redis) -> None:
    """Told at least once: what was claimed and never confirmed is claimed again when the lease is over, the same change."""
    presences, user = repository(store, lease=timedelta(seconds=0.2)), new_id()
    await presences.record([beat(user)])
    [first] = await until_claimed(presences)
    assert (await presences.claim()).changes == []
    assert await until_claimed(presences) == [first]


async def test_a_change_while_another_is_told_is_not_lost(store: redis.asyncio.Redis) -> None:
    """Confirming the older one leaves the newer one to tell."""
    presences, user = repository(store), new_id()
    await presences.record([beat(user)])
    [first] = await until_claimed(presences)
    await asyncio.sleep(0.002)  # the next change is another millisecond
    await presences.record([beat(user, state=State.AWAY)])
    await presences.confirm([first])
    [second] = await until_claimed(presences)
    assert (second.state, second.previous_state) == (State.AWAY, State.ONLINE)


async def test_devices_have_a_bound(store: redis.asyncio.Redis) -> None:
    """Somebody who invents device ids pushes out only their own."""
    presences, user = repository(store), new_id()
    await presences.record([beat(user, f"device-{number}") for number in range(20)])
    [known] = await presences.get("default", [user])
    assert len(known.devices) == 3


async def test_after_a_flush_heartbeats_build_it_up_again(store: redis.asyncio.Redis) -> None:
    """Nothing here must survive: an empty Redis is filled by the next heartbeats, without a restart."""
    presences, user = repository(store), new_id()
    await presences.record([beat(user)])
    claimed = await until_claimed(presences)
    await store.flushdb()
    await store.script_flush()
    await presences.confirm(claimed)
    assert (await presences.claim()).changes == []
    assert (await presences.get("default", [user]))[0].last_seen is None
    await presences.record([beat(user)])
    assert (await presences.get("default", [user]))[0].state is State.ONLINE
    assert [change.state for change in await until_claimed(presences)] == [State.ONLINE]


async def test_redis_away_is_said() -> None:
    """Every method answers UNAVAILABLE and when to try again, at once."""
    away = open_redis(RedisSettings(url=f"redis://127.0.0.1:{free_port()}/0"))  # type: ignore[arg-type]  # pydantic wraps it
    presences = repository(away)
    change = Change("default", new_id(), State.ONLINE, State.OFFLINE, datetime.now(UTC), None)
    calls = [
        presences.record([beat(new_id())]),
        presences.record_and_get(beat(new_id())),
        presences.get("default", [new_id()]),
        presences.claim(),
        presences.confirm([change]),
    ]
    for call in calls:
        with pytest.raises(DomainError) as error:
            await asyncio.wait_for(call, 1)
        assert (error.value.code, error.value.reason) == (Code.UNAVAILABLE, "REDIS_UNAVAILABLE")
        assert error.value.retry_after is not None
    await away.aclose()
