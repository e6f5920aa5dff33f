"""A WebSocket client that costs next to nothing, so that the bench measures the server and not itself.

It frames and unframes by hand on an asyncio Protocol. Frames it sends are masked with the key zero, which RFC 6455 allows and
which leaves the bytes as they are.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

OnText = Callable[[bytes], None]


class LightSocket(asyncio.Protocol):
    """One connection. `on_text` gets each text frame's payload; set it before traffic is expected."""

    def __init__(self) -> None:
        self.on_text: OnText = lambda payload: None
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport

    @classmethod
    async def open(
        cls, url: str, token: str, device_id: str, cursors: dict[str, int] | None = None, source: str | None = None
    ) -> LightSocket:
        """Connect, say hello and wait for the welcome.

        Raises:
            ConnectionError: the server closed or refused.
        """
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(
            cls, str(parts.hostname), int(parts.port or 80), local_addr=(source, 0) if source else None
        )
        request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: chat4all.v1.json\r\n\r\n"
        )
        socket._transport.write(request.encode())
        await asyncio.wait_for(socket._opened, 30)
        welcome: asyncio.Future[bytes] = loop.create_future()

        def first(payload: bytes) -> None:
            if not welcome.done():
                welcome.set_result(payload)

        socket.on_text = first
        socket.send(
            {
                "type": "hello",
                "token": token,
                "device_id": device_id,
                "cursors": cursors or {},
                "client": {"name": "bench", "version": "1"},
            }
        )
        answer = orjson.loads(await asyncio.wait_for(welcome, 30))
        if answer["type"] != "welcome":
            raise ConnectionError(str(answer))
        socket.on_text = lambda payload: None
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass

    def data_received(self, data: bytes) -> None:
        """Called by the loop: split what came into frames."""
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(buffer[:end])
            del buffer[: end + 4]
            if not head.startswith(b"HTTP/1.1 101"):
                self._opened.set_exception(ConnectionError(head.split(b"\r\n", 1)[0].decode()))
                self._transport.close()
                return
            self._upgraded = True
            self._opened.set_result(None)
        self._split()

    def _split(self) -> None:
        buffer = self._buffer
        view = bytes(buffer)
        position, size = 0, len(view)
        while size - position >= 2:
            length = view[position + 1] & 0x7F
            start = position + 2
            if length == 126:
                if size - position < 4:
                    break
                length = (view[position + 2] << 8) | view[position + 3]
                start = position + 4
            elif length == 127:
                if size - position < 10:
                    break
                length = struct.unpack_from("!Q", view, position + 2)[0]
                start = position + 10
            if size - start < length:
                break
            opcode = view[position] & 0x0F
            payload = view[start : start + length]
            position = start + length
            if opcode == 1:
                self.on_text(payload)
            elif opcode == 9:
                self._transport.write(b"\x8a" + bytes([0x80 | len(payload)]) + b"\0\0\0\0" + payload)
            elif opcode == 8 and not self.closed.done():
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self.closed.set_result(f"{code} {payload[2:].decode(errors='replace')}")
        del buffer[:position]

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("closed before the upgrade"))
        if not self.closed.done():
            self.closed.set_result(f"lost {error}")

    def send(self, frame: dict[str, object]) -> None:
        """Send one frame."""
        self.send_raw(orjson.dumps(frame))

    def send_raw(self, payload: bytes) -> None:
        """Send one frame that is encoded already."""
        length = len(payload)
        head = bytes([129, 128 | length]) if length < 126 else b"\x81\xfe" + length.to_bytes(2, "big")
        self._transport.write(head + b"\0\0\0\0" + payload)

    def close(self) -> None:
        """Go without a word."""
        self._transport.close()
