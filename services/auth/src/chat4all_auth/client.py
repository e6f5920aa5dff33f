"""Where a call came from: the address that limits count by, and the user agent that people see in their list of sessions."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import unquote

from chat4all_auth.domain.fields import is_printable
from chat4all_auth.domain.model import Client

_USER_AGENT_MAX_CHARS = 300


def client_of(metadata: Iterable[tuple[str, str | bytes]], peer: str) -> Client:
    """Read metadata and peer of a call.

    The edge appends the address it saw to `x-forwarded-for`; everything before the last entry was said by the client and may
    be a lie. Without the header the caller is inside the mesh and its own address counts.
    """
    forwarded, user_agent = "", ""
    for key, value in metadata:
        if key == "x-forwarded-for" and isinstance(value, str):
            forwarded = value
        elif key == "user-agent" and isinstance(value, str):
            user_agent = value
    address = _normal(forwarded.rsplit(",", 1)[-1]) or _normal(_host(peer)) or "unknown"
    agent = user_agent[:_USER_AGENT_MAX_CHARS]
    return Client(address, agent if is_printable(agent) else "")


def _host(peer: str) -> str:
    """The address in gRPC's `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rsplit(":", 1)[0].strip("[]") if kind in ("ipv4", "ipv6") else ""


def _normal(text: str) -> str:
    """One spelling per address; of IPv6 the /64, which is what one customer gets. Empty when it is no address."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return "::1" if address.is_loopback else str(ip_network((int(address), 64), strict=False))
    return str(address)
