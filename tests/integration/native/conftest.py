"""A copy of all engines in a temporary folder, on a free block of ports, for the tests of the launcher itself.

It never uses engines that run already (`CHAT4ALL_TEST_ENGINES`): these tests kill what they start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chat4all_native import ENGINES, Stack, find_free_block


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Made once for the module; whatever a test left of it is ended afterwards."""
    stack = Stack(tmp_path_factory.mktemp("native") / "state", find_free_block())
    yield stack
    stack.down()


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    """All engines up and ready, whatever the test before did to them."""
    own_stack.up(only=ENGINES)
    return own_stack


@pytest.fixture
def small_stack(tmp_path: Path) -> Iterator[Stack]:
    """An empty copy, for tests that start one or two quick engines."""
    stack = Stack(tmp_path / "state", find_free_block())
    yield stack
    stack.down()
