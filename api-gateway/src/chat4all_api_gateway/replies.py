"""The one error shape, for replies that Envoy makes itself: `google.rpc.Status` as JSON, as the services' own errors.

Sentences are fixed where Envoy's own would tell about the inside. Native gRPC callers keep a plain `grpc-message`.
"""

from __future__ import annotations

from typing import Any

from chat4all_api_gateway.typed import Json, typed

DOMAIN = "edge.chat4all"
RETRY_AFTER_SECONDS = 1

# A request that is refused while its headers are still being read has got no id yet.
_REQUEST_ID: Json = {"header": {"key": "x-request-id", "value": "%UNIQUE_ID%"}, "append_action": "ADD_IF_ABSENT"}

# Envoy's own words, when they say which part of the client's JSON or query is wrong.
_OWN_WORDS = "%LOCAL_REPLY_BODY%"


def local_replies() -> Json:
    """The mappers, first match wins. The codes are those of google/rpc/code.proto; 413 is OUT_OF_RANGE."""
    malformed = "The request is not one this edge understands."
    away = "The service cannot be reached right now; try again."
    return {
        "mappers": [
            _plain_for_grpc(_wrong_audience(), status=401),
            _plain_for_grpc(),
            _reply(_detail("Jwt_is_missing"), 16, "TOKEN_MISSING", "Send `authorization: Bearer <access token>`."),
            _reply(
                _detail("Jwt_is_expired"), 16, "TOKEN_EXPIRED", "The token has expired; get a new one with the refresh token."
            ),
            # Until the first keys have come nobody can be told from anybody: that is our trouble, not the caller's.
            _reply(_detail("Jwks_remote_fetch_is_failed"), 14, "AUTH_UNAVAILABLE", away, status=503, retry=True),
            _reply(_wrong_audience(), 16, "TOKEN_INVALID", "The token is not valid.", status=401),
            _reply(_status(401), 16, "TOKEN_INVALID", "The token is not valid."),
            _reply(_both(_status(400), _detail("transcode")), 3, "MALFORMED_REQUEST", _OWN_WORDS),
            _reply(_both(_status(400), _detail("direct_response")), 3, "UPGRADE_REQUIRED", _OWN_WORDS),
            _reply(_status(400), 3, "MALFORMED_REQUEST", malformed),
            _reply(_status(403), 7, "UPGRADE_REFUSED", "This path does not take that upgrade."),
            _reply(_status(404), 5, "ROUTE_NOT_FOUND", "There is nothing at this path and verb."),
            _reply(_status(408), 4, "REQUEST_TOO_SLOW", "The request did not arrive in time.", status=400),
            _reply(_status(413), 11, "REQUEST_TOO_LARGE", "The request body is too large."),
            _reply(_status(429), 8, "RATE_LIMITED", "Too many requests; slow down.", retry=True),
            _reply(_status(431), 3, "HEADERS_TOO_LARGE", "The request headers are too large.", status=400),
            _reply(_status(504), 4, "DEADLINE_EXCEEDED", "Not done in time; try again."),
            _reply(_status(500, "GE"), 14, "SERVICE_UNAVAILABLE", away, status=503, retry=True),
            _reply(_status(400, "GE"), 3, "MALFORMED_REQUEST", malformed, status=400),
        ]
    }


def _reply(condition: Json, code: int, reason: str, message: str, *, status: int | None = None, retry: bool = False) -> Json:
    details: list[Json] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": DOMAIN, "metadata": {}},
    ]
    if retry:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": f"{RETRY_AFTER_SECONDS}s"})
    mapper: Json = {
        "filter": condition,
        "body_format_override": {"json_format": {"code": code, "message": message, "details": details}},
    }
    if status is not None:
        mapper["status_code"] = status
    mapper["headers_to_add"] = [_REQUEST_ID, retry_after()] if retry else [_REQUEST_ID]
    return mapper


def retry_after() -> Json:
    """The header that tells when it is worth trying again; a service's own word stays."""
    return {"header": {"key": "retry-after", "value": str(RETRY_AFTER_SECONDS)}, "append_action": "ADD_IF_ABSENT"}


def _plain_for_grpc(condition: Json | None = None, status: int | None = None) -> Json:
    # A REST request also has a gRPC content type once it is transcoded, but then its first path is kept in a header.
    native = [
        {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}},
        {"header_filter": {"header": {"name": "x-envoy-original-method", "present_match": True, "invert_match": True}}},
    ]
    filters = native if condition is None else [*native, condition]
    mapper: Json = {
        "filter": {"and_filter": {"filters": filters}},
        "body_format_override": {"text_format_source": {"inline_string": _OWN_WORDS}},
    }
    if status is not None:
        mapper["status_code"] = status
    return mapper


def _status(value: int, comparison: str = "EQ") -> Json:
    key = f"edge.status_{comparison.lower()}_{value}"  # Envoy wants a name; nothing overrides it
    return {"status_code_filter": {"comparison": {"op": comparison, "value": {"default_value": value, "runtime_key": key}}}}


def _both(one: Json, other: Json) -> Json:
    return {"and_filter": {"filters": [one, other]}}


def _detail(part: str) -> Json:
    expression: dict[str, Any] = {"expression": f"response.code_details.contains('{part}')"}
    name = "envoy.access_loggers.extension_filters.cel"
    return {
        "extension_filter": {"name": name, "typed_config": typed("access_loggers.filters.cel.v3.ExpressionFilter", **expression)}
    }


def _wrong_audience() -> Json:
    # Envoy answers 403; somebody with a token for another party is not signed in here, which is 401.
    return _detail("Audiences_in_Jwt_are_not_allowed")
