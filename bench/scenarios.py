"""The measured situations. Each returns its figures; none asserts: speed is measured here and judged by people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import psutil
import redis.asyncio
from uuid_utils import uuid7

from bench.figures import CpuMeter, per_message, summary
from bench.light_caller import CallFailed, LightCaller, header_block
from bench.light_socket import LightSocket
from bench.stages import StageMeter
from bench.stopwatch import Receiver, sampled, stamped_text
from bench.world import Person, World
from chat4all.message.v1 import message_pb2, message_service_pb2

Figures = dict[str, Any]

SEND_MESSAGE = "/chat4all.message.v1.MessageService/SendMessage"

_DRAIN_SECONDS = 10.0


async def paced(rate: float, seconds: float, send: Callable[[int], None]) -> int:
    """Call `send(i)` at an even rate, open loop; a late loop catches up at once. Returns how many were sent."""
    started = time.monotonic()
    total = int(rate * seconds)
    done = 0
    while done < total:
        due = min(total, int((time.monotonic() - started) * rate) + 1)
        while done < due:
            send(done)
            done += 1
        await asyncio.sleep(max(0.0, started + done / rate - time.monotonic()))
    return done


async def drained(receiver: Receiver, wanted: int, seconds: float = _DRAIN_SECONDS) -> float:
    """Wait until as many have come; the seconds it took, or `seconds` when some never came."""
    started = time.monotonic()
    while receiver.received < wanted and time.monotonic() - started < seconds:
        await asyncio.sleep(0.005)
    return time.monotonic() - started


def send_frame(conversation_id: str) -> bytes:
    """A `send` with a stamped text of 200 bytes."""
    message_id = str(uuid7())
    return orjson.dumps(
        {"type": "send", "ref": message_id[-12:], "conversation_id": conversation_id, "message_id": message_id,
         "content": {"type": "text", "text": stamped_text()}}
    )  # fmt: skip


def request(conversation_id: str) -> message_service_pb2.SendMessageRequest:
    """A unary request with a stamped text of 200 bytes."""
    content = message_pb2.MessageContent(type="text", text=stamped_text())
    return message_service_pb2.SendMessageRequest(conversation_id=conversation_id, message_id=str(uuid7()), content=content)


async def unary_acknowledged(world: World, callers: int = 160, seconds: float = 8.0) -> Figures:
    """Closed loop of unary SendMessage over gRPC; each caller waits for its acknowledgement."""
    people = await world.populate(100)
    pairs = await world.pairs(people)
    links = [await LightCaller.open(world.message_target) for _ in range(2)]
    times: list[float] = []
    refused: list[str] = []
    meter, stages = CpuMeter(world.pids), StageMeter(world.metrics_urls)
    until = 0.0

    async def caller(number: int) -> None:
        sender, _, conversation_id = pairs[number % len(pairs)]
        head = header_block(SEND_MESSAGE, world.message_target, sender.token)
        link = links[number % len(links)]
        while time.monotonic() < until:
            started = time.monotonic()
            try:
                await link.call(head, request(conversation_id).SerializeToString())
            except CallFailed as error:
                refused.append(str(error))
            else:
                times.append((time.monotonic() - started) * 1e3)

    until = time.monotonic() + 2.0
    await asyncio.gather(*(caller(number) for number in range(callers)))  # warm up: JIT of the broker, caches
    times.clear()
    stages.start()
    meter.start()
    started = time.monotonic()
    until = started + seconds
    await asyncio.gather(*(caller(number) for number in range(callers)))
    took = time.monotonic() - started
    cpu = per_message(meter.stop(), len(times))
    spent = stages.stop()
    for link in links:
        link.close()
    return {
        "acknowledged_per_second": round(len(times) / took), "refused": len(refused), "refusals": refused[:3], **summary(times),
        "cpu_us_per_message": cpu, "stages": spent,
    }  # fmt: skip


async def _end_to_end(world: World, rate: float, seconds: float, batch: int) -> Figures:
    people = await world.populate(100)
    pairs = await world.pairs(people)
    receiver = Receiver()
    sockets = []
    for number, (_, listener, _) in enumerate(pairs):
        socket = await world.connect(listener, f"bench-{number}")
        socket.on_text = receiver.take
        sockets.append(socket)
    links = [await LightCaller.open(world.message_target) for _ in range(2)]
    path = SEND_MESSAGE if batch == 1 else f"{SEND_MESSAGE}Batch"
    heads = [header_block(path, world.message_target, sender.token) for sender, _, _ in pairs]
    running: set[asyncio.Task[Any]] = set()
    refused: list[str] = []

    async def one(number: int) -> None:
        _, _, conversation_id = pairs[number % len(pairs)]
        link, head = links[number % len(links)], heads[number % len(pairs)]
        try:
            if batch == 1:
                await link.call(head, request(conversation_id).SerializeToString())
            else:
                messages = [request(conversation_id) for _ in range(batch)]
                call = message_service_pb2.SendMessageBatchRequest(conversation_id=conversation_id, messages=messages)
                answer = message_service_pb2.SendMessageBatchResponse.FromString(await link.call(head, call.SerializeToString()))
                refused.extend(result.error.message for result in answer.results if result.error.code)
        except CallFailed as error:
            refused.append(str(error))

    def begin(number: int) -> None:
        task = asyncio.ensure_future(one(number))
        running.add(task)
        task.add_done_callback(running.discard)

    await paced(rate / batch, 2.0, begin)  # warm up
    await asyncio.gather(*running)
    await drained(receiver, int(rate / batch * 2.0) * batch)
    receiver.received, receiver.milliseconds = 0, []
    meter, stages = CpuMeter(world.pids), StageMeter(world.metrics_urls)
    stages.start()
    meter.start()
    started = time.monotonic()
    calls = await paced(rate / batch, seconds, begin)
    await asyncio.gather(*running)
    late = await drained(receiver, calls * batch)
    took = time.monotonic() - started
    cpu = per_message(meter.stop(), calls * batch)
    spent = stages.stop()
    for link in links:
        link.close()
    for socket in sockets:
        socket.close()
    return {
        "offered_per_second": rate, "sent": calls * batch, "received": receiver.received, "refused": len(refused), "refusals": refused[:3],
        "delivered_per_second": round(receiver.received / took), "drain_seconds": round(late, 2), **summary(receiver.milliseconds),
        "cpu_us_per_message": cpu, "stages": spent,
    }  # fmt: skip


async def unary_to_socket(world: World, rate: float = 2500, seconds: float = 8.0) -> Figures:
    """Unary gRPC → stored → the other's socket, open loop."""
    return await _end_to_end(world, rate, seconds, 1)


