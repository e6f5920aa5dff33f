"""The memory of who is in which conversation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from unit.message.doubles import Source, settle

from chat4all_message.domain.model import Membership
from chat4all_message.memberships import Memberships
from chat4all_runtime.errors import DomainError
from chat4all_runtime.ids import new_id

ME, OTHER = new_id(), new_id()


class Time:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def memory(source: Source, time: Time) -> AsyncIterator[Memberships]:
    async with Memberships(source, ttl_seconds=30, max_conversations=3, max_members=10, monotonic=time) as memory:
        yield memory


async def test_loaded_once_and_only_so_long(memory: Memberships, source: Source, time: Time) -> None:
    """Remembered for the age limit, then asked again."""
    conversation = source.add(ME)
    for _ in range(3):
        await memory.require(conversation, "default", ME)
    assert len(source.loads) == 1
    time.seconds = 31
    assert memory.peek(conversation) is None
    await memory.require(conversation, "default", ME)
    assert len(source.loads) == 2


async def test_many_at_once_share_one_load(memory: Memberships, source: Source) -> None:
    """Single flight: a thousand first readers are one question."""
    conversation = source.add(ME)
    source.gate.clear()
    calls = [asyncio.ensure_future(memory.require(conversation, "default", ME)) for _ in range(1000)]
    await settle()
    source.gate.set()
    await asyncio.gather(*calls)
    assert len(source.loads) == 1


async def test_refusal_is_asked_anew_each_time(memory: Memberships, source: Source) -> None:
    """No negative is remembered: neither 'not in it' nor 'does not exist'."""
    conversation = source.add(ME)
    for _ in range(2):
        with pytest.raises(DomainError):
            await memory.require(conversation, "default", OTHER)
    assert len(source.loads) == 2
    missing = new_id()
    with pytest.raises(DomainError):
        await memory.require(missing, "default", ME)
    source.conversations[missing] = Membership("default", frozenset({ME}), False)
    await memory.require(missing, "default", ME)


async def test_load_that_began_before_does_not_refuse(memory: Memberships, source: Source) -> None:
    """Somebody added while a load was under way is not turned away by its old answer."""
    conversation = source.add(ME)
    source.gate.clear()
    first = asyncio.ensure_future(memory.require(conversation, "default", ME))
    await settle()
    source.conversations[conversation] = Membership("default", frozenset({ME, OTHER}), False)
    second = asyncio.ensure_future(memory.require(conversation, "default", OTHER))
    await settle()
    source.gate.set()
    await first
    await second
    assert len(source.loads) == 2


async def test_reload_that_began_before_does_not_refuse(memory: Memberships, source: Source) -> None:
    """The same when the old members are remembered and another stranger's question is under way."""
    conversation = source.add(ME)
    await memory.require(conversation, "default", ME)
    source.gate.clear()
    stranger = asyncio.ensure_future(memory.require(conversation, "default", new_id()))
    await settle()
    source.conversations[conversation] = Membership("default", frozenset({ME, OTHER}), False)
    added = asyncio.ensure_future(memory.require(conversation, "default", OTHER))
    await settle()
    source.gate.set()
    assert (await added).includes("default", OTHER)
    with pytest.raises(DomainError):
        await stranger
    assert len(source.loads) == 3


async def test_overtaken_load_is_not_remembered(memory: Memberships, source: Source) -> None:
    """A change that is told while a load is under way makes its answer old at once."""
    conversation = source.add(ME)
    source.gate.clear()
    call = asyncio.ensure_future(memory.require(conversation, "default", ME))
    await settle()
    memory.forget([conversation])
    source.gate.set()
    await call
    assert memory.peek(conversation) is None


async def test_change_is_forgotten_at_once(memory: Memberships, source: Source) -> None:
    """Who was removed is refused as soon as the change is told."""
    conversation = source.add(ME)
    await memory.require(conversation, "default", ME)
    source.conversations[conversation] = Membership("default", frozenset({OTHER}), False)
    memory.forget([conversation])
    with pytest.raises(DomainError):
        await memory.require(conversation, "default", ME)


async def test_bounded_by_conversations_and_members(memory: Memberships, source: Source) -> None:
    """The longest unused goes first, and few huge conversations cannot fill the memory."""
    small = [source.add(ME) for _ in range(4)]
    for conversation in small:
        await memory.require(conversation, "default", ME)
    assert [memory.peek(conversation) is not None for conversation in small] == [False, True, True, True]
    huge = source.add(ME, *(new_id() for _ in range(20)))
    await memory.require(huge, "default", ME)
    assert [memory.peek(conversation) is not None for conversation in [*small, huge]] == [False, False, False, False, True]


async def test_waiting_caller_may_give_up(memory: Memberships, source: Source) -> None:
    """A cancelled caller does not take the load away from the others."""
    conversation = source.add(ME)
    source.gate.clear()
    calls = [asyncio.ensure_future(memory.require(conversation, "default", ME)) for _ in range(2)]
    await settle()
    calls[0].cancel()
    await settle()
    source.gate.set()
    assert (await calls[1]).includes("default", ME)
