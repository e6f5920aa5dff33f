"""One message service as a real process on real engines, with peers played by the test over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.message.harness import MessageProcess, SentReader, World


@pytest.fixture(scope="module")
def world(engines: dict[str, str]) -> Iterator[World]:
    """Peers, tokens and addresses that several processes of one module can share."""
    with World(engines) as world:
        yield world


@pytest.fixture(scope="module", params=["grpcio", "native"])
def service(world: World, request: pytest.FixtureRequest) -> Iterator[MessageProcess]:
    """A running service that is ready, with either gRPC server."""
    with MessageProcess(world, CHAT4ALL_GRPC__SERVER=request.param) as process:
        process.wait_ready()
        yield process


@pytest.fixture
def sent(world: World) -> Iterator[SentReader]:
    """What reaches `message.sent` from now on."""
    with SentReader(world) as reader:
        yield reader
