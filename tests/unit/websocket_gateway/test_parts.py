"""The small parts: wire format, token bucket, origins, marks, presence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.websocket_gateway.doubles import Socket
from websockets.frames import Frame, Opcode

from chat4all.conversation.v1.conversation_service_pb2 import Mark
from chat4all.presence.v1.presence_service_pb2 import Heartbeat
from chat4all_runtime.errors import unavailable
from chat4all_websocket_gateway.connections import origin_check
from chat4all_websocket_gateway.limits import take
from chat4all_websocket_gateway.marks import Marks
from chat4all_websocket_gateway.presence import Presence, Watchers
from chat4all_websocket_gateway.settings import LOCAL_ORIGINS, PresenceSettings
from chat4all_websocket_gateway.wire import payload_of, text_frame


@pytest.mark.parametrize("size", [0, 1, 123, 125, 126, 127, 65535, 65536, 70000])
def test_frames_are_what_websockets_writes(size: int) -> None:
    """Byte for byte what the library would send, for every length of header."""
    payload = b"{" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert payload_of(text_frame(payload)) == payload


@dataclass
class Bucket:
    """A bucket alone."""

    tokens: float = -1.0
    tokens_at: float = 0.0


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 20), st.floats(0.5, 50))
def test_the_bucket_never_gives_more(gaps: list[float], burst: int, rate: float) -> None:
    """Never more than the burst plus the rate over the time; a refusal says when there is one again."""
    bucket, now, taken = Bucket(), 100.0, 0
    for gap in gaps:
        now += gap
        wait = take(bucket, now, rate, burst)
        if wait:
            assert take(Bucket(bucket.tokens, bucket.tokens_at), now + wait + 1e-6, rate, burst) == 0
        else:
            taken += 1
        assert taken <= burst + rate * (now - 100.0) + 1e-6


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:4200", True),
        ("http://localhost", True),
        ("https://127.0.0.1:443", True),
        ("http://[::1]:8080", True),
        ("http://localhost:", False),
        ("http://localhost:80.evil", False),
        ("http://localhost.evil:80", False),
        ("null", False),
        ("https://app.example", True),
        ("https://app.example:8443", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:
    """Exact, or any port where the setting says so."""
    assert origin_check([*LOCAL_ORIGINS, "https://app.example"])(origin) is allowed


async def test_marks_merge_and_survive() -> None:
    """The highest of each is told, a failed call loses nothing, and what comes meanwhile is merged."""
    told: list[Mark] = []
    failures = [unavailable("conversation")]

    async def record(marks: Sequence[Mark]) -> None:
        if failures:
            marks_again.add("c", "u", 9, read=False)
            raise failures.pop()
        told.extend(marks)

    marks_again = Marks(record)
    for number in (3, 8, 5):
        assert marks_again.add("c", "u", number, read=False)
    marks_again.add("c", "u", 6, read=True)
    assert await marks_again.flush(5)
    assert [(mark.delivered_sequence_number, mark.read_sequence_number) for mark in told] == [(9, 6)]


class Device(Socket):
    """A signed-in socket of a device."""

    def __init__(self, device_id: str) -> None:
        super().__init__()
        self.device_id = device_id
        self.watching: frozenset[str] = frozenset()

    @property
    def owner(self) -> Any:
        """Who it belongs to."""

        class Owner:
            tenant_id, user_id = "t", "u"

        return Owner


async def test_devices() -> None:
    """Two sockets are one device: away only when both are, offline only when both are gone, in one call with all others."""
    calls: list[dict[str, int]] = []
    changed = asyncio.Event()

    async def record(heartbeats: Sequence[Heartbeat]) -> None:
        calls.append({heartbeat.device_id: heartbeat.state for heartbeat in heartbeats})
        changed.set()

    async def report() -> dict[str, int]:
        await asyncio.wait_for(changed.wait(), 5)
        changed.clear()
        return calls[-1]

    presence = Presence(PresenceSettings(target="x", offline_grace_seconds=0.0), record)
    work = asyncio.create_task(presence.run(asyncio.Event()))
    one, two, other = Device("phone"), Device("phone"), Device("desk")
    for socket in (one, two, other):
        presence.came(socket.it)
    assert await report() == {"phone": 1, "desk": 1}
    presence.changed(one.it, away=True)
    assert await report() == {"phone": 1}
    presence.changed(two.it, away=True)
    assert await report() == {"phone": 2}
    presence.left(one.it)
    assert await report() == {"phone": 2}
    presence.left(two.it)
    assert await report() == {"phone": 3}
    work.cancel()
    await asyncio.wait({work})


async def test_watchers() -> None:
    """The channel is followed while anybody watches; only watched people of the own tenant are shown."""
    log: list[str] = []
    handlers: list[Any] = []

    def subscribe(channel: bytes, handler: Any) -> None:
        log.append("subscribe")
        handlers.append(handler)

    watchers = Watchers(subscribe, lambda channel: log.append("unsubscribe"))
    one, two = Device("a"), Device("b")
    for socket in (one, two):
        socket.user.tenant_id = "t"  # type: ignore[attr-defined]
    watchers.watch(one.it, frozenset(["x", "y"]))
    watchers.watch(two.it, frozenset(["y"]))
    handlers[0](b't\t0\tx\t\t{"n":1}\nt\t0\ty\t\t{"n":2}\nt\t0\ty\telsewhere\t{"n":3}\nt\t0\tz\t\t{"n":4}')
    assert [frame["n"] for frame in one.frames()] == [1, 2]
    assert [frame["n"] for frame in two.frames()] == [2]
    watchers.watch(one.it, frozenset())
    watchers.watch(two.it, frozenset())
    assert log == ["subscribe", "unsubscribe"]
