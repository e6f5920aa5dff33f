"""A trace that begins at the caller goes through the message service into Kafka and to the collector."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from integration.message.harness import MessageProcess, SentReader, World, text, until
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans as Jaeger or an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    def Export(self, request: otlp.ExportTraceServiceRequest, context: Any) -> otlp.ExportTraceServiceResponse:
        """Keep them with the name of their service."""
        with self._lock:
            for resource in request.resource_spans:
                service = next(pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name")
                self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        return otlp.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """A collector and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(None).wait(5)


def test_a_trace_goes_through(world: World, sent: SentReader, collector: tuple[Collector, str]) -> None:
    """The caller's trace is continued by a server span, and the record carries that span on."""
    kept, endpoint = collector
    with MessageProcess(world, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100") as service:
        service.wait_ready()
        me = world.user()
        conversation = world.conversations.add(me.id)
        metadata = (*me.metadata, ("traceparent", f"00-{TRACE}-{PARENT}-01"))
        service.stub.SendMessage(text(conversation), metadata=metadata, timeout=10)
        [record] = sent.records(conversation, 1)
        service_name, span = until(lambda: next(iter(kept.spans), None))
    assert (service_name, span.name) == ("chat4all-message", "chat4all.message.v1.MessageService/SendMessage")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert dict(record.headers())["traceparent"].decode() == f"00-{TRACE}-{span.span_id.hex()}-01"


def test_a_collector_that_is_away_costs_no_message(world: World, sent: SentReader) -> None:
    """Nobody listens there: messages go as ever, and the process still ends in order."""
    with MessageProcess(world, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="100") as service:
        service.wait_ready()
        me = world.user()
        conversation = world.conversations.add(me.id)
        for number in range(20):
            service.send(me, text(conversation, f"{number}"))
        assert [command.content.text for command in sent.take(conversation, 20)] == [f"{number}" for number in range(20)]
        assert service.stop() == 0
