"""A unary gRPC client that costs next to nothing, so that the bench measures the server and not itself.

Just enough HTTP/2 (RFC 9113) for many small calls on one connection: each call is one HEADERS and one DATA frame, its header block is
written without Huffman coding or a dynamic table, so it is the same bytes for each call of a person. Response headers are not
decoded: gRPC sends a DATA frame with the message when a call succeeds, and none when it fails.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import deque
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_LARGEST_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65_535
_LARGEST_MESSAGE = 16_384 - 5  # SETTINGS_MAX_FRAME_SIZE where nothing else was agreed, less gRPC's prefix
_HEAD = struct.Struct("!HBBBL")  # length (the first 16 of its 24 bits apart), type, flags, stream


class CallFailed(Exception):
    """A call ended without an answer."""


class LightCaller(asyncio.Protocol):
    """One connection; calls go side by side."""

    def __init__(self) -> None:
        self._buffer = b""
        self._next_stream = 1
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._answers: dict[int, bytes] = {}
        # What the server lets us send on this connection, and the calls that wait for it.
        self._window = _FIRST_WINDOW
        self._held: deque[tuple[int, bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, target: str) -> LightCaller:
        """Connect to host:port."""
        host, _, port = target.rpartition(":")
        _, caller = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack("!HL", 4, _LARGEST_WINDOW)  # SETTINGS_INITIAL_WINDOW_SIZE: answers never wait for us
        window = struct.pack("!L", _LARGEST_WINDOW - _FIRST_WINDOW)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def call(self, head: bytes, message: bytes) -> asyncio.Future[bytes]:
        """One call; the serialized answer. At most 1,000,000,000 on one connection, and about 2 GB of answers.

        Args:
            head: from `header_block`.
            message: serialized, at most 16,379 bytes.

        Raises:
            ValueError: the message is too large.
            CallFailed: from the future, when the server refused or the connection went away.
        """
        stream = self._next_stream
        self._next_stream += 2
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[stream] = answer
        if len(message) > _LARGEST_MESSAGE:
            raise ValueError(f"{len(message)} bytes do not fit into one frame")
        self._transport.write(_frame(_HEADERS, _END_HEADERS, stream, head))
        self._held.append((stream, b"\0" + len(message).to_bytes(4, "big") + message))
        self._send_held()
        return answer

    def _send_held(self) -> None:
        while self._held and len(self._held[0][1]) <= self._window:
            stream, body = self._held.popleft()
            self._window -= len(body)
            self._transport.write(_frame(_DATA, _END_STREAM, stream, body))

    def data_received(self, data: bytes) -> None:
        """Called by the loop: split what came into frames."""
        buffer = self._buffer + data if self._buffer else data
        position, size = 0, len(buffer)
        while size - position >= 9:
            end = position + 9 + int.from_bytes(buffer[position : position + 3], "big")
            if end > size:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            stream = int.from_bytes(buffer[position + 5 : position + 9], "big")
            if kind == _DATA and not flags & _PADDED:
                self._answers[stream] = self._answers.get(stream, b"") + buffer[position + 9 : end]
            elif kind == _WINDOW_UPDATE and stream == 0:
                self._window += int.from_bytes(buffer[position + 9 : end], "big")
                self._send_held()
            elif kind == _RST_STREAM:
                self._end(stream)
            elif kind == _SETTINGS and not flags & _ACK:
                self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, buffer[position + 9 : end]))
            elif kind == _GOAWAY:
                self._transport.close()
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                self._end(stream, buffer[position + 9 : end])
            position = end
        self._buffer = buffer[position:]

    def _end(self, stream: int, trailers: bytes = b"") -> None:
        waiting = self._waiting.pop(stream, None)
        answer = self._answers.pop(stream, None)
        if waiting is None or waiting.done():
            return
        if answer is None:
            # What can be read of the headers as they are; a server that uses Huffman coding keeps its reason to itself.
            words = " ".join(word.decode() for word in re.findall(rb"[ -~]{4,}", trailers))
            waiting.set_exception(CallFailed(f"the server refused the call: {words}"))
        else:
            waiting.set_result(answer[5:])

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        for stream in list(self._waiting):
            self._answers.pop(stream, None)
            self._end(stream)

    def close(self) -> None:
        """Go."""
        self._transport.close()


def header_block(path: str, target: str, token: str) -> bytes:
    """The header block of a call: RFC 7541, literals without indexing but for what the static table has."""
    fields = [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "10S"),
        ("authorization", f"Bearer {token}"),
    ]
    block = b"\x83\x86"  # :method POST, :scheme http
    block += b"\x04" + _text(path) + b"\x01" + _text(target)  # :path, :authority, names from the static table
    for name, value in fields:
        block += b"\0" + _text(name) + _text(value)
    return block


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, prefix = len(data) - 127, b"\x7f"
    while rest >= 128:
        prefix += bytes([rest % 128 + 128])
        rest //= 128
    return prefix + bytes([rest]) + data


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload
