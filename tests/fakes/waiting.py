"""Waiting for a condition with a deadline, for what sends no signal of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(check: Callable[[], bool | Awaitable[bool]], seconds: float = 5.0) -> None:
    """Return once `check` says so.

    Raises:
        TimeoutError: it did not within the time.
    """
    async with asyncio.timeout(seconds):
        while True:
            said = check()
            if await said if inspect.isawaitable(said) else said:
                return
            await asyncio.sleep(0.005)