async def batch_to_socket(world: World, rate: float = 8000, seconds: float = 8.0) -> Figures:
    """SendMessageBatch of 50 → stored → the other's socket, open loop."""
    return await _end_to_end(world, rate, seconds, 50)


async def warm_up(world: World, seconds: float = 15.0) -> Figures:
    """The JVM compiles what is hot, caches fill; not a figure."""
    await unary_acknowledged(world, seconds=seconds)
    return await socket_pairs(world, 500, 5.0)


async def socket_pairs(world: World, rate: float, seconds: float = 10.0) -> Figures:
    """100 sockets in 50 pairs through the edge, everybody sends to their partner: send → the other's screen."""
    people = await world.populate(100)
    pairs = await world.pairs(people)
    receiver = Receiver()
    sockets: list[tuple[LightSocket, str]] = []
    for number, (first, second, conversation_id) in enumerate(pairs):
        for side, person in enumerate((first, second)):
            socket = await world.connect(person, f"bench-{number}-{side}")
            socket.on_text = receiver.take
            sockets.append((socket, conversation_id))

    def send(number: int) -> None:
        socket, conversation_id = sockets[number % len(sockets)]
        socket.send_raw(send_frame(conversation_id))

    # Each message comes to both: the partner's screen and the sender's own; both are counted and timed alike.
    await paced(rate, 2.0, send)
    await drained(receiver, int(rate * 2.0) * 2)
    receiver.received, receiver.milliseconds, receiver.accepted = 0, [], 0
    meter, stages = CpuMeter(world.pids), StageMeter(world.metrics_urls)
    stages.start()
    meter.start()
    sent = await paced(rate, seconds, send)
    late = await drained(receiver, sent * 2)
    cpu = per_message(meter.stop(), sent)
    spent = stages.stop()
    for socket, _ in sockets:
        socket.close()
    return {
        "offered_per_second": rate, "sent": sent, "received": receiver.received, "expected": sent * 2, "accepted": receiver.accepted,
        "errors": len(receiver.errors), "first_error": receiver.errors[:1], "drain_seconds": round(late, 3), **summary(receiver.milliseconds),
        "cpu_us_per_message": cpu, "stages": spent,
    }  # fmt: skip


