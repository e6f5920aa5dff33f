"""Reads the REST side of the contracts: each `google.api.http` annotation in the descriptor set that ships with this package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

DESCRIPTOR_NAME = "chat4all.binpb"

_VARIABLE = re.compile(r"\{([a-z_.]+)\}")


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to call a method by REST.

    Args:
        service: full name of the gRPC service.
        method: name of the method.
        verb: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
        template: such as `/v1/files/{file_id}:complete`.
    """

    service: str
    method: str
    verb: str
    template: str

    @property
    def grpc_path(self) -> str:
        """The path of native gRPC calls."""
        return f"/{self.service}/{self.method}"

    @property
    def literal(self) -> bool:
        """Whether the path has no variable."""
        return "{" not in self.template

    @property
    def regex(self) -> str:
        """A regular expression that matches exactly the paths of the template, each variable being one segment."""
        parts = _VARIABLE.split(self.template)  # text, name, text, name, …, text
        return "[^/]+".join(re.escape(text) for text in parts[::2])

    @property
    def precedence(self) -> tuple[object, ...]:
        """Sorts the narrower of two templates that match the same path first: literals and custom verbs before variables."""
        last = self.template.rsplit("/", 1)[1]
        custom_verb = ":" in last
        return (tuple("{" in segment for segment in self.template.split("/")), not custom_verb, self.template, self.verb)


def descriptor_bytes() -> bytes:
    """The descriptor set of every contract, with the error details that Envoy must be able to print."""
    return resources.files(__package__).joinpath(DESCRIPTOR_NAME).read_bytes()


def write_descriptor(folder: Path) -> Path:
    """Put a copy where Envoy can read it."""
    path = folder / DESCRIPTOR_NAME
    path.write_bytes(descriptor_bytes())
    return path


def bindings(service: str) -> list[Binding]:
    """The REST bindings of a service, narrower templates first.

    Raises:
        LookupError: there is no such service.
        ValueError: a template uses a form this edge does not route (wildcards or patterns inside a variable).
    """
    found = [binding for method in _methods(service) for binding in _of_method(service, method)]
    for binding in found:
        if "*" in binding.template or set(_VARIABLE.sub("", binding.template)) & set("{}"):
            raise ValueError(f"{binding.service}/{binding.method}: {binding.template} is not a plain template")
    return sorted(found, key=lambda binding: binding.precedence)


def _methods(service: str) -> Iterator[descriptor_pb2.MethodDescriptorProto]:
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_bytes())
    for file in files.file:
        for candidate in file.service:
            if f"{file.package}.{candidate.name}" == service:
                yield from candidate.method
                return
    raise LookupError(f"no contract has a service {service}")


def _of_method(service: str, method: descriptor_pb2.MethodDescriptorProto) -> Iterator[Binding]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    for one in [rule, *rule.additional_bindings]:
        kind = one.WhichOneof("pattern")
        if kind is None or kind == "custom":
            raise ValueError(f"{service}/{method.name}: its annotation names no plain HTTP verb")
        yield Binding(service, method.name, kind.upper(), getattr(one, kind))
