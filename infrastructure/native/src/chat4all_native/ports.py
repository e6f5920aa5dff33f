"""One block of 40 ports holds every listener of a copy of the stack, so that it moves as a whole.

The base comes from CHAT4ALL_PORT_BASE. Nothing listens outside the block or on another address than 127.0.0.1.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
SETTING = "CHAT4ALL_PORT_BASE"
DEFAULT_BASE = 8080
BLOCK_LENGTH = 40

OFFSETS = {
    "edge": 0,
    "websocket": 1,
    "edge-admin": 2,
    "auth-grpc": 3,
    "auth-http": 4,
    "conversation-grpc": 5,
    "conversation-http": 6,
    "message-grpc": 7,
    "message-http": 8,
    "presence-grpc": 9,
    "presence-http": 10,
    "file-grpc": 11,
    "file-http": 12,
    "router-http": 13,
    "history-http": 14,
    "websocket-gateway-http": 15,
    "router-2-http": 16,
    "kafka": 20,
    "kafka-controller": 21,
    "postgres": 22,
    "mongodb": 23,
    "redis": 24,
    "etcd": 25,
    "etcd-peer": 26,
    "s3": 27,
    "s3-grpc": 28,
    "s3-master": 29,
    "s3-master-grpc": 30,
    "s3-volume": 31,
    "s3-volume-grpc": 32,
    "s3-filer": 33,
    "s3-filer-grpc": 34,
}

# Free blocks are looked for below Linux's ephemeral range (32768 and up), where any outgoing connection may sit on a port.
_SEARCH_FROM = 20_000
_SEARCH_TO = 32_000

_reservations: list[int] = []


@dataclass(frozen=True)
class PortBlock:
    """The ports of one copy.

    Raises:
        ValueError: the block does not fit into 1024-65535.
    """

    base: int

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65_536 - BLOCK_LENGTH:
            raise ValueError(f"{SETTING} must be from 1024 to {65_536 - BLOCK_LENGTH}, not {self.base}")

    def port(self, name: str) -> int:
        """The port of one listener, by its name in `OFFSETS`."""
        return self.base + OFFSETS[name]

    def address(self, name: str) -> str:
        """host:port of one listener."""
        return f"{HOST}:{self.port(name)}"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the engines do: connections in TIME_WAIT from an earlier run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who holds a taken port, as text: `java (pid 123)`; another user's process cannot be named without root."""
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid is not None and not connection.raddr:
            try:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return "a process of another user (try `sudo ss -ltnp`)"


def taken_sentence(port: int, purpose: str, base: int) -> str:
    """One sentence for the person: which port, who has it, what to do."""
    return (
        f"port {port} ({purpose}) is taken by {holder(port)}; stop that program, or choose another block of "
        f"{BLOCK_LENGTH} ports with the setting {SETTING} (now {base})"
    )


def find_free_block() -> int:
    """The base of a block in which every port is free, reserved against other callers until this process ends.

    The reservation is a lock on a byte of a file in the temporary folder: two test runs that start at once get different blocks.

    Raises:
        RuntimeError: no free block is left.
    """
    if not _reservations:
        path = Path(tempfile.gettempdir()) / f"chat4all-port-blocks-{os.getuid()}"
        _reservations.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    taken = set(_reservations[1:])
    for base in range(_SEARCH_FROM, _SEARCH_TO, BLOCK_LENGTH):
        if base in taken:
            continue  # a POSIX lock does not stop its own process
        try:
            fcntl.lockf(_reservations[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, base)
        except OSError:
            continue
        if all(is_free(base + offset) for offset in range(BLOCK_LENGTH)):
            _reservations.append(base)
            return base
        fcntl.lockf(_reservations[0], fcntl.LOCK_UN, 1, base)
    raise RuntimeError(f"no {BLOCK_LENGTH} free ports in a row between {_SEARCH_FROM} and {_SEARCH_TO}")
