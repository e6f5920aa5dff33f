"""The route table: what the annotations cannot say. Checked against the contracts when it is read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict

from chat4all_api_gateway.annotations import Binding, bindings


class ServiceEntry(BaseModel):
    """One gRPC service behind the edge; see the comments of `routes.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    open: frozenset[str] = frozenset()
    repeatable: frozenset[str] = frozenset()
    large: frozenset[str] = frozenset()


class RouteTable(BaseModel):
    """The whole table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: dict[str, ServiceEntry]
    websocket: str
    keys: str
    health: str


@dataclass(frozen=True, slots=True)
class Route:
    """One REST binding with all that is known of it.

    Args:
        part: short name of the service, also of its settings and its Envoy cluster.
        open: no token is asked for.
        repeatable: may be sent again after the service may have acted on it.
        large: carries a batch.
    """

    part: str
    binding: Binding
    open: bool
    repeatable: bool
    large: bool


def load() -> RouteTable:
    """The table that ships with this package."""
    text = resources.files(__package__).joinpath("routes.yaml").read_text()
    return RouteTable.model_validate(yaml.safe_load(text))


def routes(table: RouteTable) -> list[Route]:
    """Every binding of every served service, narrower templates first.

    Raises:
        ValueError: the table names a method that has no annotation, or two methods claim the same verb and path.
    """
    found: list[Route] = []
    for part, entry in table.services.items():
        ways = bindings(entry.service)
        unknown = (entry.open | entry.repeatable | entry.large) - {binding.method for binding in ways}
        if unknown:
            raise ValueError(f"route table: {entry.service} has no annotated method {', '.join(sorted(unknown))}")
        found += [
            Route(
                part,
                binding,
                open=binding.method in entry.open,
                repeatable=binding.verb == "GET" or binding.method in entry.repeatable,
                large=binding.method in entry.large,
            )
            for binding in ways
        ]
    seen: dict[tuple[str, str], Binding] = {}
    for route in found:
        key = (route.binding.verb, route.binding.regex)
        if key in seen:
            raise ValueError(f"{seen[key].grpc_path} and {route.binding.grpc_path} claim the same path")
        seen[key] = route.binding
    return sorted(found, key=lambda route: route.binding.precedence)
