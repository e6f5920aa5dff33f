"""Sends: gathered, in order, answered once, tried again, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from unit.websocket_gateway.doubles import Socket

from chat4all.message.v1 import message_pb2
from chat4all.message.v1.message_service_pb2 import SendMessageRequest, SendMessageResult, Submission
from chat4all_runtime.errors import Code, DomainError, unavailable
from chat4all_runtime.grpc_errors import to_status
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.sending import Sending
from chat4all_websocket_gateway.settings import SendSettings


def submission(message_id: str, conversation_id: str = "c", text: str = "") -> Submission:
    """One send."""
    request = SendMessageRequest(conversation_id=conversation_id, message_id=message_id)
    request.content.text = text
    return Submission(tenant_id="t", sender_user_id="u", request=request)


class Service:
    """The message service: answers with `answer`, in order of calls; waits while `gate` is closed."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[DomainError] = []
        self.answer: Callable[[Submission], SendMessageResult] = lambda item: SendMessageResult(
            message_id=item.request.message_id, state=message_pb2.MESSAGE_STATE_ACCEPTED
        )

    async def submit(self, items: Sequence[Submission], timeout_seconds: float) -> Sequence[SendMessageResult]:
        """One call."""
        self.calls.append([item.request.message_id for item in items])
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return [self.answer(item) for item in items]


@asynccontextmanager
async def sending_to(service: Service, **settings: Any) -> AsyncIterator[Sending]:
    """A running coalescer."""
    sending = Sending(SendSettings(**settings), service.submit, lambda _: None)
    work = asyncio.create_task(sending.run(asyncio.Event()))
    try:
        yield sending
    finally:
        work.cancel()
        await asyncio.wait({work})


def seen(number: int, message_id: str, sender: str = "u", conversation_id: str = "c") -> tuple[Feed, Entry]:
    """The entry as the feed shows it."""

    class Shown:
        pass

    shown = Shown()
    shown.conversation_id = conversation_id  # type: ignore[attr-defined]
    return cast(Feed, shown), Entry(number, False, sender.encode(), message_id.encode(), b"")


def states(socket: Socket) -> list[tuple[str, str | None]]:
    """What the client was told, in order."""
    return [(frame.get("ref", ""), frame.get("state", frame.get("reason"))) for frame in socket.frames()]


async def settled(sending: Sending) -> None:
    """Wait until nothing is queued."""
    assert await sending.idle(5)


async def test_under_load_sends_go_together() -> None:
    """Frequent sends of all conversations share calls a pace apart; rare ones leave at once."""
    service, socket = Service(), Socket()
    async with sending_to(service, pace_ms=50) as sending:
        for number in range(200):
            sending.offer(socket.it, None, submission(f"{number:03}", conversation_id=f"c{number % 20}"))
            await asyncio.sleep(0.001)
        await settled(sending)
        assert sum(len(call) for call in service.calls) == 200
        # The first few make the load known; then twenty conversations wait for each call.
        assert max(len(call) for call in service.calls) >= 15
        await asyncio.sleep(0.5)
        service.calls.clear()
        for number in range(30):
            sending.offer(socket.it, None, submission(f"rare-{number}"))
            await asyncio.sleep(0.02)
        assert service.calls[-1] == ["rare-29"]


async def test_a_slow_conversation_holds_up_no_other() -> None:
    """While a call is under way the next one goes without its conversations, whose sends wait for their turn."""
    service, socket = Service(), Socket()
    service.gate.clear()
    async with sending_to(service, pace_ms=0) as sending:
        for number, conversation_id in enumerate(("slow", "other", "slow", "other")):
            sending.offer(socket.it, None, submission(f"m{number}", conversation_id=conversation_id))
            await asyncio.sleep(0.005)
        assert service.calls == [["m0"], ["m1"]]
        service.gate.set()
        await settled(sending)
    assert sorted(service.calls[2:]) in ([["m2"], ["m3"]], [["m2", "m3"]])


