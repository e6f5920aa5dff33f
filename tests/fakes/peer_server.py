"""A small real gRPC server for a peer that a test plays itself. It checks the service token as the real one would."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc

from chat4all_runtime.errors import DomainError
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.settings import InternalSettings


class PeerServer:
    """Listens on `target` from `start` to `stop`; can be started again on the same port."""

    def __init__(self, register: Callable[[grpc.Server], object]) -> None:
        self._register = register
        self._port = 0
        self._server: grpc.Server | None = None

    @property
    def target(self) -> str:
        """host:port, known after the first start."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen."""
        server = grpc.server(ThreadPoolExecutor(4))
        self._register(server)
        self._port = server.add_insecure_port(self.target)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.stop(None).wait(5)
            self._server = None

    def __enter__(self) -> PeerServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def require_service_token(context: grpc.ServicerContext, internal: InternalSettings) -> None:
    """End the call with UNAUTHENTICATED unless one of our processes makes it."""
    metadata = {item[0]: item[1] for item in context.invocation_metadata()}
    try:
        ServiceTokens(internal, "fake").verify(str(metadata.get("x-service-token", "")))
    except DomainError as error:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message)
