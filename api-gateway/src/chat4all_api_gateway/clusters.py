"""Where requests go: one Envoy cluster per part, with health checks, ejection of bad copies and bounds on what waits."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from chat4all_api_gateway.route_table import RouteTable
from chat4all_api_gateway.settings import Settings
from chat4all_api_gateway.typed import Json, address, seconds, typed

KEYS_CLUSTER = "auth_keys"
WEBSOCKET_CLUSTER = "websocket"
TRACING_CLUSTER = "tracing"

_CONNECT_SECONDS = 0.5
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(table: RouteTable, settings: Settings, tracing_endpoint: str | None) -> list[Json]:
    """All clusters of the configuration.

    Raises:
        KeyError: the route table names a part that has no target setting.
        ValueError: a URL has no host and port.
    """
    found = [_service(part, entry.service, settings.targets(part)) for part, entry in table.services.items()]
    found.append(_cluster(KEYS_CLUSTER, [host_and_port(settings.tokens.jwks_url)]))
    # No active check: sockets are long, and the gateway's health is on another port. A copy that refuses connections is ejected.
    sockets = _cluster(WEBSOCKET_CLUSTER, settings.targets("websocket"))
    sockets["circuit_breakers"] = {"thresholds": [_bounds(settings.edge.max_connections)]}
    found.append({**sockets, "outlier_detection": _ejection(), "common_lb_config": _no_panic()})
    if tracing_endpoint:
        found.append(_cluster(TRACING_CLUSTER, [host_and_port(tracing_endpoint)], http2=True))
    return found


def host_and_port(url: str) -> tuple[str, int]:
    """The listener a URL names.

    Raises:
        ValueError: there is none in it.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url} names no host")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _service(name: str, service: str, targets: list[tuple[str, int]]) -> Json:
    return {
        **_cluster(name, targets, http2=True),
        "common_lb_config": _no_panic(),
        "close_connections_on_host_health_failure": True,
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                # A copy that was away is used again soon after it is back.
                "unhealthy_interval": "0.5s",
                "unhealthy_edge_interval": "0.5s",
                "no_traffic_healthy_interval": "2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": service},
            }
        ],
        "outlier_detection": _ejection(),
        "circuit_breakers": {"thresholds": [_bounds(64)]},
    }


def _cluster(name: str, targets: list[tuple[str, int]], *, http2: bool = False) -> Json:
    cluster: Json = {
        "name": name,
        "type": "STATIC" if all(_is_ip(host) for host, _ in targets) else "STRICT_DNS",
        "connect_timeout": seconds(_CONNECT_SECONDS),
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}} for host, port in targets]}],
        },
    }
    if http2:
        options = {"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}}
        cluster["typed_extension_protocol_options"] = {
            _HTTP_OPTIONS: typed("upstreams.http.v3.HttpProtocolOptions", explicit_http_config=options)
        }
    return cluster


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ejection() -> Json:
    # INTERNAL, UNKNOWN and UNAVAILABLE count as 5xx; half of the copies always stay, so one copy alone is never ejected.
    return {
        "consecutive_5xx": 10,
        "consecutive_gateway_failure": 5,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 50,
    }


def _no_panic() -> Json:
    # With every copy down answer 503 at once; the default would go on sending to the dead.
    return {"healthy_panic_threshold": {"value": 0}}


def _bounds(connections: int) -> Json:
    return {
        "max_connections": connections,
        "max_pending_requests": 1024,
        "max_requests": max(4096, connections),
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
    }
