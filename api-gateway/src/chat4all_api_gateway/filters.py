"""The chain each request passes, in order: cross-origin, gRPC-Web, flood limit, token, user limit, body size, JSON to gRPC.

Nothing a client sends can pose as a fact established here or by our own processes: such headers are removed before the chain.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from chat4all_api_gateway.clusters import KEYS_CLUSTER
from chat4all_api_gateway.replies import retry_after
from chat4all_api_gateway.route_table import Route, RouteTable
from chat4all_api_gateway.settings import EdgeSettings, EdgeTokenSettings, Settings
from chat4all_api_gateway.typed import Json, http_filter, seconds, typed

JWT_FILTER = "envoy.filters.http.jwt_authn"
TRANSCODER_FILTER = "envoy.filters.http.grpc_json_transcoder"
BUFFER_FILTER = "envoy.filters.http.buffer"
USER_LIMIT_FILTER = "envoy.filters.http.local_ratelimit.user"

_PAYLOAD = "payload"

# Headers that mean something inside: who one of our processes is, on whose behalf it acts, what a token said, and Envoy's
# own orders (a client must not ask for retries or longer waits).
INTERNAL_HEADERS = [
    "x-service-token", "x-acting-user-id", "x-acting-tenant-id", "x-acting-session-id", "x-acting-scope", "x-acting-service",
    "x-user-id", "x-tenant-id", "x-session-id", "x-scope", "x-scopes",
]  # fmt: skip
INTERNAL_PREFIXES = ["x-acting-", "x-envoy-"]


def strip_internal_headers() -> Json:
    """Runs before routing and every filter."""
    mutations: list[Json] = [{"remove": name} for name in INTERNAL_HEADERS]
    mutations += [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in INTERNAL_PREFIXES]
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": typed("http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations),
    }


def filters(table: RouteTable, routes: list[Route], settings: Settings, descriptor: Path) -> list[Json]:
    """The chain; limits that are switched off are left out."""
    edge = settings.edge
    chain = [
        _tell_when_to_retry(),
        http_filter("cors", "cors.v3.Cors"),
        # Early, so that a refusal by a later filter still is a gRPC-Web answer.
        http_filter("grpc_web", "grpc_web.v3.GrpcWeb"),
    ]
    if edge.address_requests_per_second:
        action: Json = {"remote_address": {}}
        limit = (edge.address_requests_per_second, edge.address_burst)
        chain.append(_limit("address", "remote_address", action, limit, edge, tell=False))
    chain.append(_tokens(table, routes, settings.tokens))
    if edge.user_requests_per_second:
        subject = {"key": JWT_FILTER, "path": [{"key": _PAYLOAD}, {"key": "sub"}]}
        action = {"metadata": {"descriptor_key": "user", "metadata_key": subject, "source": "DYNAMIC", "skip_if_absent": True}}
        limit = (edge.user_requests_per_second, edge.user_burst)
        chain.append(_limit("user", "user", action, limit, edge, tell=True))
    chain.append(http_filter("buffer", "buffer.v3.Buffer", max_request_bytes=edge.max_body_bytes))
    chain.append(_transcoder(table, descriptor))
    chain.append(http_filter("router", "router.v3.Router", suppress_envoy_headers=True))
    return chain


def _tell_when_to_retry() -> Json:
    """Answers of services with 429 or 503 get `retry-after` too, unless they brought one."""
    header = retry_after()
    status = "response.headers[':status']"
    value = f"%CEL({status} == '429' || {status} == '503' ? '{header['header']['value']}' : '')%"
    mutation = {"append": {"header": {"key": header["header"]["key"], "value": value}, "append_action": header["append_action"]}}
    return http_filter("header_mutation", "header_mutation.v3.HeaderMutation", mutations={"response_mutations": [mutation]})


def _limit(name: str, key: str, action: Json, limit: tuple[int, int], edge: EdgeSettings, *, tell: bool) -> Json:
    """A token bucket per value of one descriptor, counted over all worker threads of this process.

    `tell` puts `x-ratelimit-*` on every answer; only one filter of a chain may, or the headers come twice.
    """
    per_second, burst = limit
    bucket = {"max_tokens": max(burst, per_second), "tokens_per_fill": per_second, "fill_interval": "1s"}
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    config = {
        "stat_prefix": f"limit_{name}",
        # Only the buckets per value count; the filter demands one for the rest.
        "token_bucket": {"max_tokens": 4_294_967_295, "tokens_per_fill": 4_294_967_295, "fill_interval": "1s"},
        "always_consume_default_token_bucket": False,
        "filter_enabled": on,
        "filter_enforced": on,
        "rate_limits": [{"actions": [action]}],
        "descriptors": [{"entries": [{"key": key}], "token_bucket": bucket}],
        "max_dynamic_descriptors": edge.limited_values,
        "rate_limited_as_resource_exhausted": True,
    }
    if tell:
        config["enable_x_ratelimit_headers"] = "DRAFT_VERSION_03"
    limiter = http_filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", **config)
    return {**limiter, "name": f"envoy.filters.http.local_ratelimit.{name}"}


def _tokens(table: RouteTable, routes: list[Route], tokens: EdgeTokenSettings) -> Json:
    open_paths = [table.health, table.keys, table.websocket]
    for route in routes:
        if route.open:
            open_paths += [route.binding.template, route.binding.grpc_path]
    # No cache of verified tokens: it would go on accepting tokens of a key that was withdrawn.
    provider = {
        "issuer": tokens.issuer,
        "audiences": [tokens.audience],
        "require_expiration": True,
        "clock_skew_seconds": tokens.leeway_seconds,
        # Only here: a token in a URL would end in logs. The scheme's name has no case (RFC 9110 §11.1), Envoy's prefix has.
        "from_headers": [{"name": "authorization", "value_prefix": f"{scheme} "} for scheme in ("Bearer", "bearer", "BEARER")],
        "forward": True,  # services check the token again
        "payload_in_metadata": _PAYLOAD,
        "remote_jwks": {
            "http_uri": {"uri": tokens.jwks_url, "cluster": KEYS_CLUSTER, "timeout": "2s"},
            "cache_duration": seconds(tokens.keys_cache_seconds),
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
        },
    }
    rules: list[Json] = [{"match": {"path": path}} for path in sorted(set(open_paths))]
    rules.append({"match": {"prefix": "/"}, "requires": {"provider_name": "auth"}})
    return http_filter(
        "jwt_authn", "jwt_authn.v3.JwtAuthentication", bypass_cors_preflight=True, providers={"auth": provider}, rules=rules
    )


def _transcoder(table: RouteTable, descriptor: Path) -> Json:
    return http_filter(
        "grpc_json_transcoder",
        "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(descriptor),
        services=[entry.service for entry in table.services.values()],
        convert_grpc_status=True,
        match_incoming_request_route=True,
        print_options={"always_print_primitive_fields": True, "preserve_proto_field_names": True},
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            # Else the body would win over the path, and the path would not say what is changed.
            "reject_binding_body_field_collisions": True,
        },
    )


def path_of(url: str) -> str:
    """The path of a URL, `/` when it has none."""
    return urlsplit(url).path or "/"