async def test_at_once_then_together() -> None:
    """The first leaves alone; what comes meanwhile goes in one call, as many as allowed, in order."""
    service, socket = Service(), Socket()
    service.gate.clear()
    async with sending_to(service, batch_items=3, pace_ms=0) as sending:
        for number in range(6):
            sending.offer(socket.it, None, submission(f"m{number}"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        service.gate.set()
        await settled(sending)
    assert service.calls == [["m0"], ["m1", "m2", "m3"], ["m4", "m5"]]


async def test_large_sends_are_split_by_bytes() -> None:
    """A call stays below gRPC's limit whatever the items weigh."""
    service, socket = Service(), Socket()
    service.gate.clear()
    async with sending_to(service, batch_items=200) as sending:
        for number in range(101):
            sending.offer(socket.it, None, submission(f"m{number}", text="x" * 60_000))
        service.gate.set()
        await settled(sending)
    assert max(len(call) for call in service.calls) <= 34
    assert [message_id for call in service.calls for message_id in call] == [f"m{number}" for number in range(101)]


async def test_accepted_then_stored_once_each() -> None:
    """Both come once, accepted first, even when the feed is faster or tells twice."""
    service, socket = Service(), Socket()
    service.gate.clear()
    async with sending_to(service) as sending:
        sending.offer(socket.it, "fast", submission("m1"))
        await asyncio.sleep(0.01)
        sending.stored(*seen(7, "m1"))
        service.gate.set()
        await settled(sending)
        sending.offer(socket.it, "slow", submission("m2"))
        await settled(sending)
        sending.stored(*seen(8, "m2"))
        sending.stored(*seen(8, "m2"))
    assert states(socket) == [("fast", "accepted"), ("fast", "stored"), ("slow", "accepted"), ("slow", "stored")]
    assert (socket.outstanding, sending.awaited) == (0, {})


async def test_somebody_elses_id_is_not_ours() -> None:
    """An entry with the awaited id by another sender, or elsewhere, answers nothing."""
    service, socket = Service(), Socket()
    async with sending_to(service) as sending:
        sending.offer(socket.it, "r", submission("m"))
        await settled(sending)
        sending.stored(*seen(1, "m", sender="other"))
        sending.stored(*seen(1, "m", conversation_id="other"))
        assert states(socket) == [("r", "accepted")]


async def test_stored_answer_of_the_service() -> None:
    """A repeat is answered at once with its number."""
    service, socket = Service(), Socket()
    service.answer = lambda item: SendMessageResult(
        message_id="m", state=message_pb2.MESSAGE_STATE_STORED, message=message_pb2.Message(sequence_number=5)
    )
    async with sending_to(service) as sending:
        sending.offer(socket.it, "r", submission("m"))
        await settled(sending)
    assert socket.frames()[-1]["sequence_number"] == 5


async def test_tried_again_in_order() -> None:
    """After an outage the same items go again before later ones; an item refused for now goes again too."""
    service, socket = Service(), Socket()
    service.failures = [unavailable("message")]
    refusals = [to_status(unavailable("kafka"), "message")]

    def answer(item: Submission) -> SendMessageResult:
        if item.request.message_id == "m0" and refusals:
            return SendMessageResult(message_id="m0", error=refusals.pop())
        return SendMessageResult(message_id=item.request.message_id, state=message_pb2.MESSAGE_STATE_ACCEPTED)

    service.answer = answer
    async with sending_to(service) as sending:
        sending.offer(socket.it, "0", submission("m0"))
        await asyncio.sleep(0.01)
        sending.offer(socket.it, "1", submission("m1"))
        await settled(sending)
    assert service.calls == [["m0"], ["m0"], ["m0"], ["m1"]]
    assert states(socket) == [("0", "accepted"), ("1", "accepted")]


async def test_outcome_unknown_at_the_deadline() -> None:
    """A send that was tried in vain until its deadline: unknown, with when to send it again."""
    service, socket = Service(), Socket()
    service.failures = [unavailable("message")] * 1000
    async with sending_to(service, deadline_seconds=0.3) as sending:
        sending.offer(socket.it, "r", submission("m"))
        await settled(sending)
    error = socket.frames()[0]
    assert (error["reason"], error["retry_after_seconds"], error["metadata"]["message_id"]) == ("OUTCOME_UNKNOWN", 1.0, "m")
    assert (socket.outstanding, sending.awaited) == (0, {})


async def test_one_bad_item_does_not_spoil_its_call() -> None:
    """When a whole call is refused, each item is tried alone: only the bad one is refused."""
    service, socket = Service(), Socket()
    bad = DomainError(Code.INTERNAL, "INTERNAL", "broken")

    async def submit(items: Sequence[Submission], timeout_seconds: float) -> Sequence[SendMessageResult]:
        if any(item.request.message_id == "bad" for item in items):
            raise bad
        return await service.submit(items, timeout_seconds)

    sending = Sending(SendSettings(calls=1), submit, lambda _: None)
    for name in ("a", "bad", "b"):
        sending.offer(socket.it, name, submission(name))
    work = asyncio.create_task(sending.run(asyncio.Event()))
    await settled(sending)
    work.cancel()
    await asyncio.wait({work})
    assert states(socket) == [("a", "accepted"), ("bad", "INTERNAL"), ("b", "accepted")]


async def test_the_queue_is_bounded() -> None:
    """No room: refused, with when to come back."""
    service, socket = Service(), Socket()
    sending = Sending(SendSettings(queue_items=100), service.submit, lambda _: None)
    answers = [sending.offer(socket.it, None, submission(f"m{number}")) for number in range(101)]
    assert answers[:100] == [None] * 100
    refused = answers[100]
    assert refused is not None
    assert refused.retry_after is not None


@pytest.mark.parametrize("calls", [1, 4])
async def test_order_within_a_conversation(calls: int) -> None:
    """However calls overlap, one conversation's sends arrive in the order they were given."""
    arrived: list[str] = []

    async def submit(items: Sequence[Submission], timeout_seconds: float) -> Sequence[SendMessageResult]:
        await asyncio.sleep(0.001)
        arrived.extend(item.request.message_id for item in items)
        return [SendMessageResult(message_id=item.request.message_id, state=message_pb2.MESSAGE_STATE_ACCEPTED) for item in items]

    sending = Sending(SendSettings(calls=calls, batch_items=5, pace_ms=0), submit, lambda _: None)
    work = asyncio.create_task(sending.run(asyncio.Event()))
    socket = Socket()
    for number in range(300):
        sending.offer(socket.it, None, submission(f"{number % 7}-{number:03}", conversation_id=f"c{number % 7}"))
        if number % 10 == 0:
            await asyncio.sleep(0)
    await settled(sending)
    work.cancel()
    await asyncio.wait({work})
    for conversation in range(7):
        mine = [message_id for message_id in arrived if message_id.startswith(f"{conversation}-")]
        assert mine == sorted(mine)
