"""Socket to socket through the gateway alone, with played services: 50 pairs, 200 messages a second.

    python -m bench.gateway_pairs [--pairs 50] [--rate 200] [--seconds 8]

What it shows is the gateway's own part (and the fakes', which answer at once): send → the other's socket, and CPU per message.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import orjson
import psutil

from bench.figures import summary
from bench.gateway_peers import gateway_alone
from bench.light_socket import LightSocket
from chat4all_runtime.ids import new_id


async def measure(pairs: int, rate: float, seconds: float) -> None:
    """Open, send at a steady rate, print."""
    async with gateway_alone() as alone:
        delays: list[float] = []

        def arrived(payload: bytes) -> None:
            frame = orjson.loads(payload)
            if frame["type"] == "event":
                delays.append((time.monotonic_ns() - int(frame["data"]["content"]["text"])) / 1e6)

        senders = []
        for _ in range(pairs):
            one, two = new_id(), new_id()
            conversation = alone.backends.conversation(one, two)
            sender = await LightSocket.open(alone.gateway.url, alone.backends.token(one), "d")
            receiver = await LightSocket.open(alone.gateway.url, alone.backends.token(two), "d")
            receiver.on_text = arrived
            senders.append((sender, conversation))
        gateway = psutil.Process(alone.gateway.pid)
        before, started, count = gateway.cpu_times(), time.monotonic(), int(rate * seconds)
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            sender, conversation = senders[number % pairs]
            content = {"type": "text", "text": str(time.monotonic_ns())}
            sender.send({"type": "send", "ref": "r", "conversation_id": conversation, "message_id": new_id(), "content": content})
        async with asyncio.timeout(10):
            while len(delays) < count:
                await asyncio.sleep(0.05)  # counting in a callback
        after = gateway.cpu_times()
        used = (after.user + after.system) - (before.user + before.system)
        print(
            orjson.dumps({"messages": count, **summary(delays), "gateway_cpu_us_per_message": round(used / count * 1e6)}).decode()
        )


def main() -> None:
    """Parse the command line and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    asyncio.run(measure(given.pairs, given.rate, given.seconds))


if __name__ == "__main__":
    main()
