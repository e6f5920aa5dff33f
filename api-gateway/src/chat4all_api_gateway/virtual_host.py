"""Which request goes where: one Envoy route per annotated method and verb, by REST and by native gRPC, and nothing else.

Each has its own deadline, retry policy and body limit. What is in no contract meets the last route and is 404.
"""

from __future__ import annotations

from chat4all_api_gateway.clusters import KEYS_CLUSTER, WEBSOCKET_CLUSTER
from chat4all_api_gateway.filters import BUFFER_FILTER, TRANSCODER_FILTER, USER_LIMIT_FILTER, path_of
from chat4all_api_gateway.route_table import Route, RouteTable
from chat4all_api_gateway.settings import EdgeSettings, Settings
from chat4all_api_gateway.typed import Json, filter_off, seconds, typed

# Never reached a service, or (repeatable ones) the service said it is away.
_RETRY_UNSENT = "connect-failure,refused-stream"
_RETRY_REPEATABLE = f"{_RETRY_UNSENT},unavailable"

_ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_ALLOWED_HEADERS = "authorization, content-type, x-grpc-web, x-user-agent, grpc-timeout, traceparent, tracestate"
_EXPOSED_HEADERS = (
    "x-request-id, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, "
    "grpc-status, grpc-message, grpc-status-details-bin"
)


def virtual_host(table: RouteTable, routes: list[Route], settings: Settings) -> Json:
    """The one virtual host of the edge."""
    edge = settings.edge
    rest = [_rest(route, edge) for route in routes]
    grpc = [_grpc(route, edge) for route in _one_per_method(routes)]
    own = [_health(table), _keys(table, settings), *_sockets(table, edge)]
    return {
        "name": "edge",
        "domains": ["*"],
        # Services see one address, the one we vouch for: what a client wrote there itself, and our own proxies, are gone.
        "request_headers_to_add": [
            {
                "header": {"key": "x-forwarded-for", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "typed_per_filter_config": {"envoy.filters.http.cors": _cors(edge)},
        "routes": [*own, *rest, *grpc, _nothing()],
    }


def _one_per_method(routes: list[Route]) -> list[Route]:
    return list({route.binding.grpc_path: route for route in routes}.values())


def _rest(route: Route, edge: EdgeSettings) -> Json:
    binding = route.binding
    path: Json = {"path": binding.template} if binding.literal else {"safe_regex": {"regex": binding.regex}}
    verb = {"name": ":method", "string_match": {"exact": binding.verb}}
    return {
        "name": f"{binding.verb} {binding.template}",
        "match": {**path, "headers": [verb]},
        "route": _to_service(route, edge),
        "response_headers_to_remove": ["grpc-accept-encoding"],
        "typed_per_filter_config": _exceptions(route, edge),
    }


def _grpc(route: Route, edge: EdgeSettings) -> Json:
    # gRPC-Web has the same prefix; other content types have no business at this path.
    kind = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    return {
        "name": route.binding.grpc_path,
        "match": {"path": route.binding.grpc_path, "headers": [kind]},
        "route": _to_service(route, edge),
        "typed_per_filter_config": {**_exceptions(route, edge), TRANSCODER_FILTER: filter_off()},
    }


def _to_service(route: Route, edge: EdgeSettings) -> Json:
    return {
        "cluster": route.part,
        # Not `max_stream_duration` from the client's grpc-timeout: with it a frozen service was never given up.
        "timeout": seconds(edge.timeout_seconds),
        "retry_policy": {
            "retry_on": _RETRY_REPEATABLE if route.repeatable else _RETRY_UNSENT,
            "num_retries": 2,
            "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        },
    }


def _exceptions(route: Route, edge: EdgeSettings) -> Json:
    """Where the route differs from the filter chain's defaults."""
    found: Json = {}
    if route.large:
        limit = {"max_request_bytes": edge.max_batch_body_bytes}
        found[BUFFER_FILTER] = typed("filters.http.buffer.v3.BufferPerRoute", buffer=limit)
    if route.open:
        found[USER_LIMIT_FILTER] = filter_off()
    return found


def _health(table: RouteTable) -> Json:
    body = {"inline_string": '{"status":"ok","reasons":{}}'}
    return {
        "name": "health",
        "match": {"path": table.health, "headers": [_get()]},
        "direct_response": {"status": 200, "body": body},
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
        "typed_per_filter_config": _not_for_users(),
    }


def _keys(table: RouteTable, settings: Settings) -> Json:
    retry = {"retry_on": "connect-failure,reset,gateway-error", "num_retries": 2}
    target: Json = {"cluster": KEYS_CLUSTER, "timeout": "5s", "retry_policy": retry}
    path = path_of(settings.tokens.jwks_url)
    if path != table.keys:
        target["prefix_rewrite"] = path
    return {
        "name": "keys",
        "match": {"path": table.keys, "headers": [_get()]},
        "route": target,
        "typed_per_filter_config": _not_for_users(),
    }


def _sockets(table: RouteTable, edge: EdgeSettings) -> list[Json]:
    upgrade = {"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": True}}
    off = {**_not_for_users(), BUFFER_FILTER: typed("filters.http.buffer.v3.BufferPerRoute", disabled=True)}
    socket: Json = {
        "name": "sockets",
        "match": {"path": table.websocket, "headers": [_get(), upgrade]},
        "route": {
            "cluster": WEBSOCKET_CLUSTER,
            "timeout": "0s",
            "idle_timeout": seconds(edge.socket_idle_seconds),
            "upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}],
            "retry_policy": {"retry_on": "connect-failure", "num_retries": 2},
        },
        "typed_per_filter_config": off,
    }
    plain: Json = {
        "name": "sockets, asked for without an upgrade",
        "match": {"path": table.websocket, "headers": [_get()]},
        "direct_response": {"status": 400, "body": {"inline_string": "This path takes WebSocket upgrades only."}},
        "typed_per_filter_config": _not_for_users(),
    }
    return [socket, plain]


def _nothing() -> Json:
    # A route to a cluster that does not exist, not a direct response: only on the former does Envoy answer preflights and let
    # browsers read the 404.
    return {
        "name": "nothing",
        "match": {"prefix": "/"},
        "route": {"cluster": "nowhere", "cluster_not_found_response_code": "NOT_FOUND"},
        "typed_per_filter_config": _not_for_users(),
    }


def _not_for_users() -> Json:
    """No JSON to transcode and nobody to count requests of."""
    return {TRANSCODER_FILTER: filter_off(), USER_LIMIT_FILTER: filter_off()}


def _get() -> Json:
    return {"name": ":method", "string_match": {"exact": "GET"}}


def _cors(edge: EdgeSettings) -> Json:
    origins = [{"exact": origin} for origin in filter(None, (part.strip() for part in edge.allowed_origins.split(",")))]
    return typed(
        "filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods=_ALLOWED_METHODS,
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        max_age="600",
    )
