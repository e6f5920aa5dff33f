"""Coming back: exactly the missing part, once, in order, then live; or a reset."""

from __future__ import annotations

import asyncio

import pytest
from integration.websocket_gateway.client import Client
from integration.websocket_gateway.conftest import Place

from chat4all_runtime.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


def numbers(client: Client, conversation: str) -> list[int]:
    """The sequence numbers a client has seen of one conversation."""
    return [
        frame["sequence_number"]
        for frame in client.seen
        if frame["type"] == "event" and frame["conversation_id"] == conversation and "sequence_number" in frame
    ]


@pytest.mark.parametrize("cursor", [0, 1, 249, 250])
async def test_exactly_the_missing_part(place: Place, cursor: int) -> None:
    """Cursor n brings n+1 to the end in order, then `resumed` with from and to, then live entries."""
    a = new_id()
    conversation = place.backends.conversation(a)
    for _ in range(250):
        place.backends.entry(conversation, a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), cursors={conversation: cursor})
        resumed = await client.next(type="resumed")
        assert (resumed["from_sequence_number"], resumed["to_sequence_number"]) == (cursor + 1, 250)
        assert numbers(client, conversation) == list(range(cursor + 1, 251))
        await place.backends.append(conversation, a)
        assert (await client.frame())["sequence_number"] == 251


async def test_without_a_cursor_live_from_now(place: Place) -> None:
    """A conversation without a cursor brings nothing old and no `resumed`."""
    a = new_id()
    conversation = place.backends.conversation(a)
    for _ in range(10):
        place.backends.entry(conversation, a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        await place.backends.append(conversation, a)
        assert (await client.frame())["sequence_number"] == 11


async def test_resume_under_traffic(place: Place) -> None:
    """While others write fast, a client that comes back again and again sees each number once and misses none."""
    a = new_id()
    conversation = place.backends.conversation(a)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            entries = [place.backends.entry(conversation, a) for _ in range(5)]
            await place.backends.tell(conversation, *entries)
            await asyncio.sleep(0.003)

    writing = asyncio.create_task(write())
    seen: list[int] = []
    try:
        async with Client(place.url) as permanent:
            await permanent.hello(place.backends.token(a))
            for _ in range(8):
                async with Client(place.url) as client:
                    await client.hello(place.backends.token(a), cursors={conversation: len(seen)})
                    await client.next(type="resumed")
                    await client.numbers(30)
                    seen += numbers(client, conversation)
                    assert seen == list(range(1, len(seen) + 1))
                    resumes = [frame for frame in client.seen if frame["type"] == "resumed"]
                    assert len(resumes) == 1
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await writing
    assert len(seen) > 200


async def test_too_much_missed_is_a_reset(place: Place) -> None:
    """More than the limit: no part of it, a reset with the end of the log, then live entries after it."""
    a = new_id()
    conversation = place.backends.conversation(a)
    for _ in range(600):
        place.backends.entry(conversation, a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), cursors={conversation: 99})
        frame = await client.frame()
        assert (frame["type"], frame["reason"], frame["last_sequence_number"]) == ("reset", "TOO_MUCH_MISSED", 600)
        await place.backends.append(conversation, a)
        assert (await client.frame())["sequence_number"] == 601
        await client.say(type="sync", ref="s", conversation_id=conversation, after_sequence_number=101)
        resumed = await client.next(type="resumed")
        assert (resumed["ref"], resumed["from_sequence_number"], resumed["to_sequence_number"]) == ("s", 102, 601)


async def test_a_cursor_ahead_is_a_reset(place: Place) -> None:
    """A cursor beyond the log's end is not of this log."""
    a = new_id()
    conversation = place.backends.conversation(a)
    place.backends.entry(conversation, a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), cursors={conversation: 5})
        frame = await client.frame()
        assert (frame["type"], frame["reason"], frame["last_sequence_number"]) == ("reset", "CURSOR_AHEAD", 1)


