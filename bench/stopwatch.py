"""End-to-end times: the sender writes the time into the text, the receiver's socket reads it back. One clock, one machine."""

from __future__ import annotations

import time
from collections.abc import Callable

TEXT_BYTES = 200
_MARK = b'"text":"T'
_SENT = b'"type":"sent"'
_ACCEPTED = b'"accepted"'


def stamped_text() -> str:
    """A text of 200 bytes that begins with the time now, in ns of the monotonic clock."""
    return f"T{time.monotonic_ns():020d} ".ljust(TEXT_BYTES, "x")


class Receiver:
    """Counts messages and their times on one or many sockets."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.received = 0
        self.accepted = 0
        self.errors: list[bytes] = []

    def take(self, payload: bytes) -> None:
        """One frame: an event with a stamp, an answer to a send, or an error."""
        at = payload.find(_MARK)
        if at >= 0:
            self.received += 1
            sent = int(payload[at + len(_MARK) : at + len(_MARK) + 20])
            self.milliseconds.append((time.monotonic_ns() - sent) / 1e6)
        elif _SENT in payload[:20]:
            if _ACCEPTED in payload:
                self.accepted += 1
        elif payload.startswith(b'{"type":"error"'):
            self.errors.append(payload)

    def only_count(self, payload: bytes) -> None:
        """The cheapest: one more event."""
        if _MARK in payload:
            self.received += 1


def sampled(receiver: Receiver, every: int) -> Callable[[bytes], None]:
    """Measure one of `every` frames and count the rest."""
    seen = 0

    def take(payload: bytes) -> None:
        nonlocal seen
        seen += 1
        if seen % every:
            receiver.only_count(payload)
        else:
            receiver.take(payload)

    return take
