"""OpenTelemetry traces over OTLP; everything here costs nothing while `OTEL_EXPORTER_OTLP_ENDPOINT` is not set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_provider: TracerProvider | None = None


def configure(process: str) -> None:
    """Export spans when an endpoint is set in the environment."""
    global _provider
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _provider = TracerProvider(resource=Resource.create({"service.name": f"chat4all-{process}"}))
        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(_provider)


def enabled() -> bool:
    """Whether spans go anywhere."""
    return _provider is not None


def shutdown() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


@contextmanager
def span(name: str, kind: trace.SpanKind, carrier: Mapping[str, str] | None = None, **attributes: str | int) -> Iterator[None]:
    """A span that continues the trace in `carrier` (`traceparent`), or the current one. Nothing when tracing is off."""
    if _provider is None:
        yield
        return
    parent = propagate.extract(dict(carrier)) if carrier else None
    tracer = trace.get_tracer("chat4all")
    with tracer.start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes)):
        yield


def traceparent() -> str | None:
    """The W3C header of the current span, None when there is none."""
    if _provider is None:
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")
