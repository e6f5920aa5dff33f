"""Argon2id off the event loop: a few threads, a bounded queue before them, and the same time for users who do not exist.

The hash releases the GIL; more threads than cores only slow every other process of the machine down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import structlog
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from chat4all_auth import metrics
from chat4all_auth.domain import errors
from chat4all_auth.repository import PasswordCheck

log = structlog.get_logger()

T = TypeVar("T")


class Argon2Passwords:
    """Implements `repository.Passwords` from `__aenter__` to `__aexit__`.

    Args:
        workers: hashes at the same time.
        max_waiting: calls beyond that are refused with `PASSWORDS_BUSY` rather than kept past their deadlines.
    """

    def __init__(self, *, memory_kib: int, iterations: int, parallelism: int, workers: int, max_waiting: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=iterations, memory_cost=memory_kib, parallelism=parallelism, hash_len=32, salt_len=16, type=Type.ID
        )
        self._workers = workers
        self._max_pending = workers + max_waiting
        self._pending = 0
        self._dummy = ""

    async def __aenter__(self) -> Argon2Passwords:
        self._executor = ThreadPoolExecutor(self._workers, thread_name_prefix="passwords")
        # What passwords of unknown users are compared with: made with the same parameters, so it takes the same time.
        self._dummy = await self.hash("nobody has this password")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """A hash with its salt and parameters inside."""
        return await self._run(lambda: self._hasher.hash(password))

    async def check(self, password_hash: str | None, password: str) -> PasswordCheck:
        """Compare; with None as long as with a hash, and never fitting."""
        return await self._run(lambda: self._check(password_hash, password))

    def _check(self, password_hash: str | None, password: str) -> PasswordCheck:
        try:
            self._hasher.verify(password_hash or self._dummy, password)
        except VerifyMismatchError:
            return PasswordCheck(fits=False)
        except (InvalidHashError, VerificationError) as error:
            log.error("password_hash_not_usable", error_type=type(error).__name__)
            return PasswordCheck(fits=False)
        if password_hash is None:
            return PasswordCheck(fits=False)
        better = self._hasher.hash(password) if self._hasher.check_needs_rehash(password_hash) else None
        return PasswordCheck(fits=True, better_hash=better)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._pending >= self._max_pending:
            raise errors.passwords_busy()
        started = time.perf_counter()
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._pending -= 1
            metrics.password_seconds.observe(time.perf_counter() - started)
