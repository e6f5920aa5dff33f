"""Coming into and going out of conversations while connected."""

from __future__ import annotations

import asyncio

import pytest
from integration.websocket_gateway.client import Client
from integration.websocket_gateway.conftest import Place

from chat4all_runtime.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


def created(conversation: str) -> dict[str, object]:
    """The frame of a new conversation."""
    return {
        "type": "event",
        "event_id": new_id(),
        "event_type": "conversation.created",
        "conversation_id": conversation,
        "data": {},
    }


def added(conversation: str) -> dict[str, object]:
    """The frame that tells the added member."""
    return created(conversation) | {"event_type": "conversation.member_added"}


async def test_removal_cuts_the_stream_at_its_entry(place: Place) -> None:
    """The removed sees the entry of the removal and nothing after it; the others see all."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as stays, Client(place.url) as goes:
        await stays.hello(place.backends.token(a))
        await goes.hello(place.backends.token(b))
        await place.backends.append(conversation, a)
        await place.backends.remove(conversation, b, a)
        await place.backends.append(conversation, a)
        assert await stays.numbers(3) == [1, 2, 3]
        assert await goes.numbers(2) == [1, 2]
        assert [frame for frame in await goes.pong() if frame["type"] == "event"] == []
        await goes.say(type="ack", conversation_id=conversation, sequence_number=2)
        assert (await goes.next(type="error"))["reason"] == "CONVERSATION_NOT_FOUND"


async def test_removal_within_one_publish(place: Place) -> None:
    """Removal and later entries in the same publish: still cut exactly."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as stays, Client(place.url) as goes:
        await stays.hello(place.backends.token(a))
        await goes.hello(place.backends.token(b))
        entries = [
            place.backends.entry(conversation, a),
            place.backends.entry(conversation, a, event_type="conversation.member_removed", removed_user_id=b),
            place.backends.entry(conversation, a),
        ]
        place.backends.logs[conversation].members.discard(b)
        await place.backends.tell(conversation, *entries)
        assert await stays.numbers(3) == [1, 2, 3]
        assert await goes.numbers(2) == [1, 2]
        assert await goes.pong() == []


async def test_a_lost_removal_still_cuts(place: Place) -> None:
    """Redis loses the removal's publish: it comes from the log, and nothing after it reaches the removed."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as stays, Client(place.url) as goes:
        await stays.hello(place.backends.token(a))
        await goes.hello(place.backends.token(b))
        place.backends.publish = False
        await place.backends.remove(conversation, b, a)
        place.backends.publish = True
        await place.backends.append(conversation, a)
        assert await stays.numbers(2) == [1, 2]
        assert await goes.numbers(1) == [1]
        assert [frame for frame in await goes.pong() if frame["type"] == "event"] == []


async def test_an_old_removal_told_again_does_not_cut(place: Place) -> None:
    """Removed at 1, added again at 2; the removal is published once more: the member stays."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    removal = place.backends.entry(conversation, a, event_type="conversation.member_removed", removed_user_id=b)
    place.backends.entry(conversation, a, event_type="conversation.member_added", added_user_ids=[b])
    async with Client(place.url) as client:
        await client.hello(place.backends.token(b))
        await place.backends.tell(conversation, removal)
        await client.pong()
        await place.backends.append(conversation, a)
        assert await client.numbers(1) == [3]


async def test_a_new_conversation_from_its_start(place: Place) -> None:
    """Created while connected: the frame comes, and every entry from the first, also those published before we subscribed."""
    a, b = new_id(), new_id()
    async with Client(place.url) as client:
        await client.hello(place.backends.token(b))
        conversation = place.backends.conversation(a, b)
        await place.backends.append(conversation, a)
        await place.backends.tell_user(b, "a", conversation, created(conversation))
        await place.backends.append(conversation, a)
        await client.next(type="event", event_type="conversation.created")
        assert await client.numbers(2) == [1, 2]
        await client.send(conversation, new_id())
        assert (await client.next(type="sent", state="stored"))["sequence_number"] == 3


async def test_an_added_member_sees_from_the_adding_on(place: Place) -> None:
    """Added to a group with a past: nothing before the entry of the adding, everything from it on."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a)
    for _ in range(20):
        await place.backends.append(conversation, a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(b))
        place.backends.logs[conversation].members.add(b)
        await place.backends.append(conversation, a, event_type="conversation.member_added", added_user_ids=[b])
        await place.backends.append(conversation, a)
        await place.backends.tell_user(b, "a", conversation, added(conversation))
        assert await client.numbers(2) == [21, 22]
        await place.backends.append(conversation, a)
        assert await client.numbers(1) == [23]


async def test_ended_sessions_are_closed(place: Place) -> None:
    """One session ends: its sockets close with 4102 and others stay; `*` ends all."""
    a, session = new_id(), new_id()
    async with Client(place.url) as one, Client(place.url) as other:
        await one.hello(place.backends.token(a, session_id=session))
        await other.hello(place.backends.token(a))
        await place.backends.tell_user(a, "k", session, {})
        assert await one.refused() == ("SESSION_ENDED", 4102)
        await other.pong()
        await place.backends.tell_user(a, "k", "*", {})
        assert await other.closed() == 4102


async def test_removed_while_replaying(place: Place) -> None:
    """A replay under way stops at the entry of the removal."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    for _ in range(300):
        place.backends.entry(conversation, a, filler="x" * 30_000)
    async with Client(place.url, max_queue=1) as client:
        await client.say(type="hello", token=place.backends.token(b), cursors={conversation: 0})
        await client.next(type="welcome")
        await place.backends.remove(conversation, b, a)
        await place.backends.append(conversation, a)
        await asyncio.sleep(0.3)
        resumed = await client.next(type="resumed", seconds=30)
        assert resumed["to_sequence_number"] == 301
        assert [frame for frame in await client.pong() if frame.get("sequence_number", 0) > 301] == []


async def test_added_again(place: Place) -> None:
    """Removed and added again while connected: the stream goes on from the entry of the second adding."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(b))
        await place.backends.remove(conversation, b, a)
        assert await client.numbers(1) == [1]
        await place.backends.append(conversation, a)
        place.backends.logs[conversation].members.add(b)
        await place.backends.append(conversation, a, event_type="conversation.member_added", added_user_ids=[b])
        await place.backends.tell_user(b, "a", conversation, added(conversation))
        await place.backends.append(conversation, a)
        assert await client.numbers(2) == [3, 4]
