"""A TCP proxy that a test can cut and mend: the way to take an engine away from one process without stopping the engine."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType


class CuttableProxy:
    """Passes bytes between its own port and a target while it is mended; starts mended unless told otherwise.

    Cut means: connections are reset and new ones refused.
    """

    def __init__(self, host: str, port: int, *, mended: bool = True) -> None:
        self._target = (host, port)
        self._start_mended = mended
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> CuttableProxy:
        if self._start_mended:
            self.mend()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def mend(self) -> None:
        """Accept connections and pass their bytes on."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        self._spawn(self._accept, listener)

    def cut(self) -> None:
        """Reset what is open and refuse what comes."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]  # any callable
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            try:
                outer = socket.create_connection(self._target, timeout=5)
            except OSError:
                inner.close()
                continue
            outer.settimeout(None)
            pair = (inner, outer)
            with self._lock:
                self._pairs.add(pair)
            self._spawn(self._pass_on, pair)

    def _pass_on(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(pair[0], selectors.EVENT_READ, pair[1])
            selector.register(pair[1], selectors.EVENT_READ, pair[0])
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]  # what was registered
                    data = source.recv(65536)
                    if not data:
                        raise OSError("closed")
                    key.data.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            end.close()
