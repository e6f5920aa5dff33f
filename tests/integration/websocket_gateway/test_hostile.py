"""Clients that break the protocol, do not read, or show bad tokens: a documented answer, flat memory, others undisturbed."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import pytest
from fakes.gateway_process import GatewayProcess
from integration.websocket_gateway.client import Client
from integration.websocket_gateway.conftest import QUICK, Place
from websockets.exceptions import InvalidStatus

from chat4all_runtime.ids import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_silence_closes(place: Place) -> None:
    """No hello within the time (1 s here): 4100."""
    async with Client(place.url) as client:
        assert await client.refused() == ("HELLO_REQUIRED", 4100)


async def test_nothing_before_hello(place: Place) -> None:
    """Another frame first: HELLO_REQUIRED and 4100."""
    async with Client(place.url) as client:
        await client.say(type="ping", ref="x")
        assert await client.refused() == ("HELLO_REQUIRED", 4100)


async def test_hello_once(place: Place) -> None:
    """A second hello stops the client."""
    async with Client(place.url) as client:
        token = place.backends.token(new_id())
        await client.hello(token)
        await client.say(type="hello", token=token)
        assert await client.refused() == ("HELLO_REPEATED", 4202)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seconds": -60}, "TOKEN_EXPIRED"),
        ({"iss": "https://elsewhere"}, "TOKEN_INVALID"),
        ({"aud": "another"}, "TOKEN_INVALID"),
        ({"tenant_id": None}, "TOKEN_INVALID"),
    ],
)
async def test_bad_tokens(place: Place, change: dict[str, Any], reason: str) -> None:
    """Sign in again, and why."""
    async with Client(place.url) as client:
        await client.say(type="hello", token=place.backends.token(new_id(), **change))
        assert await client.refused() == (reason, 4100)


@pytest.mark.parametrize("token", ["", "garbage", 7, None, "é", "x" * 9000])
async def test_no_tokens(place: Place, token: object) -> None:
    """What is no token at all is refused the same way."""
    async with Client(place.url) as client:
        await client.say(type="hello", token=token)
        assert await client.refused() == ("TOKEN_INVALID", 4100)


async def test_token_in_the_url_counts_for_nothing(place: Place) -> None:
    """A hello is needed all the same."""
    async with Client(f"{place.url}?token={place.backends.token(new_id())}") as client:
        await client.say(type="ping", ref="x")
        assert await client.refused() == ("HELLO_REQUIRED", 4100)


async def test_expiry_and_refresh(place: Place) -> None:
    """An expired token closes with 4101 within 5 s; a refresh in time keeps the socket; somebody else's token stops it."""
    a = new_id()
    async with Client(place.url) as kept, Client(place.url) as ends:
        await kept.hello(place.backends.token(a, seconds=1.5))
        await ends.hello(place.backends.token(a, seconds=1.5))
        await kept.say(type="refresh", token=place.backends.token(a))
        assert await ends.refused(6) == ("TOKEN_EXPIRED", 4101)
        await kept.say(type="refresh", token="garbage")
        assert (await kept.next(type="error"))["reason"] == "TOKEN_INVALID"
        await kept.pong()
        await kept.say(type="refresh", token=place.backends.token(new_id()))
        assert await kept.refused() == ("TOKEN_INVALID", 4103)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b'{"type":', "FRAME_MALFORMED"),
        (b"[1,2]", "FRAME_MALFORMED"),
        (b"\xff\xfe", "FRAME_MALFORMED"),
        (b'{"ref":"x"}', "FIELD_INVALID"),
        (b'{"type":"dance","ref":"x"}', "FRAME_TYPE_UNKNOWN"),
        (b'{"type":"ping","ref":7}', "FIELD_INVALID"),
        (b'{"type":"send","content":' + b"[" * 5000 + b"]" * 5000 + b"}", "FRAME_MALFORMED"),
        (b'{"type":"presence"}', "FIELD_INVALID"),
    ],
)
async def test_faulty_frames_are_answered(place: Place, frame: bytes, reason: str) -> None:
    """An error with a reason; the socket goes on."""
    async with Client(place.url) as client:
        await client.hello(place.backends.token(new_id()))
        await client.socket.send(frame, text=True)
        assert (await client.next(type="error"))["reason"] == reason
        await client.pong()


async def test_too_many_faults_stop(place: Place) -> None:
    """Twenty faulty frames within a minute: 4201."""
    async with Client(place.url) as client:
        await client.hello(place.backends.token(new_id()))
        for _ in range(25):
            await client.say(type="dance")
        assert await client.refused() == ("TOO_MANY_ERRORS", 4201)


async def test_binary_and_oversize(place: Place) -> None:
    """Binary: 4200. More than 64 KiB: 1009, in one piece or in fragments."""
    async with Client(place.url) as binary, Client(place.url) as big, Client(place.url) as pieces:
        for client in (binary, big, pieces):
            await client.hello(place.backends.token(new_id()))
        await binary.socket.send(b"\x00\x01")
        assert await binary.refused() == ("BINARY_FRAME", 4200)
        await big.socket.send("x" * 70 * 1024)
        assert await big.closed() == 1009
        await pieces.socket.send(["x" * 40 * 1024, "x" * 40 * 1024])
        assert await pieces.closed() == 1009


async def test_fragmented_frames_are_joined(place: Place) -> None:
    """A frame sent in pieces, with a ping between, is one frame."""
    async with Client(place.url) as client:
        await client.hello(place.backends.token(new_id()))
        await client.socket.send(['{"type":"pi', "", 'ng","ref":"jo', 'ined"}'])
        await client.socket.ping()
        assert (await client.frame()) == {"type": "pong", "ref": "joined"}


