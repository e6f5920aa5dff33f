"""Redis gone, Redis deaf, services away, the gateway told to stop: nothing lost, and the end is orderly."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio
from fakes.gateway_backends import GatewayBackends
from fakes.gateway_process import GatewayProcess, PrivateRedis
from fakes.waiting import eventually
from integration.websocket_gateway.client import Client
from integration.websocket_gateway.conftest import QUICK, Place
from redis.exceptions import RedisError

from chat4all_runtime.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def own_place() -> AsyncIterator[Place]:
    """A gateway with a Redis that may be broken."""
    with PrivateRedis() as redis:
        async with GatewayBackends(redis.url) as backends, GatewayProcess({**backends.environment(), **QUICK}) as gateway:
            yield Place(backends, gateway, redis)


async def unready(place: Place) -> None:
    """Wait until the gateway says that it is not ready."""

    async def check() -> bool:
        return not await place.gateway.is_ready()

    await eventually(check, 10)


async def ready(place: Place) -> None:
    """Wait until it says that it is."""
    await eventually(place.gateway.is_ready, 10)


async def try_append(place: Place, conversation: str, sender: str) -> None:
    """Store an entry and publish it as far as Redis lets us."""
    entry = place.backends.entry(conversation, sender)
    try:
        await place.backends.tell(conversation, entry)
    except (RedisError, OSError):
        return


async def test_redis_restarts(own_place: Place) -> None:
    """Entries stored while Redis is away arrive during the outage; live traffic goes on after it, and sends work all the time."""
    a = new_id()
    conversation = own_place.backends.conversation(a)
    async with Client(own_place.url) as client:
        await client.hello(own_place.backends.token(a))
        await own_place.backends.append(conversation, a)
        own_place.redis.stop()
        await unready(own_place)
        for _ in range(3):
            await try_append(own_place, conversation, a)
        assert await client.numbers(4) == [1, 2, 3, 4]
        own_place.backends.publish = False
        await client.send(conversation, new_id())
        assert (await client.next(type="sent", state="stored"))["sequence_number"] == 5
        async with Client(own_place.url) as late:
            await late.hello(own_place.backends.token(a), cursors={conversation: 2})
            assert await late.numbers(3) == [3, 4, 5]
        own_place.redis.start()
        await ready(own_place)
        own_place.backends.publish = True
        await own_place.backends.append(conversation, a)
        assert (await client.next(type="event", sequence_number=6))["sequence_number"] == 6


async def test_redis_goes_deaf(own_place: Place) -> None:
    """A connection that is open and silent is found by the canary; what was published meanwhile is shown."""
    a = new_id()
    conversation = own_place.backends.conversation(a)
    async with Client(own_place.url) as client:
        await client.hello(own_place.backends.token(a))
        server = psutil.Process(own_place.redis.pid)
        server.send_signal(signal.SIGSTOP)
        try:
            own_place.backends.entry(conversation, a)
            await unready(own_place)
            assert await client.numbers(1) == [1]
        finally:
            server.send_signal(signal.SIGCONT)
        await ready(own_place)
        await own_place.backends.append(conversation, a)
        assert await client.numbers(1) == [2]
        assert await own_place.gateway.metric("chat4all_gateway_redis_reconnects_total") >= 1


async def test_additions_lost_with_redis_are_found(own_place: Place) -> None:
    """Somebody is added while Redis is away: their sockets follow the conversation once it is back."""
    a, b = new_id(), new_id()
    async with Client(own_place.url) as client:
        await client.hello(own_place.backends.token(b))
        own_place.redis.stop()
        await unready(own_place)
        conversation = own_place.backends.conversation(a, b)
        own_place.backends.entry(conversation, a, event_type="conversation.member_added", added_user_ids=[b])
        own_place.redis.start()
        await ready(own_place)
        assert await client.numbers(1) == [1]
        await own_place.backends.append(conversation, a)
        assert await client.numbers(1) == [2]


async def test_a_gap_waits_for_the_log(own_place: Place) -> None:
    """A hole and no message service to fill it: nothing later is shown until it is back; then all, in order."""
    a = new_id()
    conversation = own_place.backends.conversation(a)
    async with Client(own_place.url) as client:
        await client.hello(own_place.backends.token(a))
        own_place.backends.away.add("message")
        own_place.backends.entry(conversation, a)
        for _ in range(3):
            await own_place.backends.append(conversation, a)
        assert [frame for frame in await client.pong() if frame["type"] == "event"] == []
        own_place.backends.away.clear()
        assert await client.numbers(4) == [1, 2, 3, 4]


async def test_hello_while_services_are_away(own_place: Place) -> None:
    """Come back later: an error that says so and a code below 4100; with the services back it works."""
    a = new_id()
    own_place.backends.away.add("conversation")
    async with Client(own_place.url) as client:
        await client.say(type="hello", token=own_place.backends.token(a))
        assert await client.refused(10) == ("CONVERSATION_UNAVAILABLE", 4000)
        assert client.seen[-1]["retry_after_seconds"] > 0
    own_place.backends.away.clear()
    async with Client(own_place.url) as client:
        await client.hello(own_place.backends.token(a))


async def test_half_open_clients_are_found() -> None:
    """A client that answers no ping is closed after the heartbeat and its timeout; one that does stays."""
    with PrivateRedis() as redis:
        more = {"CHAT4ALL_WEBSOCKET__HEARTBEAT_SECONDS": "0.5", "CHAT4ALL_WEBSOCKET__HEARTBEAT_TIMEOUT_SECONDS": "0.5"}
        async with (
            GatewayBackends(redis.url) as backends,
            GatewayProcess({**backends.environment(), **QUICK, **more}) as gateway,
            Client(gateway.url, ping_interval=None) as healthy,
            Client(gateway.url, ping_interval=None) as silent,
        ):
            await healthy.hello(backends.token(new_id()))
            await silent.hello(backends.token(new_id()))
            silent.socket.transport.pause_reading()

            async def one_left() -> bool:
                return await gateway.metric("chat4all_gateway_sockets") == 1

            await eventually(one_left, 10)
            await healthy.pong()
            silent.socket.transport.abort()


async def test_orderly_end(own_place: Place) -> None:
    """SIGTERM: not ready, `drain` with a time, 1012 within the grace, marks told, sends answered, exit 0 within 10 s."""
    a = new_id()
    conversation = own_place.backends.conversation(a)
    clients = [Client(own_place.url) for _ in range(10)]
    for client in clients:
        await client.__aenter__()
        await client.hello(own_place.backends.token(a))
    own_place.backends.submit_delay_seconds = 0.3
    await clients[0].send(conversation, new_id())
    await clients[0].say(type="read", conversation_id=conversation, sequence_number=1)
    await clients[0].pong()
    started = time.monotonic()
    own_place.gateway.terminate()
    codes = await asyncio.gather(*(client.closed(8) for client in clients))
    assert set(codes) == {1012}
    drains = [frame["reconnect_after_ms"] for client in clients for frame in client.seen if frame["type"] == "drain"]
    assert len(drains) == 10
    assert len(set(drains)) > 1
    assert await own_place.gateway.ended(10) == 0
    assert time.monotonic() - started < 10
    assert own_place.backends.marks[conversation, a] == (1, 1)
    assert len(own_place.backends.logs[conversation].entries) == 1
