"""WebSocket upgrades through the edge."""

from __future__ import annotations

import pytest
from integration.api_gateway.backends import Backends
from integration.api_gateway.conftest import Edge
from integration.api_gateway.test_tokens import reason_of
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus


async def test_sockets_pass_with_their_subprotocol(edge: Edge) -> None:
    """The upgrade needs no token (it comes in the first frame); frames pass both ways, large ones whole."""
    address = f"ws://127.0.0.1:{edge.port}/v1/ws"
    async with connect(address, subprotocols=["chat4all.v1.json"], max_size=None) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "chat4all.v1.json"
        for frame in ["hello", "x" * 200_000]:
            await socket.send(frame)
            assert await socket.recv() == frame
        await (await socket.ping())


async def test_other_paths_take_no_upgrade(edge: Edge, backends: Backends) -> None:
    """Only one path upgrades; elsewhere the upgrade is refused, with a token too."""
    for path in ["/v1/users/me", "/v1/ws2", "/v1/auth/login", "/health"]:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                f"ws://127.0.0.1:{edge.port}{path}",
                additional_headers={"authorization": f"Bearer {backends.tokens.mint()}"},
            ):
                pass
        assert refused.value.response.status_code == 403
        assert b"UPGRADE_REFUSED" in (refused.value.response.body or b"")
    assert backends.calls == []


def test_a_plain_request_to_the_socket_path_is_told_so(edge: Edge) -> None:
    """GET without an upgrade is 400 in the one shape."""
    answer = edge.get("/v1/ws")
    assert answer.status_code == 400
    assert reason_of(answer) == "UPGRADE_REQUIRED"
