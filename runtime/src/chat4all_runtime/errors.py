"""The one base of the errors a caller may see.

A use case raises a `DomainError`; the gRPC interceptor turns it into `google.rpc.Status` with `ErrorInfo`, and the edge maps
that to HTTP. Anything else that escapes is a defect and is answered as INTERNAL with an id to look up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import IntEnum


class Code(IntEnum):
    """Canonical gRPC codes we use (source: google/rpc/code.proto)."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class DomainError(Exception):
    """A refusal with a reason a client can act on.

    Args:
        code: canonical code; decides the HTTP status.
        reason: UPPER_SNAKE_CASE, stable, documented.
        message: one sentence for the developer who reads it.
        metadata: every value the sentence mentions.
        retry_after: when it is worth trying again, if it is.
        field: the request field at fault, for INVALID_ARGUMENT.
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: timedelta | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.field = field


def invalid(field: str, reason: str, message: str, **metadata: str) -> DomainError:
    """An INVALID_ARGUMENT about one request field."""
    return DomainError(Code.INVALID_ARGUMENT, reason, message, metadata={"field": field, **metadata}, field=field)


def unavailable(what: str, retry_after: timedelta = timedelta(seconds=1)) -> DomainError:
    """A store or a peer is away for now; `what` names it in lower case, such as `kafka`."""
    return DomainError(
        Code.UNAVAILABLE,
        f"{what.upper()}_UNAVAILABLE",
        f"{what} cannot be reached right now; try again.",
        metadata={"dependency": what},
        retry_after=retry_after,
    )
