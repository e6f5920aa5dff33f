"""Whatever is killed, paused or restarted under load: nothing acknowledged is lost, doubled, reordered or shown to strangers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from checker import Report
from e2e.conftest import Copy
from e2e.load import Load

from chat4all_cli.rest import RestClient
from chat4all_native.stack import Stack
from chat4all_native.waiting import Deadline, wait_until

Steps = Callable[[Stack], None]


def kill(name: str) -> Steps:
    """End a process or engine as a power cut would, and start it again."""

    def steps(stack: Stack) -> None:
        assert stack.kill(name, signal.SIGKILL), f"{name} did not run"
        # The kernel takes a moment to bury it; until then it counts as running and would not be started.
        assert wait_until(lambda: "alive" if stack.pid(name) else None, Deadline(10)) is None
        stack.start(name)

    return steps


def restart(name: str) -> Steps:
    """Stop an engine in order and start it again."""

    def steps(stack: Stack) -> None:
        stack.stop(name)
        stack.start(name)

    return steps


def flush_and_restart_redis(stack: Stack) -> None:
    """Everything in Redis is forgotten, then it is gone for a moment."""
    client = redis.Redis.from_url(stack.environment("tests")["CHAT4ALL_REDIS__URL"], socket_timeout=5)
    client.flushall()
    client.close()
    restart("redis")(stack)


async def pause_the_router(stack: Stack) -> None:
    """Fifteen seconds of sleep: a second router takes over, and the first wakes up as a zombie with a batch in its hands."""
    await asyncio.to_thread(stack.start, "router-2")
    stack.kill("router", signal.SIGSTOP)
    await asyncio.sleep(15)  # the fault itself: longer than the group's session timeout
    stack.kill("router", signal.SIGCONT)
    await asyncio.sleep(3)  # the fault itself: both are awake
    await asyncio.to_thread(stack.stop, "router-2")


async def routers_in_turns(stack: Stack) -> None:
    """Partitions move to and fro while messages come."""
    for _ in range(2):
        await asyncio.to_thread(stack.start, "router-2")
        await asyncio.to_thread(stack.stop, "router")
        await asyncio.to_thread(stack.start, "router")
        await asyncio.to_thread(stack.stop, "router-2")


def verdict(report: Report) -> None:
    """Clean, and about something: hundreds of messages were acknowledged and shown."""
    print(report.render())  # noqa: T201  # pytest shows it when the test fails
    assert report.clean, report.render()
    assert report.counts.acknowledged > 300
    assert report.counts.deliveries > 1000


@pytest.mark.parametrize("name", ["message", "router", "websocket-gateway", "conversation", "history", "edge"])
async def test_a_process_is_killed(name: str, copy: Copy, people: list[RestClient], tmp_path: Path) -> None:
    """Kill -9 of one of our processes, and its restart."""
    verdict(await Load(copy, people, tmp_path).run(f"kill {name}", lambda: asyncio.to_thread(kill(name), copy.stack)))


@pytest.mark.parametrize("name", ["kafka", "mongodb", "postgres", "etcd", "redis"])
async def test_an_engine_is_restarted(name: str, copy: Copy, people: list[RestClient], tmp_path: Path) -> None:
    """An engine goes and comes back."""
    verdict(await Load(copy, people, tmp_path).run(f"restart {name}", lambda: asyncio.to_thread(restart(name), copy.stack)))


async def test_redis_is_flushed(copy: Copy, people: list[RestClient], tmp_path: Path) -> None:
    """Redis forgets everything and goes away for a moment."""
    verdict(await Load(copy, people, tmp_path).run("flush redis", lambda: asyncio.to_thread(flush_and_restart_redis, copy.stack)))


async def test_the_router_wakes_up_as_a_zombie(copy: Copy, people: list[RestClient], tmp_path: Path) -> None:
    """A paused owner of partitions comes back after another has taken them over."""
    verdict(await Load(copy, people, tmp_path).run("pause router", lambda: pause_the_router(copy.stack)))


async def test_routers_take_turns(copy: Copy, people: list[RestClient], tmp_path: Path) -> None:
    """Two routers are started and stopped in turns."""
    verdict(await Load(copy, people, tmp_path).run("routers in turns", lambda: routers_in_turns(copy.stack)))
