"""The HTTP route that publishes the signing keys, for our own services, the edge and partners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from chat4all_auth.keys import SigningKeys

PATH = "/.well-known/jwks.json"


def handler(keys: SigningKeys, max_age_seconds: int) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answers with the JWKS; works while every store is away."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"Cache-Control": f"public, max-age={max_age_seconds}"}
        return web.Response(body=orjson.dumps(keys.jwks()), content_type="application/json", headers=headers)

    return answer
