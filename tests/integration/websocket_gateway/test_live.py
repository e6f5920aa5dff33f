"""Signing in, live delivery, sends and their answers."""

from __future__ import annotations

import asyncio

import pytest
from fakes.waiting import eventually
from integration.websocket_gateway.client import Client
from integration.websocket_gateway.conftest import Place

from chat4all_runtime.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_welcome_says_who_and_how(place: Place) -> None:
    """The welcome names session and user, the time, the heartbeat and the limits."""
    user, session = new_id(), new_id()
    async with Client(place.url) as client:
        welcome = await client.hello(place.backends.token(user, session_id=session))
        assert (welcome["user_id"], welcome["session_id"]) == (user, session)
        assert welcome["heartbeat_seconds"] == 20
        assert welcome["limits"]["max_frame_bytes"] == 65536


async def test_a_message_reaches_all_members_once_and_in_order(place: Place) -> None:
    """What one sends each member sees once, in sequence order; the sender hears accepted, then stored with the number."""
    a, b, stranger = new_id(), new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as one, Client(place.url) as two, Client(place.url) as other:
        await one.hello(place.backends.token(a))
        await two.hello(place.backends.token(b))
        await other.hello(place.backends.token(stranger))
        ids = [new_id() for _ in range(50)]
        for number, message_id in enumerate(ids):
            await one.send(conversation, message_id, f"text {number}", ref=f"r{number}")
        assert await two.numbers(50) == list(range(1, 51))
        events = [frame for frame in two.seen if frame["type"] == "event"]
        assert [frame["data"]["message_id"] for frame in events] == ids
        while (
            sum(frame["type"] == "event" for frame in one.seen) < 50 or sum(frame["type"] == "sent" for frame in one.seen) < 100
        ):
            await one.frame()
        for number, message_id in enumerate(ids):
            answers = [frame for frame in one.seen if frame["type"] == "sent" and frame["message_id"] == message_id]
            assert [answer["state"] for answer in answers] == ["accepted", "stored"]
            assert answers[1]["sequence_number"] == number + 1
            assert {answer["ref"] for answer in answers} == {f"r{number}"}
        assert await other.pong() == []


async def test_a_send_repeated_gets_the_first_result(place: Place) -> None:
    """The same id again, on another socket, is answered with the number it has."""
    a = new_id()
    conversation = place.backends.conversation(a)
    message_id = new_id()
    for _ in range(2):
        async with Client(place.url) as client:
            await client.hello(place.backends.token(a))
            await client.send(conversation, message_id)
            stored = await client.next(type="sent", state="stored")
            assert stored["sequence_number"] == 1
    assert len(place.backends.logs[conversation].entries) == 1


async def test_refusals_name_the_send(place: Place) -> None:
    """A conversation one is not in: an error with the send's ref and id, and the socket goes on."""
    a = new_id()
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        message_id = new_id()
        await client.send(place.backends.conversation(new_id()), message_id, ref="mine")
        refusal = await client.next(type="error")
        assert (refusal["ref"], refusal["reason"]) == ("mine", "CONVERSATION_NOT_FOUND")
        assert refusal["metadata"]["message_id"] == message_id
        await client.pong()


async def test_sends_gather_while_a_call_is_in_flight(place: Place) -> None:
    """No call per message under load, no delay without it, and one sender's order is kept."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.submit_delay_seconds = 0.1
        place.backends.submitted.clear()
        ids = [new_id() for _ in range(120)]
        for message_id in ids:
            await client.send(conversation, message_id)
        assert await client.numbers(120) == list(range(1, 121))
        assert [entry.message_id for entry in place.backends.logs[conversation].entries] == ids
        assert len(place.backends.submitted) <= 6
        assert all(len(call) <= 200 for call in place.backends.submitted)


async def test_sends_outlive_a_short_outage(place: Place) -> None:
    """While the message service is away a send is tried again; it is accepted once and stored once."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.away.add("message")
        await client.send(conversation, new_id())
        await asyncio.sleep(0.5)
        place.backends.away.clear()
        assert (await client.next(type="sent"))["state"] == "accepted"
        assert (await client.next(type="sent"))["state"] == "stored"


