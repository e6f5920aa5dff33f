"""One person on this gateway."""

from __future__ import annotations

from chat4all_websocket_gateway.connection import Connection
from chat4all_websocket_gateway.feed import Feed


class User:
    """Their sockets, their conversations, and how current that is.

    `version` changes with each change of membership that was told, so that a list read at the same time is recognised as stale.
    `holds` counts hellos being answered: the user is kept while any of them or any socket is there.
    """

    __slots__ = ("connections", "feeds", "holds", "tenant_id", "user_id", "version")

    def __init__(self, user_id: str, tenant_id: str) -> None:
        self.user_id = user_id
        self.tenant_id = tenant_id
        self.connections: list[Connection] = []
        self.feeds: dict[str, Feed] = {}
        self.version = 0
        self.holds = 0

    @property
    def channel(self) -> bytes:
        """Where lines for this person are published."""
        return b"user:" + self.user_id.encode() + b":events"