async def test_data_that_would_spoil_a_batch(place: Place) -> None:
    """Nested data that protobuf could not read is refused here and takes no neighbour along."""
    a = new_id()
    conversation = place.backends.conversation(a)
    deep: Any = "bottom"
    for _ in range(60):
        deep = {"d": deep}
    async with Client(place.url) as client:
        await client.hello(place.backends.token(a))
        content = {"type": "interactive", "data": deep}
        await client.say(type="send", ref="deep", conversation_id=conversation, message_id=new_id(), content=content)
        await client.send(conversation, new_id(), ref="good")
        assert (await client.next(type="error"))["metadata"]["field"] == "content.data"
        assert (await client.next(type="sent"))["ref"] == "good"


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        ("http://localhost:4200", True),
        ("http://127.0.0.1", True),
        ("https://evil.example", False),
        ("http://localhost.evil:1", False),
    ],
)
async def test_origins(place: Place, origin: str, admitted: bool) -> None:
    """Only listed origins may connect; no Origin is no browser."""
    if admitted:
        async with Client(place.url, origin=origin) as client:
            await client.hello(place.backends.token(new_id()))
    else:
        with pytest.raises(InvalidStatus) as refused:
            await Client(place.url, origin=origin).__aenter__()
        assert refused.value.response.status_code == 403


async def test_other_paths_and_subprotocols(place: Place) -> None:
    """404 elsewhere, 400 for another subprotocol."""
    for url, options, status in (
        (place.url.replace("/v1/ws", "/"), {}, 404),
        (place.url, {"subprotocols": ["mqtt"]}, 400),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await Client(url, **options).__aenter__()
        assert refused.value.response.status_code == status


async def test_too_many_sockets_of_one_user(place: Place) -> None:
    """The twenty-first is sent away for later; the others stay."""
    a = new_id()
    clients = [Client(place.url) for _ in range(21)]
    for client in clients:
        await client.__aenter__()
    try:
        for client in clients[:20]:
            await client.hello(place.backends.token(a))
        await clients[20].say(type="hello", token=place.backends.token(a))
        assert await clients[20].refused() == ("TOO_MANY_SOCKETS", 4013)
        await clients[0].pong()
    finally:
        for client in clients:
            await client.socket.close()


async def test_a_client_that_does_not_read_is_cut_alone(place: Place) -> None:
    """It is closed, memory stays flat, and the reader beside it misses nothing."""
    a, b = new_id(), new_id()
    conversation = place.backends.conversation(a, b)
    async with Client(place.url) as reader, Client(place.url, max_queue=1) as slow:
        await reader.hello(place.backends.token(a))
        await slow.hello(place.backends.token(b))
        slow.socket.transport.pause_reading()
        process = psutil.Process(place.gateway.pid)
        before = process.memory_info().rss
        closes = await place.gateway.metric('chat4all_gateway_closes_total{code="4008"}')
        for number in range(600):
            await place.backends.append(conversation, a, filler="x" * 20_000)
            assert await reader.numbers(1) == [number + 1]
        assert await place.gateway.metric('chat4all_gateway_closes_total{code="4008"}') == closes + 1
        assert process.memory_info().rss - before < 20 * 2**20
        slow.socket.transport.abort()


async def test_a_flood_of_frames_is_slowed_not_cut(place: Place) -> None:
    """20,000 pings at once are all answered, in order, without growing memory."""
    async with Client(place.url) as client:
        await client.hello(place.backends.token(new_id()))
        process = psutil.Process(place.gateway.pid)
        before = process.memory_info().rss

        async def flood() -> None:
            for number in range(20_000):
                await client.say(type="ping", ref=str(number))

        flooding = asyncio.create_task(flood())
        for number in range(20_000):
            assert (await client.frame(30))["ref"] == str(number)
        await flooding
        assert process.memory_info().rss - before < 20 * 2**20


async def test_frames_said_right_after_hello_wait_for_the_welcome(place: Place) -> None:
    """A client need not wait: its frames are handled in order after the welcome."""
    a = new_id()
    conversation = place.backends.conversation(a)
    async with Client(place.url) as client:
        await client.say(type="hello", token=place.backends.token(a))
        await client.send(conversation, new_id())
        await client.say(type="ping", ref="p")
        assert (await client.frame())["type"] == "welcome"
        await client.next(type="sent", state="stored")
        assert {"type": "pong", "ref": "p"} in client.seen


async def test_outstanding_sends_are_bounded(place: Place) -> None:
    """When nothing is accepted, sends beyond the limit are refused with when to come back."""
    a = new_id()
    conversation = place.backends.conversation(a)
    more = {"CHAT4ALL_WEBSOCKET__MAX_OUTSTANDING_SENDS": "10", "CHAT4ALL_SEND__DEADLINE_SECONDS": "1"}
    async with GatewayProcess({**place.backends.environment(), **QUICK, **more}) as gateway, Client(gateway.url) as client:
        await client.hello(place.backends.token(a))
        place.backends.away.add("message")
        for number in range(12):
            await client.send(conversation, new_id(), ref=str(number))
        refused = [await client.next(type="error") for _ in range(2)]
        assert [(frame["ref"], frame["reason"]) for frame in refused] == [
            ("10", "TOO_MANY_OUTSTANDING"),
            ("11", "TOO_MANY_OUTSTANDING"),
        ]
        unknown = [await client.next(type="error") for _ in range(10)]
        # What waited behind the first call was never tried.
        assert {frame["reason"] for frame in unknown} <= {"OUTCOME_UNKNOWN", "MESSAGE_UNAVAILABLE"}
        assert all(frame["retry_after_seconds"] > 0 for frame in unknown)