async def highest_sustained(world: World) -> Figures:
    """Socket pairs at rising rates; the last one with p99 ≤ 1 s and nothing late or lost."""
    best: Figures = {"offered_per_second": 0}
    tried = []
    for rate in (1500, 2000, 2500, 3000, 3500, 4000, 5000):
        figures = await socket_pairs(world, rate, 6.0)
        tried.append(
            {name: figures[name] for name in ("offered_per_second", "received", "expected", "p50_ms", "p99_ms", "drain_seconds")}
        )
        if (
            figures["received"] < figures["expected"]
            or figures["p99_ms"] > 1000
            or figures["drain_seconds"] > 1.0
            or figures["errors"]
        ):
            break
        best = figures
    return {**best, "tried": tried}


async def group_of(world: World, size: int = 200, rate: float = 420, seconds: float = 8.0, *, edge: bool = False) -> Figures:
    """One group, all online: every message to every member's socket."""
    people = await world.populate(size)
    conversation_id = await world.conversation(people[0], people[1:])
    receiver = Receiver()
    sockets: list[LightSocket] = []
    for start in range(0, size, 20):
        opened = await asyncio.gather(
            *(world.connect(person, f"bench-{start + i}", edge=edge) for i, person in enumerate(people[start : start + 20]))
        )
        sockets += opened
    for socket in sockets:
        socket.on_text = sampled(receiver, 10)

    def send(number: int) -> None:
        sockets[number % size].send_raw(send_frame(conversation_id))

    await paced(rate, 2.0, send)
    await drained(receiver, int(rate * 2.0) * size)
    receiver.received, receiver.milliseconds = 0, []
    meter, stages = CpuMeter(world.pids), StageMeter(world.metrics_urls)
    stages.start()
    meter.start()
    started = time.monotonic()
    sent = await paced(rate, seconds, send)
    late = await drained(receiver, sent * size)
    took = time.monotonic() - started
    cpu = per_message(meter.stop(), sent)
    spent = stages.stop()
    for socket in sockets:
        socket.close()
    return {
        "members": size, "messages_per_second": rate, "deliveries_per_second": round(receiver.received / took), "received": receiver.received,
        "expected": sent * size, "errors": len(receiver.errors), "first_error": receiver.errors[:1], "drain_seconds": round(late, 3),
        **summary(receiver.milliseconds), "cpu_us_per_message": cpu, "stages": spent,
    }  # fmt: skip


async def fan_out_alone(world: World, size: int = 500, seconds: float = 5.0) -> Figures:
    """One gateway, 500 sockets in one conversation, frames published straight to Redis: deliveries a second, flat out."""
    owner, *others = await world.populate(25)
    conversation_id = await world.conversation(owner, others)
    people = [owner, *others]
    receiver = Receiver()
    sockets: list[LightSocket] = []
    for start in range(0, size, 25):
        sockets += await asyncio.gather(*(world.connect(people[i % 25], f"fan-{start + i}", edge=False) for i in range(25)))
    for socket in sockets:
        socket.on_text = receiver.only_count
    publisher = redis.asyncio.Redis.from_url(world.redis_url)
    payload = b"\n".join(transient_line(conversation_id) for _ in range(10))
    meter = CpuMeter(world.pids)
    meter.start()
    started = time.monotonic()
    published = 0
    while time.monotonic() - started < seconds:
        await publisher.publish(f"conversation:{conversation_id}:events", payload)
        published += 10
        # Closed loop: at most 100 frames ahead of the slowest reading, so that what is measured is delivery and not a queue.
        while published * size - receiver.received > 100 * size:
            await asyncio.sleep(0)
    await drained(receiver, published * size)
    took = time.monotonic() - started
    cpu = meter.stop()
    await publisher.aclose()
    for socket in sockets:
        socket.close()
    return {
        "sockets": size, "deliveries_per_second": round(receiver.received / took), "received": receiver.received, "expected": published * size,
        "gateway_cpu_us_per_delivery": round(cpu["websocket-gateway"] / max(receiver.received, 1) * 1e6, 2),
    }  # fmt: skip


