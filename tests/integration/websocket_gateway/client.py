"""A person's socket in these tests: the real `websockets` client, with waiting for frames by what they say."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]


class Client:
    """Connects on entering; what was not asked for is kept in `seen`."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = {"subprotocols": ["chat4all.v1.json"], "compression": None, "max_size": 2**22, "proxy": None} | options
        self.seen: deque[Frame] = deque()
        self.socket: ClientConnection

    async def __aenter__(self) -> Client:
        self.socket = await connect(self._url, **self._options)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.socket.close()

    async def say(self, **frame: Any) -> None:
        """Send one frame."""
        await self.socket.send(orjson.dumps(frame), text=True)

    async def hello(self, token: str, **more: Any) -> Frame:
        """Say hello and wait for the welcome."""
        await self.say(type="hello", token=token, **more)
        return await self.next(type="welcome")

    async def send(self, conversation_id: str, message_id: str, text: str = "hi", ref: str = "r") -> None:
        """Send a text message."""
        content = {"type": "text", "text": text}
        await self.say(type="send", ref=ref, conversation_id=conversation_id, message_id=message_id, content=content)

    async def next(self, seconds: float = 5.0, **wanted: Any) -> Frame:
        """The next frame with these fields; others before it are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                frame = await self.frame(seconds)
                if all(frame.get(name) == value for name, value in wanted.items()):
                    return frame

    async def frame(self, seconds: float = 5.0) -> Frame:
        """The next frame, whatever it is."""
        async with asyncio.timeout(seconds):
            frame: Frame = orjson.loads(await self.socket.recv())
        self.seen.append(frame)
        return frame

    async def frames(self, count: int, seconds: float = 5.0) -> list[Frame]:
        """The next so many frames."""
        return [await self.frame(seconds) for _ in range(count)]

    async def numbers(self, count: int, seconds: float = 5.0) -> list[int]:
        """The sequence numbers of the next so many numbered events."""
        found: list[int] = []
        while len(found) < count:
            frame = await self.frame(seconds)
            if frame["type"] == "event" and frame.get("sequence_number"):
                found.append(frame["sequence_number"])
        return found

    async def pong(self) -> list[Frame]:
        """Everything that came before the answer to a ping sent now: proof that nothing else is on its way."""
        await self.say(type="ping", ref="proof")
        before: list[Frame] = []
        while (frame := await self.frame())["type"] != "pong":
            before.append(frame)
        return before

    async def closed(self, seconds: float = 5.0) -> int:
        """The code the server closes with."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.seen.append(orjson.loads(await self.socket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    async def refused(self, seconds: float = 5.0) -> tuple[str, int]:
        """The reason of the last error before the close, and the code."""
        code = await self.closed(seconds)
        reasons = [frame["reason"] for frame in self.seen if frame["type"] == "error"]
        return (reasons[-1] if reasons else ""), code
