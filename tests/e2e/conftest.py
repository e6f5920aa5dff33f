"""One private copy of everything for the end-to-end tests, on free ports with a data folder of its own.

For quick rounds at a desk, `CHAT4ALL_TEST_STATE` names a state folder that is kept and reused between runs.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from chat4all_cli.rest import ApiError, RestClient
from chat4all_native.ports import find_free_block
from chat4all_native.stack import Stack

PASSWORD = "end-to-end"
PEOPLE = 20

# One machine plays many people here, so what bounds a single address or person is raised from outside, as README says.
LIMITS = {
    "CHAT4ALL_EDGE__USER_REQUESTS_PER_SECOND": "0",
    "CHAT4ALL_EDGE__ADDRESS_REQUESTS_PER_SECOND": "0",
    "CHAT4ALL_THROTTLE__REGISTRATIONS": "100000",
    "CHAT4ALL_THROTTLE__ADDRESS_FAILURES": "100000",
}


@dataclass(frozen=True)
class Copy:
    """A running copy and how to reach it."""

    stack: Stack

    @property
    def url(self) -> str:
        """REST through the edge."""
        return f"http://127.0.0.1:{self.stack.ports.port('edge')}"

    @property
    def live_url(self) -> str:
        """WebSocket through the edge."""
        return f"ws://127.0.0.1:{self.stack.ports.port('edge')}/v1/ws"

    async def sign_in(self, name: str) -> RestClient:
        """A person with a fresh session; the account is made when it is missing."""
        rest = RestClient(self.url)
        try:
            await rest.register(name, PASSWORD, name)
        except ApiError as error:
            if error.reason != "USERNAME_TAKEN":
                raise
        await rest.login(name, PASSWORD)
        return rest


@pytest.fixture(scope="session")
def copy() -> Iterator[Copy]:
    """Everything, running."""
    kept = os.environ.get("CHAT4ALL_TEST_STATE")
    with tempfile.TemporaryDirectory(prefix="chat4all-e2e-") as folder:
        # No base for a kept folder: it stays where it runs.
        stack = Stack(Path(kept), settings=LIMITS) if kept else Stack(Path(folder) / "state", find_free_block(), settings=LIMITS)
        try:
            stack.up()
            yield Copy(stack)
        finally:
            if not kept:
                stack.down()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all these tests: their people and connections live as long as the copy does."""
    for item in items:
        if Path(__file__).parent in item.path.parents and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def people(copy: Copy) -> AsyncIterator[list[RestClient]]:
    """Twenty people, signed in."""
    gate = asyncio.Semaphore(4)

    async def one(number: int) -> RestClient:
        async with gate:
            return await copy.sign_in(f"person-{number}")

    found = await asyncio.gather(*(one(number) for number in range(PEOPLE)))
    yield found
    for rest in found:
        await rest.__aexit__(None, None, None)
