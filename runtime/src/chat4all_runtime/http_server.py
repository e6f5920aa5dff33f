"""The small HTTP listener of each process: `/metrics`, `/health`, `/health/live`, `/health/ready`, and what it adds itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chat4all_runtime.health import Health
from chat4all_runtime.settings import HttpSettings


def _report(reasons: Mapping[str, str]) -> web.Response:
    body = orjson.dumps({"status": "ok" if not reasons else "unavailable", "reasons": dict(reasons)})
    return web.Response(status=200 if not reasons else 503, body=body, content_type="application/json")


class HttpServer:
    """Listens from `__aenter__` to `__aexit__`. `port` tells the real port when 0 was asked for.

    Args:
        routes: further GET paths with an aiohttp handler each.

    Raises:
        OSError: on entering, when the port is taken.
    """

    def __init__(
        self, settings: HttpSettings, health: Health, routes: Mapping[str, web.RequestHandler | object] | None = None
    ) -> None:
        self._settings = settings
        self._health = health
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._ready)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        for path, handler in (routes or {}).items():
            app.router.add_get(path, handler)  # type: ignore[arg-type]  # aiohttp's handler alias is not exported
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self.port = settings.port

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _ready(self, _: web.Request) -> web.Response:
        return _report(self._health.not_ready())

    async def _live(self, _: web.Request) -> web.Response:
        return _report(self._health.not_live())

    async def __aenter__(self) -> HttpServer:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.host, self._settings.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()
