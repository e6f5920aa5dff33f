"""Fan-out of the gateway alone: one conversation, 500 sockets, entries published through Redis one PUBLISH each.

    python -m bench.gateway_fanout [--sockets 500] [--seconds 4] [--rates 300,1000,2000,4000]

For each rate: deliveries per second that reached the sockets (every byte of every socket is accounted for), the gateway's CPU,
and the time from publish to the socket on a few sockets that parse what they get. The sockets live in a process of their own
that only counts bytes: all entries have the same length.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from multiprocessing.connection import Connection
from typing import Any

import orjson
import psutil
import redis
import uvloop

from bench.figures import summary
from bench.gateway_peers import SPAWN, gateway_alone
from bench.light_socket import LightSocket
from chat4all_runtime.ids import new_id

_ENTRY_BYTES = 290
_PARSING = 5


def entry(conversation_id: str, number: int, sender: str) -> bytes:
    """One published line of always the same length."""
    frame: dict[str, Any] = {
        "type": "event",
        "event_type": "message.stored",
        "conversation_id": conversation_id,
        "sequence_number": 0,
        "at_ns": time.monotonic_ns(),
        "data": {"text": ""},
    }
    # The number in the frame is written at its length, the text takes up what is left.
    frame["sequence_number"] = number
    frame["data"]["text"] = "x" * (_ENTRY_BYTES - len(orjson.dumps(frame)))
    return f"e\t{number}\t{sender}\t{new_id()}\t".encode() + orjson.dumps(frame)


def sockets_process(url: str, tokens: list[str], pipe: Connection) -> None:
    """Open sockets, count what comes, answer questions on the pipe: `count` → bytes, `times` → milliseconds."""
    uvloop.run(_sockets(url, tokens, pipe))


async def _sockets(url: str, tokens: list[str], pipe: Connection) -> None:
    times: list[float] = []
    sockets = []
    received = [0]

    def timed(payload: bytes) -> None:
        received[0] += len(payload) + 4
        times.append((time.monotonic_ns() - orjson.loads(payload)["at_ns"]) / 1e6)

    def counting(data: bytes) -> None:
        received[0] += len(data)

    for number, token in enumerate(tokens):
        socket = await LightSocket.open(url, token, f"d{number}")
        if number < _PARSING:
            socket.on_text = timed
        else:
            socket.data_received = counting  # type: ignore[method-assign]
            socket._transport.set_protocol(socket)
        sockets.append(socket)
    pipe.send("open")
    loop = asyncio.get_running_loop()
    while (question := await loop.run_in_executor(None, pipe.recv)) != "end":
        if question == "count":
            pipe.send(received[0])
        else:
            pipe.send(list(times))
            times.clear()
            received[0] = 0


def publisher_process(url: str, conversation_id: str, first: int, count: int, rate: float) -> None:
    """Publish so many entries at a steady rate, in slices of 2 ms."""
    client = redis.Redis.from_url(url)
    channel = f"conversation:{conversation_id}:events"
    started, sent = time.monotonic(), 0
    while sent < count:
        due = min(count, int((time.monotonic() - started) * rate) + 1)
        if due > sent:
            pipeline = client.pipeline(transaction=False)
            for number in range(first + sent, first + due):
                pipeline.publish(channel, entry(conversation_id, number, "s"))
            pipeline.execute()
            sent = due
        time.sleep(0.002)


async def measure(sockets: int, seconds: float, rates: list[int]) -> list[dict[str, Any]]:
    """Run all rates one after another."""
    rows = []
    async with gateway_alone(CHAT4ALL_WEBSOCKET__HEARTBEAT_SECONDS="300", CHAT4ALL_FANOUT__POSITION_CHECK_SECONDS="600") as alone:
        users = [new_id() for _ in range(sockets)]
        conversation = alone.backends.conversation(*users)
        ours, theirs = SPAWN.Pipe()
        crowd = SPAWN.Process(
            target=sockets_process, args=(alone.gateway.url, [alone.backends.token(user) for user in users], theirs), daemon=True
        )
        crowd.start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, ours.recv)
        gateway = psutil.Process(alone.gateway.pid)
        first = 1
        for rate in rates:
            count = int(rate * seconds)
            expected = count * sockets * (_ENTRY_BYTES + 4)
            before, started = gateway.cpu_times(), time.monotonic()
            publisher = SPAWN.Process(
                target=publisher_process, args=(alone.redis.url, conversation, first, count, float(rate)), daemon=True
            )
            publisher.start()
            first += count
            received, begun = 0, 0.0
            while received < expected:
                await asyncio.sleep(0.05)
                ours.send("count")
                received = await loop.run_in_executor(None, ours.recv)
                begun = begun or (time.monotonic() if received else 0.0)
                if time.monotonic() - started > seconds * 5 + 20:
                    break
            took = time.monotonic() - begun
            after = gateway.cpu_times()
            ours.send("times")
            times = await loop.run_in_executor(None, ours.recv)
            cpu = (after.user + after.system) - (before.user + before.system)
            publisher.join(5)
            rows.append(
                {
                    "rate": rate,
                    "complete": received == expected,
                    "deliveries_per_second": round(count * sockets / took),
                    "gateway_cpu_us_per_delivery": round(cpu / (count * sockets) * 1e6, 2),
                    "gateway_cpu_share": round(cpu / took, 2),
                    **summary(times),
                    "rss_mib": round(gateway.memory_info().rss / 2**20, 1),
                    "closes": await alone.gateway.metric('chat4all_gateway_closes_total{code="4008"}'),
                }
            )
            print(orjson.dumps(rows[-1]).decode(), flush=True)
        ours.send("end")
        crowd.join(5)
    return rows


def main() -> None:
    """Parse the command line and print one line of JSON for each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rates", default="300,1000,2000,4000")
    given = parser.parse_args()
    asyncio.run(measure(given.sockets, given.seconds, [int(rate) for rate in given.rates.split(",")]))


if __name__ == "__main__":
    main()
