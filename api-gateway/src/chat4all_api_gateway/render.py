"""The whole configuration, as one file that Envoy starts from."""

from __future__ import annotations

from pathlib import Path

import yaml

from chat4all_api_gateway import route_table
from chat4all_api_gateway.annotations import write_descriptor
from chat4all_api_gateway.clusters import TRACING_CLUSTER, clusters
from chat4all_api_gateway.filters import filters, strip_internal_headers
from chat4all_api_gateway.replies import local_replies
from chat4all_api_gateway.settings import EdgeSettings, Settings
from chat4all_api_gateway.typed import Json, address, typed
from chat4all_api_gateway.virtual_host import virtual_host

CONFIG_NAME = "envoy.yaml"

_HEADER = "# Rendered by `python -m chat4all_api_gateway` from the contracts, routes.yaml and the settings. Edits are lost.\n"


def write(settings: Settings, folder: Path, tracing_endpoint: str | None) -> Path:
    """Write the configuration and the descriptor set into a folder, which is made when it is not there.

    Args:
        settings: all of the edge's settings.
        folder: absolute paths into it are written into the configuration.
        tracing_endpoint: URL of an OTLP collector that speaks gRPC; None sends no spans.

    Returns:
        The file to start Envoy with.

    Raises:
        ValueError: the route table and the contracts do not agree.
        OSError: the folder cannot be written.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    document = bootstrap(settings, write_descriptor(folder), tracing_endpoint)
    path = folder / CONFIG_NAME
    path.write_text(_HEADER + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=130))
    return path


class _Plain(yaml.SafeDumper):
    """Repeats what is used twice instead of naming it: the file is read by people too."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def bootstrap(settings: Settings, descriptor: Path, tracing_endpoint: str | None) -> Json:
    """The configuration as a document; reads only the package's own files."""
    table = route_table.load()
    routes = route_table.routes(table)
    edge = settings.edge
    connection: Json = {
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "server_name": "chat4all",
        # The peer's address is the client's, unless trusted proxies stand in front.
        "use_remote_address": True,
        "xff_num_trusted_hops": edge.trusted_hops,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "headers_with_underscores_action": "DROP_HEADER",
            "idle_timeout": "300s",
            "max_headers_count": 64,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "max_request_headers_kb": 16,
        "request_timeout": "30s",
        "request_headers_timeout": "5s",
        # Ours, never the client's: it is what support looks a request up by.
        "generate_request_id": True,
        "preserve_external_request_id": False,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [strip_internal_headers()],
        "local_reply_config": local_replies(),
        # Allowed on one route only.
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
        "http_filters": filters(table, routes, settings, descriptor),
        # One route names no cluster on purpose.
        "route_config": {"name": "edge", "validate_clusters": False, "virtual_hosts": [virtual_host(table, routes, settings)]},
    }
    if edge.access_log:
        connection["access_log"] = [_access_log(edge)]
    if tracing_endpoint:
        connection["tracing"] = _tracing()
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed("filters.network.http_connection_manager.v3.HttpConnectionManager", **connection),
    }
    return {
        "admin": {"address": address("127.0.0.1", edge.admin_port)},
        "overload_manager": _overload(edge),
        "static_resources": {
            "listeners": [
                {
                    "name": "edge",
                    "address": address(edge.host, edge.port),
                    "per_connection_buffer_limit_bytes": max(1_048_576, edge.max_batch_body_bytes, edge.max_body_bytes),
                    "filter_chains": [{"filters": [manager]}],
                }
            ],
            "clusters": clusters(table, settings, tracing_endpoint),
        },
    }


def _overload(edge: EdgeSettings) -> Json:
    def monitor(name: str, kind: str, **limits: int) -> Json:
        return {"name": f"envoy.resource_monitors.{name}", "typed_config": typed(f"resource_monitors.{kind}", **limits)}

    def action(name: str, at: float) -> Json:
        trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": at}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    connections = {"max_active_downstream_connections": edge.max_connections}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            monitor("fixed_heap", "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=edge.max_heap_mib * 1024 * 1024),
            monitor("global_downstream_max_connections", "downstream_connections.v3.DownstreamConnectionsConfig", **connections),
        ],
        "actions": [action("shrink_heap", 0.9), action("stop_accepting_requests", 0.95)],
    }


def _access_log(edge: EdgeSettings) -> Json:
    # The path without its query, which may hold what a person searched for.
    line = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ:ORIG_OR_PATH)%",
        "route": "%ROUTE_NAME%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "grpc_status": "%GRPC_STATUS%",
        "duration_ms": "%DURATION%",
        "upstream": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "trace_id": "%TRACE_ID%",
        "user_id": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    log: Json = {
        "name": "envoy.access_loggers.file",
        "typed_config": typed("access_loggers.file.v3.FileAccessLog", path=edge.access_log, log_format={"json_format": line}),
    }
    if edge.access_log_min_status:
        threshold = {"default_value": edge.access_log_min_status, "runtime_key": "edge.access_log_min_status"}
        log["filter"] = {"status_code_filter": {"comparison": {"op": "GE", "value": threshold}}}
    return log


def _tracing() -> Json:
    return {
        "random_sampling": {"value": 100},
        "spawn_upstream_span": True,
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "chat4all-edge",
                "grpc_service": {"envoy_grpc": {"cluster_name": TRACING_CLUSTER}, "timeout": "1s"},
            },
        },
    }
