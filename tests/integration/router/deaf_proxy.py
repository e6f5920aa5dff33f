"""A TCP proxy to MongoDB that, on demand, lets a write through and swallows its answer: the outcome is unknown to the writer."""

from __future__ import annotations

import contextlib
import socket
import threading


class DeafProxy:
    """Passes bytes both ways; `swallow` makes the next connections that carry an insert silent for ever."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._to_swallow = 0
        self.swallowed = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self, count: int) -> None:
        """So many inserts reach the store and are not answered."""
        with self._lock:
            self._to_swallow = count

    def close(self) -> None:
        """End everything."""
        for one in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(self._target, timeout=5)
                outer.settimeout(None)
                self._sockets += [inner, outer]
                deaf = threading.Event()
                threading.Thread(target=self._requests, args=(inner, outer, deaf), daemon=True).start()
                threading.Thread(target=self._answers, args=(outer, inner, deaf), daemon=True).start()

    def _requests(self, inner: socket.socket, outer: socket.socket, deaf: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := inner.recv(65536):
                with self._lock:
                    if self._to_swallow and b"insert\0" in data:
                        self._to_swallow -= 1
                        self.swallowed += 1
                        deaf.set()
                outer.sendall(data)
        with contextlib.suppress(OSError):
            outer.shutdown(socket.SHUT_WR)

    def _answers(self, outer: socket.socket, inner: socket.socket, deaf: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := outer.recv(65536):
                if not deaf.is_set():
                    inner.sendall(data)
        with contextlib.suppress(OSError):
            inner.shutdown(socket.SHUT_WR)
