"""The port block: one place for all numbers, nothing overlapping, clear words when something is taken."""

from __future__ import annotations

import os
import socket

import pytest

from chat4all_native.errors import StartFailed
from chat4all_native.ports import BLOCK_LENGTH, DEFAULT_BASE, HOST, OFFSETS, PortBlock, find_free_block, is_free, taken_sentence
from chat4all_native.stack import Stack


def test_every_listener_has_its_own_port_inside_the_block() -> None:
    """Two copies on neighbouring blocks can never meet."""
    assert len(set(OFFSETS.values())) == len(OFFSETS)
    assert all(0 <= offset < BLOCK_LENGTH for offset in OFFSETS.values())


def test_the_default_block_is_the_documented_one() -> None:
    """People find the edge on 8080 and the gateway's sockets on 8081."""
    block = PortBlock(DEFAULT_BASE)
    assert (block.port("edge"), block.port("websocket"), block.address("kafka")) == (8080, 8081, "127.0.0.1:8100")


@pytest.mark.parametrize("base", [0, 1023, 65_536 - BLOCK_LENGTH + 1, -1])
def test_a_block_that_does_not_fit_is_refused(base: int) -> None:
    """The error names the setting, not a socket error later on."""
    with pytest.raises(ValueError, match="CHAT4ALL_PORT_BASE"):
        PortBlock(base)


def test_a_base_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in the setting is told in one sentence."""
    monkeypatch.setenv("CHAT4ALL_PORT_BASE", "eighty")
    with pytest.raises(StartFailed, match="CHAT4ALL_PORT_BASE must be a number, not 'eighty'"):
        Stack()


def test_a_taken_port_is_named_with_its_holder_and_the_setting() -> None:
    """Who reads the sentence knows which port, which process and what to set."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        assert not is_free(port)
        sentence = taken_sentence(port, "kafka", 9000)
    assert str(port) in sentence
    assert f"pid {os.getpid()}" in sentence
    assert "CHAT4ALL_PORT_BASE" in sentence
    assert is_free(port)


def test_free_blocks_are_free_and_given_once() -> None:
    """Two test runs that start at the same moment do not get the same ports."""
    first, second = find_free_block(), find_free_block()
    assert abs(first - second) >= BLOCK_LENGTH
    assert all(is_free(first + offset) for offset in range(BLOCK_LENGTH))
