"""Argon2id with cheap parameters: bounds, equal work, rehash."""

from __future__ import annotations

import asyncio

import pytest

from chat4all_auth.passwords import Argon2Passwords
from chat4all_runtime.errors import Code, DomainError


def passwords(memory_kib=64, workers=2, max_waiting=8):
    return Argon2Passwords(memory_kib=memory_kib, iterations=1, parallelism=1, workers=workers, max_waiting=max_waiting)


async def test_only_the_right_password_fits():
    """Hashes are salted Argon2id; broken hashes fit nothing."""
    async with passwords() as hashing:
        kept = await hashing.hash("right")
        assert kept.startswith("$argon2id$v=19$m=64,t=1,p=1$")
        assert kept != await hashing.hash("right")
        assert (await hashing.check(kept, "right")).fits
        assert not (await hashing.check(kept, "wrong")).fits
        assert not (await hashing.check("broken", "right")).fits


async def test_nobody_takes_as_much_work_as_somebody(monkeypatch):
    """Without a hash one of the same parameters is checked, and even its password does not fit."""
    async with passwords() as hashing:
        checked = []
        verify = type(hashing._hasher).verify
        monkeypatch.setattr(
            type(hashing._hasher), "verify", lambda self, kept, text: (checked.append(kept), verify(self, kept, text))[1]
        )
        assert not (await hashing.check(None, "wrong")).fits
        assert not (await hashing.check(None, "nobody has this password")).fits
        assert all(kept.startswith("$argon2id$v=19$m=64,t=1,p=1$") for kept in checked)
        assert len(checked) == 2


async def test_old_parameters_give_a_better_hash():
    """Only a password that fits is hashed again."""
    async with passwords(64) as old, passwords(128) as new:
        kept = await old.hash("right")
        better = (await new.check(kept, "right")).better_hash
        assert better is not None
        assert "m=128" in better
        assert (await new.check(kept, "wrong")).better_hash is None
        assert (await new.check(better, "right")).better_hash is None


async def test_the_queue_is_bounded():
    """Calls past workers and waiting are refused at once; places are free again afterwards, also after cancelling."""
    async with passwords(workers=1, max_waiting=2) as hashing:
        running = [asyncio.ensure_future(hashing.hash("x")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(DomainError) as caught:
            await hashing.hash("x")
        assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, "PASSWORDS_BUSY")
        assert caught.value.retry_after is not None
        running[2].cancel()
        await asyncio.gather(*running, return_exceptions=True)
        assert len(await asyncio.gather(*(hashing.hash("x") for _ in range(3)))) == 3
