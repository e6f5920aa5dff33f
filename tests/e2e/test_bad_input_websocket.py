"""Bad input on the WebSocket: an error with a reason or a close with a documented code, never a crash, never a change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio
from e2e.conftest import Copy
from e2e.test_bad_input_rest import Scene, forged, scene, tampered, unsigned
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from chat4all_cli.live import SUBPROTOCOL
from chat4all_cli.rest import RestClient
from chat4all_runtime.ids import new_id

__all__ = ["scene"]  # the fixture

_WAIT_SECONDS = 15.0


async def opened(copy: Copy) -> ClientConnection:
    """A socket that has not said hello."""
    return await connect(copy.live_url, subprotocols=[SUBPROTOCOL], compression=None, max_size=2**22, proxy=None)


async def greeted(copy: Copy, rest: RestClient) -> ClientConnection:
    """A socket that was welcomed."""
    socket = await opened(copy)
    await socket.send(orjson.dumps({"type": "hello", "token": await rest.access_token(), "device_id": new_id()}), text=True)
    assert orjson.loads(await socket.recv())["type"] == "welcome"
    return socket


@pytest_asyncio.fixture(loop_scope="session")
async def socket(scene: Scene) -> AsyncIterator[ClientConnection]:
    """A welcomed socket of person 0."""
    connection = await greeted(scene.copy, scene.rest)
    yield connection
    await connection.close()


async def answer(socket: ClientConnection, kind: str) -> Any:
    """The next frame of that type."""
    while True:
        frame = orjson.loads(await socket.recv())
        if frame["type"] == kind:
            return frame


async def close_code(socket: ClientConnection) -> int:
    """With which code the server closes."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def send(scene: Scene, **change: Any) -> dict[str, Any]:
    """A good send, changed."""
    frame: dict[str, Any] = {
        "type": "send",
        "ref": "r",
        "conversation_id": scene.mine,
        "message_id": new_id(),
        "content": text("hi"),
    }
    return frame | change


def text(value: Any) -> dict[str, Any]:
    """Text content."""
    return {"type": "text", "text": value}


