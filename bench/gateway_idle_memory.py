"""Memory of the gateway for sockets that are signed in and silent.

    python -m bench.gateway_idle_memory [--sockets 5000] [--conversations 1]

Each user is in so many conversations of their own (two of them share each). RSS before and after, after the sockets have been
idle for a moment and after each was sent one event.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from multiprocessing.connection import Connection

import orjson
import psutil
import uvloop

from bench.gateway_peers import SPAWN, gateway_alone
from bench.light_socket import LightSocket
from chat4all_runtime.ids import new_id


def sockets_process(url: str, tokens: list[str], pipe: Connection) -> None:
    """Open the sockets, say so, and hold them until told to end."""
    uvloop.run(_hold(url, tokens, pipe))


async def _hold(url: str, tokens: list[str], pipe: Connection) -> None:
    gate = asyncio.Semaphore(50)

    async def one(number: int, token: str) -> LightSocket:
        async with gate:
            return await LightSocket.open(url, token, f"d{number}")

    sockets = await asyncio.gather(*(one(number, token) for number, token in enumerate(tokens)))
    pipe.send(len(sockets))
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


async def measure(count: int, conversations: int) -> None:
    """Open, wait, measure, print."""
    async with gateway_alone() as alone:
        users = [new_id() for _ in range(count)]
        shared = [
            alone.backends.conversation(users[number], users[number + 1])
            for number in range(0, count - 1, 2)
            for _ in range(conversations)
        ]
        gateway = psutil.Process(alone.gateway.pid)
        tokens = [alone.backends.token(user) for user in users]
        # A few first, so that what is made once is not counted.
        before = 0
        loop = asyncio.get_running_loop()
        pipes = []
        for part in (tokens[:50], tokens[50:]):
            ours, theirs = SPAWN.Pipe()
            crowd = SPAWN.Process(target=sockets_process, args=(alone.gateway.url, part, theirs), daemon=True)
            crowd.start()
            pipes.append(ours)
            started = time.monotonic()
            await loop.run_in_executor(None, ours.recv)
            took = time.monotonic() - started
            if not before:
                before = gateway.memory_info().rss
        await asyncio.sleep(3)
        idle = gateway.memory_info().rss
        cpu_before = gateway.cpu_times()
        await asyncio.sleep(10)
        cpu_after = gateway.cpu_times()
        for conversation in shared:
            await alone.backends.append(conversation, users[0])
        await asyncio.sleep(2)
        figures = {
            "sockets": count,
            "conversations_each": conversations,
            "opened_per_second": round((count - 50) / took),
            "rss_kib_per_socket": round((idle - before) / (count - 50) / 1024, 2),
            "rss_kib_per_socket_after_one_event": round((gateway.memory_info().rss - before) / (count - 50) / 1024, 2),
            "rss_mib": round(gateway.memory_info().rss / 2**20, 1),
            "idle_cpu_share": round(((cpu_after.user + cpu_after.system) - (cpu_before.user + cpu_before.system)) / 10, 3),
        }
        for ours in pipes:
            ours.send("end")
        print(orjson.dumps(figures).decode())


def main() -> None:
    """Parse the command line and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--conversations", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(measure(given.sockets, given.conversations))


if __name__ == "__main__":
    main()
