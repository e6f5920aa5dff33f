"""One conversation service as a real process on real engines, with peers played by the test over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.conversation.harness import ConversationProcess, World


@pytest.fixture(scope="module")
def world(engines: dict[str, str]) -> Iterator[World]:
    """Peers, tokens and addresses that several processes of one module can share."""
    with World(engines) as world:
        yield world


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[ConversationProcess]:
    """A running service that is ready."""
    with ConversationProcess(world) as process:
        process.wait_ready()
        yield process
