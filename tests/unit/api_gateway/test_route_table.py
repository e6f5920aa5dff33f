"""The route table against the contracts."""

from __future__ import annotations

import re

import pytest

from chat4all_api_gateway import annotations, route_table
from chat4all_api_gateway.annotations import Binding
from chat4all_api_gateway.route_table import RouteTable, ServiceEntry

# The rows of the public contract that the services of today answer; a method that moves or vanishes breaks clients.
CONTRACT = {
    "POST /v1/auth/register", "POST /v1/auth/login", "POST /v1/auth/refresh", "POST /v1/auth/logout",
    "GET /v1/users/me", "PATCH /v1/users/me", "GET /v1/users/{user_id}", "GET /v1/users",
    "GET /v1/users/me/sessions", "DELETE /v1/users/me/sessions/{session_id}",
    "POST /v1/conversations", "GET /v1/conversations", "GET /v1/conversations/{conversation_id}",
    "PATCH /v1/conversations/{conversation.conversation_id}", "DELETE /v1/conversations/{conversation_id}",
    "GET /v1/conversations/{conversation_id}/members", "POST /v1/conversations/{conversation_id}/members",
    "PATCH /v1/conversations/{conversation_id}/members/{member.user_id}",
    "DELETE /v1/conversations/{conversation_id}/members/{user_id}",
    "POST /v1/conversations/{conversation_id}/read",
    "POST /v1/conversations/{conversation_id}/messages", "POST /v1/conversations/{conversation_id}/messages:batch",
    "GET /v1/conversations/{conversation_id}/messages", "GET /v1/messages/{message_id}",
    "POST /v1/files", "GET /v1/files/{file_id}/parts", "POST /v1/files/{file_id}:complete", "GET /v1/files/{file_id}",
    "GET /v1/files/{file_id}/download", "DELETE /v1/files/{file_id}",
    "GET /v1/presence", "PUT /v1/presence",
}  # fmt: skip

OPEN = {"POST /v1/auth/register", "POST /v1/auth/login", "POST /v1/auth/refresh"}


def named(binding: Binding) -> str:
    return f"{binding.verb} {binding.template}"


def test_every_contracted_path_is_routed() -> None:
    """Each row of the contract has a route; what is routed beyond it was only added."""
    assert {named(route.binding) for route in route_table.routes(route_table.load())} >= CONTRACT


def test_exactly_the_contracts_open_paths_are_open() -> None:
    """No token is asked for on three paths, the keys, the health and the socket path; nowhere else."""
    table = route_table.load()
    assert {named(route.binding) for route in route_table.routes(table) if route.open} == OPEN
    assert (table.keys, table.health, table.websocket) == ("/.well-known/jwks.json", "/health", "/v1/ws")


def test_every_annotated_method_of_a_served_service_has_a_route() -> None:
    """A method that gets an annotation is reachable without anybody editing the edge."""
    table = route_table.load()
    routed = {route.binding for route in route_table.routes(table)}
    for entry in table.services.values():
        assert set(annotations.bindings(entry.service)) <= routed


def test_only_calls_that_may_repeat_are_repeated() -> None:
    """Tokens, accounts and uploads without an id of the client's are never sent twice after a service may have acted."""
    repeatable = {route.binding.method for route in route_table.routes(route_table.load()) if route.repeatable}
    assert not repeatable & {"Register", "Login", "RefreshToken", "Logout", "CreateUpload", "DeleteSession", "UpdateConversation"}
    assert {"SendMessage", "SendMessageBatch", "CreateConversation", "ListMessages", "CompleteUpload"} <= repeatable


def test_a_path_matches_one_route_first() -> None:
    """Literals and custom verbs come before variables, whatever the order in the contracts."""
    routes = route_table.routes(route_table.load())

    def first(verb: str, path: str) -> str:
        for route in routes:
            if route.binding.verb == verb and re.fullmatch(route.binding.regex, path):
                return route.binding.method
        return ""

    assert first("GET", "/v1/users/me") == "GetCurrentUser"
    assert first("GET", "/v1/users/you") == "GetUser"
    assert first("GET", "/v1/users/me/sessions") == "ListSessions"
    assert first("POST", "/v1/files/f1:complete") == "CompleteUpload"
    assert first("POST", "/v1/conversations/c1/messages:batch") == "SendMessageBatch"
    assert first("POST", "/v1/conversations/c1/messages") == "SendMessage"
    assert first("POST", "/v1/conversations/c1/messagesX") == ""
    assert first("GET", "/v1/users/a/b") == ""


@pytest.mark.parametrize("field", ["open", "repeatable", "large"])
def test_a_misspelt_method_stops_the_edge(field: str) -> None:
    """A name in the table that no contract annotates is an error at start, not a rule that silently does nothing."""
    entry = ServiceEntry.model_validate({"service": "chat4all.auth.v1.AuthService", field: ["Logn"]})
    table = RouteTable(services={"auth": entry}, websocket="/w", keys="/k", health="/h")
    with pytest.raises(ValueError, match="Logn"):
        route_table.routes(table)


def test_internal_methods_are_not_bindings() -> None:
    """Methods without an annotation are not the edge's business."""
    methods = {binding.method for binding in annotations.bindings("chat4all.auth.v1.AuthService")}
    assert not methods & {"VerifyToken", "BatchGetUsers"}
    with pytest.raises(LookupError):
        annotations.bindings("chat4all.nothing.v1.Nothing")