FRAMES: dict[str, Any] = {
    "malformed JSON": lambda scene: b'{"type":',
    "a list": lambda scene: b"[1,2]",
    "a number": lambda scene: b"7",
    "no type": lambda scene: {"ref": "x"},
    "a type that is a number": lambda scene: {"type": 7},
    "an unknown type": lambda scene: {"type": "dance", "ref": "x"},
    "send without a conversation": lambda scene: {"type": "send", "ref": "r", "message_id": new_id(), "content": text("x")},
    "send without an id": lambda scene: {"type": "send", "ref": "r", "conversation_id": scene.mine, "content": text("x")},
    "send of a number": lambda scene: send(scene, content=5),
    "send of no text": lambda scene: send(scene, content=text("")),
    "send of 10,001 characters": lambda scene: send(scene, content=text("x" * 10_001)),
    "send of a control character": lambda scene: send(scene, content=text("a\x00b")),
    "send of system content": lambda scene: send(scene, content={"type": "system"}),
    "send with an id of another shape": lambda scene: send(scene, message_id="42"),
    "send to a foreign conversation": lambda scene: send(scene, conversation_id=scene.theirs),
    "send to no conversation": lambda scene: send(scene, conversation_id=new_id()),
    "lone surrogate": lambda scene: orjson.dumps(send(scene)).replace(b'"hi"', b'"\\ud800"'),
    "sync of a foreign conversation": lambda scene: {
        "type": "sync",
        "ref": "r",
        "conversation_id": scene.theirs,
        "after_sequence_number": 0,
    },
    "ack with a word": lambda scene: {"type": "ack", "conversation_id": scene.mine, "sequence_number": "many"},
    "ack below zero": lambda scene: {"type": "ack", "conversation_id": scene.mine, "sequence_number": -1},
    "typing in a foreign conversation": lambda scene: {"type": "typing", "conversation_id": scene.theirs, "state": "started"},
    "typing of another state": lambda scene: {"type": "typing", "conversation_id": scene.mine, "state": "dancing"},
    "watching 201 people": lambda scene: {"type": "presence", "state": "active", "watch": [new_id()] * 201},
    "deep nesting": lambda scene: b'{"type":"send","content":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_each_frame_is_refused(kind: str, scene: Scene, socket: ClientConnection) -> None:
    """An error with a reason; the connection stays good, and nothing was written."""
    before = await scene.rest.history(scene.mine)
    frame = FRAMES[kind](scene)
    await socket.send(frame if isinstance(frame, bytes) else orjson.dumps(frame), text=True)
    refusal = await answer(socket, "error")
    assert refusal["reason"] == refusal["reason"].upper()
    assert refusal["message"]
    await socket.send(orjson.dumps({"type": "ping", "ref": "still here"}), text=True)
    assert (await answer(socket, "pong"))["ref"] == "still here"
    assert await scene.rest.history(scene.mine) == before


async def test_a_frame_of_70_kib_closes(socket: ClientConnection) -> None:
    """Too big: 1009."""
    await socket.send("x" * 70 * 1024)
    assert await close_code(socket) == 1009


async def test_a_binary_frame_closes(socket: ClientConnection) -> None:
    """The protocol is text: stop."""
    await socket.send(b"\x00\x01")
    assert 4200 <= await close_code(socket) < 4300


async def test_a_second_hello_closes(scene: Scene, socket: ClientConnection) -> None:
    """Hello is said once."""
    await socket.send(orjson.dumps({"type": "hello", "token": await scene.rest.access_token(), "device_id": "d"}), text=True)
    assert 4200 <= await close_code(socket) < 4300


async def test_no_hello_closes(scene: Scene) -> None:
    """Ten seconds of silence: 4100."""
    socket = await opened(scene.copy)
    assert await close_code(socket) == 4100


async def test_a_frame_before_hello_closes(scene: Scene) -> None:
    """Nothing works before hello."""
    socket = await opened(scene.copy)
    await socket.send(orjson.dumps(send(scene)), text=True)
    assert 4100 <= await close_code(socket) < 4300


@pytest.mark.parametrize("kind", ["empty", "garbage", "forged", "tampered", "unsigned", "wrong type", "missing"])
async def test_each_token_is_refused(kind: str, scene: Scene) -> None:
    """Sign in again."""
    good = await scene.rest.access_token()
    hello: dict[str, Any] = {"type": "hello", "device_id": "d", "token": {
        "empty": "", "garbage": "garbage", "forged": forged(), "tampered": tampered(good), "unsigned": unsigned(good), "wrong type": 7,
    }.get(kind)}  # fmt: skip
    if kind == "missing":
        del hello["token"]
    socket = await opened(scene.copy)
    await socket.send(orjson.dumps(hello), text=True)
    assert 4100 <= await close_code(socket) < 4300


async def test_a_thousand_sends_at_once(scene: Scene, socket: ClientConnection) -> None:
    """Each gets an answer: accepted, or an error that says when to come back. The honest client is not dropped."""
    conversation = await scene.rest.create_conversation("group", [scene.partner], "burst", new_id())
    pid = scene.copy.stack.pid("websocket-gateway")
    before = psutil.Process(pid).memory_info().rss
    for number in range(1000):
        frame = send(scene, conversation_id=conversation["conversation_id"], ref=str(number))
        await socket.send(orjson.dumps(frame), text=True)
    accepted: set[str] = set()
    refused: dict[str, Any] = {}
    while len(accepted) + len(refused) < 1000:
        frame = orjson.loads(await socket.recv())
        if frame["type"] == "sent" and frame["state"] == "accepted":
            accepted.add(frame["ref"])
        elif frame["type"] == "error":
            refused[frame["ref"]] = frame
    assert accepted
    assert all(frame["retry_after_seconds"] > 0 for frame in refused.values())
    rows = await _stored(scene, conversation["conversation_id"], len(accepted))
    assert len(rows) == len(accepted)
    assert psutil.Process(pid).memory_info().rss - before < 20 * 2**20


async def _stored(scene: Scene, conversation_id: str, wanted: int) -> list[Any]:
    """The log once it holds what was accepted; the last one is sent with a wait, so nothing is polled for."""
    done = await scene.rest.send(conversation_id, new_id(), text("the end"), "WAIT_FOR_STORED")
    rows = await scene.rest.history(conversation_id, upto=done["message"]["sequence_number"] - 1)
    assert len(rows) <= wanted
    return rows