def transient_line(conversation_id: str) -> bytes:
    """A line of the live channel that is shown at once, with a text of 200 bytes."""
    frame = {"type": "event", "event_id": str(uuid7()), "event_type": "message.stored", "conversation_id": conversation_id,
             "data": {"content": {"type": "text", "text": stamped_text()}}}  # fmt: skip
    return b"t\t0\t\t\t" + orjson.dumps(frame)


async def idle_sockets(world: World, wanted: int = 5000) -> Figures:
    """Memory of the gateway for each idle, signed-in socket, at its own port."""
    people = await world.populate(100)
    gateway = psutil.Process(world.pids["websocket-gateway"])
    before = gateway.memory_info().rss
    sockets: list[LightSocket] = []
    for start in range(0, wanted, 50):
        sockets += await asyncio.gather(
            *(world.connect(people[(start + i) % 100], f"idle-{start + i}", edge=False) for i in range(50))
        )
    await asyncio.sleep(3.0)
    after = gateway.memory_info().rss
    open_sockets = sum(not socket.closed.done() for socket in sockets)
    for socket in sockets:
        socket.close()
    return {
        "sockets": open_sockets,
        "kib_per_socket": round((after - before) / 1024 / max(open_sockets, 1), 2),
        "rss_mib": round(after / 2**20, 1),
    }


async def hot_conversation(world: World, senders: int = 5, outstanding: int = 200, total: int = 5000) -> Figures:
    """One conversation, a few senders with many messages under way each: all stored, in order, how fast acknowledged."""
    people = await world.populate(senders)
    conversation_id = await world.conversation(people[0], people[1:])
    done = asyncio.Event()
    accepted = 0
    refused: list[bytes] = []
    orders: list[list[str]] = []
    share = total // senders

    async def sender(person: Person, number: int) -> LightSocket:
        socket = await world.connect(person, f"bench-hot-{number}")
        mine = [str(uuid7()) for _ in range(share)]
        orders.append(mine)
        position = 0

        def more() -> None:
            nonlocal position
            if position < share:
                content = {"type": "text", "text": stamped_text()}
                socket.send(
                    {
                        "type": "send",
                        "ref": str(position),
                        "conversation_id": conversation_id,
                        "message_id": mine[position],
                        "content": content,
                    }
                )
                position += 1

        def take(payload: bytes) -> None:
            nonlocal accepted
            if payload.startswith(b'{"type":"sent"') and b'"accepted"' in payload:
                accepted += 1
                more()
                if accepted == senders * share:
                    done.set()
            elif payload.startswith(b'{"type":"error"'):
                refused.append(payload)

        socket.on_text = take
        for _ in range(outstanding):
            more()
        return socket

    started = time.monotonic()
    sockets = [await sender(person, number) for number, person in enumerate(people)]
    try:
        await asyncio.wait_for(done.wait(), 60)
    except TimeoutError:
        pass  # what is missing shows in the figures
    took = time.monotonic() - started
    entries: list[Any] = []
    wait_until = time.monotonic() + 30
    while time.monotonic() < wait_until:
        entries = [entry for entry in await people[0].rest.history(conversation_id) if entry["kind"] == "message"]
        if len(entries) >= accepted:
            break
    for socket in sockets:
        socket.close()
    ids = [entry["message_id"] for entry in entries]
    place = {message_id: index for index, message_id in enumerate(ids)}
    in_order = all(
        places == sorted(places)
        for order in orders
        for places in [[place[message_id] for message_id in order if message_id in place]]
    )
    return {
        "acknowledged": accepted, "acknowledged_per_second": round(accepted / took), "stored": len(ids), "doubled": len(ids) - len(set(ids)),
        "each_senders_order_kept": in_order, "refused": len(refused), "first_refusal": refused[:1],
    }  # fmt: skip


async def idle(world: World, seconds: float = 20.0) -> Figures:
    """CPU of everything started while nobody does anything."""
    meter = CpuMeter(world.pids)
    meter.start()
    started = time.monotonic()
    await asyncio.sleep(seconds)
    used = {name: value for name, value in meter.stop().items() if name != "generator"}
    took = time.monotonic() - started
    shares = {name: round(value / took * 100, 2) for name, value in sorted(used.items(), key=lambda item: -item[1])}
    return {"percent_of_one_core": round(sum(shares.values()), 2), "by_process": shares}


Scenario = Callable[[World], Awaitable[Figures]]
