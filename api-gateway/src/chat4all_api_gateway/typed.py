"""Small pieces of Envoy's configuration language that every part of it uses."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

EXTENSIONS = "type.googleapis.com/envoy.extensions."


def typed(name: str, **fields: Any) -> Json:
    """A typed configuration; `name` is relative to `envoy.extensions.`."""
    return {"@type": EXTENSIONS + name, **fields}


def seconds(value: float) -> str:
    """A duration as protobuf's JSON writes it."""
    return f"{value:.3f}s" if value != int(value) else f"{int(value)}s"


def address(host: str, port: int) -> Json:
    """A socket address."""
    return {"socket_address": {"address": host, "port_value": port}}


def http_filter(name: str, kind: str, **fields: Any) -> Json:
    """One HTTP filter of the chain."""
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed(f"filters.http.{kind}", **fields)}


def filter_off() -> Json:
    """Switches a filter off on one route."""
    return {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