async def test_bursts_are_refused_not_cut(place: Place) -> None:
    """1,000 sends at once: each is answered, the excess with RATE_LIMITED and when to come back."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        for number in range(1000):
            await client.send(conversation, new_id(), ref=str(number))
        accepted: set[str] = set()
        refused: set[str] = set()
        while len(accepted) + len(refused) < 1000:
            frame = await client.frame(10)
            if frame["type"] == "sent" and frame["state"] == "accepted":
                accepted.add(frame["ref"])
            elif frame["type"] == "error":
                assert frame["reason"] in ("RATE_LIMITED", "TOO_MANY_OUTSTANDING")
                assert frame["retry_after_seconds"] > 0
                refused.add(frame["ref"])
        assert len(accepted) >= 200
        assert not accepted & refused


async def test_stored_comes_from_a_gap_fill_too(place: Place) -> None:
    """When Redis loses the publish, the sender still hears stored, and everybody sees the message."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.publish = False
        await client.send(conversation, new_id())
        assert (await client.next(type="sent", state="stored", seconds=10))["sequence_number"] == 1


async def test_typing_is_shown_to_others_and_not_too_often(place: Place) -> None:
    """Typing reaches the other members, never the typist, once in two seconds; strangers are refused."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as one, Client(place.url) as two:
        await one.hello(place.backends.token(a))
        await two.hello(place.backends.token(b))
        for _ in range(5):
            await one.say(type="typing", conversation_id=conversation, state="started")
        event = await two.next(type="event", event_type="typing")
        assert event["data"] == {"user_id": a, "state": "started"}
        await place.backends.append(conversation, b)
        assert (await two.frame())["sequence_number"] == 1
        assert (await one.frame())["sequence_number"] == 1
        await one.say(type="typing", conversation_id=new_id(), state="started")
        assert (await one.next(type="error"))["reason"] == "CONVERSATION_NOT_FOUND"


async def test_marks_are_merged(place: Place) -> None:
    """A hundred acks become few calls with the highest number; what is read is delivered too."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        calls = place.backends.mark_calls
        for number in range(1, 101):
            await client.say(type="ack", conversation_id=conversation, sequence_number=number)
        await client.say(type="read", conversation_id=conversation, sequence_number=40)
        await eventually(lambda: place.backends.marks.get((conversation, a)) == (100, 40))
        assert place.backends.mark_calls - calls <= 3


async def test_marks_wait_while_the_service_is_away(place: Place) -> None:
    """An ack given during an outage arrives after it."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.away.add("conversation")
        await client.say(type="ack", conversation_id=conversation, sequence_number=7)
        await asyncio.sleep(0.6)
        assert (conversation, a) not in place.backends.marks
        place.backends.away.clear()
        await eventually(lambda: place.backends.marks.get((conversation, a)) == (7, 0), 10)


async def test_a_hello_waits_for_a_busy_service(place: Place) -> None:
    """After a restart of the gateway everybody comes at once: a conversation service that refuses some is asked again."""
    a = new_id()
    place.backends.conversation(a)
    place.backends.busy["conversation"] = 3
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
    assert place.backends.busy["conversation"] == 0


async def test_presence_is_reported_and_watched(place: Place) -> None:
    """A device is reported online, away, kept alive, and offline when its last socket is gone; watchers see changes."""
    a, watched = new_id(), new_id()
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a), device_id="phone")
        await client.say(type="presence", state="away", watch=[watched])
        await client.pong()
        reported = place.backends.presences.setdefault((a, "phone"), [])
        await eventually(lambda: len(reported) >= 3)
        assert reported[-1] == 2
        frame = b'{"type":"event","event_type":"presence.changed","data":{"user_id":"%b"}}'
        line = b"t\t0\t%b\t\t" + frame

        async def heard() -> bool:
            return bool(await place.backends.redis.publish("presence:updates", line % ((watched.encode(),) * 2)))

        await eventually(heard)
        await place.backends.redis.publish("presence:updates", line % ((new_id().encode(),) * 2))
        event = await client.next(type="event")
        assert event["data"]["user_id"] == watched
        assert [frame for frame in await client.pong() if frame["type"] == "event"] == []
    await eventually(lambda: reported[-1] == 3)
