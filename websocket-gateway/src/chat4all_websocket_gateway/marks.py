"""Delivered and read marks of all sockets, merged and told to the conversation service a few times a second.

Marks only grow, so a burst of them is one number, and telling one again changes nothing: what could not be told is kept and
told later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from chat4all.conversation.v1.conversation_service_pb2 import Mark
from chat4all_runtime.errors import DomainError
from chat4all_websocket_gateway import metrics

log = structlog.get_logger()

_GATHER_SECONDS = 0.2
_MARKS_PER_CALL = 1000
_MAX_WAITING = 100_000

Record = Callable[[Sequence[Mark]], Awaitable[None]]
Key = tuple[str, str]


class Marks:
    """Merges marks by conversation and user."""

    def __init__(self, record: Record) -> None:
        self._record = record
        # (delivered, read) by conversation and user, in the order of coming.
        self._waiting: dict[Key, tuple[int, int]] = {}
        self._wake = asyncio.Event()

    def add(self, conversation_id: str, user_id: str, sequence_number: int, *, read: bool) -> bool:
        """Remember a mark; False when too many wait already. What is read was also delivered."""
        key = (conversation_id, user_id)
        before = self._waiting.get(key)
        if before is None and len(self._waiting) >= _MAX_WAITING:
            return False
        self._merge(key, (sequence_number, sequence_number if read else 0))
        self._wake.set()
        return True

    def _merge(self, key: Key, mark: tuple[int, int]) -> None:
        before = self._waiting.get(key, (0, 0))
        self._waiting[key] = (max(before[0], mark[0]), max(before[1], mark[1]))

    async def run(self, stop: asyncio.Event) -> None:
        """Tell marks until cancelled."""
        while not stop.is_set():
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            wait = 0.2
            while self._waiting and not await self._tell():
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def flush(self, timeout_seconds: float) -> bool:
        """Tell what is left; False when it could not be told in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._waiting:
                    if not await self._tell():
                        await asyncio.sleep(0.1)
        except TimeoutError:
            log.warning("marks_not_told", marks=len(self._waiting))
            return False
        return True

    async def _tell(self) -> bool:
        keys = list(self._waiting)[:_MARKS_PER_CALL]
        batch = {key: self._waiting.pop(key) for key in keys}
        marks = [
            Mark(conversation_id=key[0], user_id=key[1], delivered_sequence_number=mark[0], read_sequence_number=mark[1])
            for key, mark in batch.items()
        ]
        told = False
        try:
            await self._record(marks)
            told = True
        except DomainError as error:
            log.warning("marks_delayed", reason=error.reason, marks=len(marks))
        finally:
            if not told:
                for key, mark in batch.items():
                    self._merge(key, mark)
            metrics.marks_waiting.set(len(self._waiting))
        return told
