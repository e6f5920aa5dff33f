"""Errors travel whole: what a service refuses with is what a caller can read."""

from __future__ import annotations

from datetime import timedelta

from chat4all_runtime.errors import Code, DomainError, invalid
from chat4all_runtime.grpc_errors import from_status, to_status


def test_a_refusal_survives_the_wire() -> None:
    """Reason, metadata, code and the wait come back as they were given."""
    error = DomainError(
        Code.RESOURCE_EXHAUSTED, "TOO_FAST", "Slow down.", metadata={"limit": "5"}, retry_after=timedelta(seconds=3)
    )
    back = from_status(to_status(error, "message"))
    assert (back.code, back.reason, back.message, back.metadata) == (error.code, error.reason, error.message, error.metadata)
    assert back.retry_after == timedelta(seconds=3)


def test_a_bad_field_is_named_twice() -> None:
    """A field error carries ErrorInfo for programs and BadRequest for form fields."""
    status = to_status(invalid("text", "TEXT_EMPTY", "text must not be empty."), "message")
    assert [detail.type_url.rsplit(".", 1)[1] for detail in status.details] == ["ErrorInfo", "BadRequest"]
    assert from_status(status).metadata == {"field": "text"}


def test_an_unknown_code_is_our_fault() -> None:
    """A code we do not use becomes INTERNAL, never an exception."""
    status = to_status(invalid("a", "B", "c"), "x")
    status.code = 2
    assert from_status(status).code is Code.INTERNAL
