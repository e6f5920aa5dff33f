"""A world of its own for each test, and workers that do not outlive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.router.routing import Worker, World, workers


@pytest.fixture
def world(shared_engines: dict[str, str]) -> Iterator[World]:
    """Topics, database and group of this test."""
    made = World(shared_engines)
    yield made
    made.close()


@pytest.fixture
def start(world: World, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts a worker process."""
    with workers(world, tmp_path) as starting:
        yield starting
