"""WebSocket frames as bytes (RFC 6455, section 5.2), built once per message and shared by everybody who gets it.

Legal because no extension is negotiated and frames from a server are not masked: the bytes are the same for all sockets.
"""

from __future__ import annotations

PING = b"\x89\x00"


def text_frame(payload: bytes) -> bytes:
    """One whole, final text frame around UTF-8 bytes."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payload_of(frame: bytes) -> bytes:
    """The payload of a frame that `text_frame` built."""
    size = frame[1]
    return frame[2:] if size < 126 else frame[4:] if size == 126 else frame[10:]
