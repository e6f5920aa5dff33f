"""Real engines for tests of one process: a private copy on free ports, with a database of its own for each test module.

For quick rounds at a desk, `CHAT4ALL_TEST_ENGINES` names a file of `export NAME=value` lines of engines that run already.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from chat4all_native.ports import find_free_block
from chat4all_native.stack import ENGINES, Stack
from chat4all_runtime.ids import new_id


def _from_file(path: Path) -> dict[str, str]:
    lines = [shlex.split(line)[1] for line in path.read_text().splitlines() if line.startswith("export ")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="session")
def shared_engines() -> Iterator[dict[str, str]]:
    """Addresses and secrets of running engines, as environment variables."""
    given = os.environ.get("CHAT4ALL_TEST_ENGINES")
    if given:
        yield _from_file(Path(given))
        return
    with tempfile.TemporaryDirectory(prefix="chat4all-engines-") as folder:
        stack = Stack(Path(folder) / "state", find_free_block())
        try:
            stack.up(only=ENGINES)
            yield stack.environment("tests")
        finally:
            stack.down()


@pytest.fixture(scope="module")
def engines(shared_engines: dict[str, str]) -> dict[str, str]:
    """The same with a fresh PostgreSQL database and a fresh MongoDB database for this module."""
    name = f"test_{new_id().replace('-', '')}"
    url = make_url(shared_engines["CHAT4ALL_POSTGRES__DSN"])
    _create_database(shared_engines["CHAT4ALL_POSTGRES__DSN"], name)
    return {
        **shared_engines,
        "CHAT4ALL_POSTGRES__DSN": url.set(database=name).render_as_string(hide_password=False),
        "CHAT4ALL_MONGO__DATABASE": name[-38:],
    }


def _create_database(dsn: str, name: str) -> None:
    async def create() -> None:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            await connection.execute(f'create database "{name}"')
        finally:
            await connection.close()

    asyncio.run(create())