async def test_a_foreign_cursor_is_an_error(place: Place) -> None:
    """A cursor for a conversation one is not in: an error that names it, and the socket goes on."""
    a, foreign = new_id(), place.backends.conversation(new_id())
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), cursors={foreign: 0})
        error = await client.frame()
        assert (error["reason"], error["metadata"]["conversation_id"]) == ("CONVERSATION_NOT_FOUND", foreign)
        await client.say(type="sync", ref="s", conversation_id=foreign, after_sequence_number=0)
        assert (await client.next(type="error"))["ref"] == "s"
        await client.pong()


async def test_what_redis_lost_is_in_the_resume(place: Place) -> None:
    """An entry stored before the hello is replayed even when nobody here ever heard its publish."""
    a = new_id()
    conversation = place.backends.conversation(a)
    await place.backends.append(conversation, a)
    async with Client(place.url) as first, Client(place.url) as second:
        await first.hello(place.backends.token(a))
        place.backends.publish = False
        await place.backends.append(conversation, a)
        await second.hello(place.backends.token(a), cursors={conversation: 1})
        resumed = await second.next(type="resumed")
        assert resumed["to_sequence_number"] == 2
        assert (await first.frame())["sequence_number"] == 2


async def test_a_gap_is_filled_before_later_entries(place: Place) -> None:
    """Publishes 2 to 4 are lost; 5 arrives: everybody sees 2, 3, 4, 5 in order."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        await place.backends.append(conversation, a)
        for _ in range(3):
            place.backends.entry(conversation, a)
        await place.backends.append(conversation, a)
        assert await client.numbers(5) == [1, 2, 3, 4, 5]
        assert await place.gateway.metric('chat4all_gateway_gap_fills_total{found_by="live"}') >= 1


async def test_a_lost_last_publish_is_found(place: Place) -> None:
    """Nothing follows the lost publish: the position check finds it within its period (2 s here)."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.entry(conversation, a)
        assert await client.numbers(1, seconds=6) == [1]


async def test_publishes_again_and_late_change_nothing(place: Place) -> None:
    """A router that starts over publishes old entries again, and two may cross: each number is shown once, in order."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        entries = [place.backends.entry(conversation, a) for _ in range(6)]
        await place.backends.tell(conversation, *entries[:3])
        await place.backends.tell(conversation, *entries[1:3])
        await place.backends.tell(conversation, entries[4])
        await place.backends.tell(conversation, entries[3], entries[5])
        await place.backends.tell(conversation, *entries)
        assert await client.numbers(6) == [1, 2, 3, 4, 5, 6]
        assert [frame for frame in await client.pong() if frame["type"] == "event"] == []


async def test_large_entries_arrive_whole(place: Place) -> None:
    """A replay far larger than the write buffer waits for a slow reader instead of closing it."""
    a = new_id()
    conversation = place.backends.conversation(a)
    for _ in range(400):
        place.backends.entry(conversation, a, filler="x" * 20_000)
    async with Client(place.url, max_queue=2) as client:
        await client.hello(place.backends.token(a), cursors={conversation: 0})
        await asyncio.sleep(1.0)
        resumed = await client.next(type="resumed", seconds=30)
        assert resumed["to_sequence_number"] == 400
        assert numbers(client, conversation) == list(range(1, 401))


async def test_many_conversations(place: Place) -> None:
    """2,100 conversations: all pages of memberships are read and each cursor is answered."""
    a = new_id()
    conversations = [place.backends.conversation(a) for _ in range(2100)]
    for conversation in conversations[::100]:
        place.backends.entry(conversation, a)
    cursors = dict.fromkeys(conversations[::3], 0)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), cursors=cursors)
        found = {(await client.next(type="resumed"))["conversation_id"] for _ in cursors}
        assert found == set(cursors)
        await place.backends.append(conversations[-1], a)
        await client.next(type="event", conversation_id=conversations[-1])
