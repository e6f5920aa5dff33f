"""`up`, `down`, `status`, `logs`: this machine's copy, engines and processes, in words a person can act on."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from chat4all_cli.demo import PASSWORD
from chat4all_cli.rest import ApiError, RestClient
from chat4all_cli.sessions import SessionFile
from chat4all_native.parts import Step
from chat4all_native.stack import Stack
from chat4all_native.status import PartStatus

DEMO_ACCOUNTS = ("alice", "bob")


def tell(step: Step) -> None:
    """One line per step, with the time since the beginning."""
    detail = f"  {step.detail}" if step.detail else ""
    print(f"[{step.elapsed_seconds:5.1f} s] {step.name:<18} {step.state}{detail}", flush=True)


def up(stack: Stack) -> None:
    """Start what does not run, make the two demo accounts, and say what to try.

    Raises:
        StartFailed: with a sentence and the end of the log.
        ApiError: everything is up and the edge refuses all the same.
    """
    started = time.monotonic()
    stack.up(tell)
    url = f"http://127.0.0.1:{stack.ports.port('edge')}"
    asyncio.run(_accounts(url))
    print(f"\nChat4All is up in {time.monotonic() - started:.1f} s: {url}")
    print(f"Demo accounts: {' and '.join(DEMO_ACCOUNTS)}, password {PASSWORD}, signed in on this machine.")
    moved = f"CHAT4ALL_PORT_BASE={stack.ports.base} " if stack.ports.base != 8080 else ""
    command = f"{moved}.venv/bin/chat4all"
    print(f"Try, in two terminals:  {command} chat bob --as alice\n                        {command} chat alice --as bob")
    print(f"And:                    {command} demo\n                        {command} status")


async def _accounts(url: str) -> None:
    for name in DEMO_ACCOUNTS:
        async with RestClient(url) as rest:
            try:
                await rest.register(name, PASSWORD, name.title())
            except ApiError as error:
                if error.reason != "USERNAME_TAKEN":
                    raise
            store = SessionFile(name, url)
            kept = store.load()
            if kept is None or not await _works(RestClient(url, kept, store=store)):
                store.save(await rest.login(name, PASSWORD, device_name="terminal"))


async def _works(rest: RestClient) -> bool:
    """Whether a session kept on disk is still good; its copy of the state may have been thrown away."""
    async with rest:
        try:
            await rest.call("GET", "/v1/users/me")
        except ApiError as error:
            if error.status in (401, 403, 404):
                return False
            raise
    return True


def down(stack: Stack) -> None:
    """Stop everything in order."""
    started = time.monotonic()
    stack.down(tell)
    print(f"Everything is down ({time.monotonic() - started:.1f} s). What was said stays in {stack.layout.state}.")


def status_rows(rows: list[PartStatus]) -> list[dict[str, Any]]:
    """How every part is, as data."""
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "ready": row.ready,
            "why_not_ready": row.why_not_ready,
            "up_since": row.up_since.isoformat() if row.up_since else None,
            "pid": row.pid,
            "port": row.port,
            "rss_mib": round(row.rss_bytes / 2**20, 1),
            "cpu_percent": row.cpu_percent,
        }
        for row in rows
    ]


def status_table(rows: list[PartStatus]) -> str:
    """How every part is, for people."""
    lines = [f"{'NAME':<18} {'STATE':<10} {'UP FOR':>9} {'PID':>8} {'PORT':>6} {'MEMORY':>9} {'CPU':>7}"]
    for row in rows:
        state = "ready" if row.ready else ("not ready" if row.pid else "down")
        since = str(datetime.now(UTC) - row.up_since).split(".")[0] if row.up_since else "-"
        memory = f"{row.rss_bytes / 2**20:.0f} MiB"
        lines.append(
            f"{row.name:<18} {state:<10} {since:>9} {row.pid or '-':>8} {row.port:>6} {memory:>9} {row.cpu_percent:>5.1f} %"
        )
        if row.pid and row.why_not_ready:
            lines.append(f"{'':<18} {row.why_not_ready}")
    total = sum(row.rss_bytes for row in rows) / 2**20
    lines.append(
        f"{'together':<18} {'':<10} {'':>9} {'':>8} {'':>6} {total:>5.0f} MiB {sum(row.cpu_percent for row in rows):>5.1f} %"
    )
    return "\n".join(lines)
