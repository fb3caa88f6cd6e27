"""One trace from the producer's span to each client's delivery, through real processes and a real collector's door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kafka_cluster import KafkaCluster, produce
from otlp_receiver import OtlpReceiver, Received
from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import PATIENCE_SECONDS, TRANSPORTS, sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.kafka

VALUE = b"what nobody else may read"
SENT_AS = {"sse": "sse", "sse-h2": "sse", "websocket": "websocket", "websocket-h2": "websocket"}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A receiver, and an environment without any variable of OpenTelemetry's."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with OtlpReceiver() as receiver:
        yield receiver


class TracingProducer:
    """A back end that is instrumented with OpenTelemetry's SDK and sends its own spans to the same place."""

    def __init__(self, kafka: KafkaCluster, receiver: OtlpReceiver) -> None:
        self._producer = kafka.producer()
        self._receiver = receiver

    def send(self, topic: str, partition: int, session: str, sampler: Sampler) -> str:
        """Produce one record in a span; gives the span's trace id."""
        provider = TracerProvider(sampler, Resource({"service.name": "back-end"}), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=self._receiver.grpc_endpoint)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("tests").start_as_current_span(f"send {topic}", kind=SpanKind.PRODUCER) as span:
            headers: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(headers)
            assert "traceparent" in headers
            produce(self._producer, topic, partition, [VALUE], key=session, headers=list(headers.items()))
        provider.shutdown()
        return f"{span.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_one_trace_from_send_to_deliver(
    kafka: KafkaCluster, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Each client's delivery is in the producer's trace, with the record's place; what was not sampled is not there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # so it is the shutdown that sends
    topic, session = fresh("traces"), fresh("chat/ada")
    kafka.create_topic(topic, 3)
    producer = TracingProducer(kafka, receiver)
    with ServiceProcess(kafka.bootstrap, topic) as service:
        token = service.token(session)
        async with contextlib.AsyncExitStack() as stack:
            asked = ask(service, session, **{"from": "tail"})
            clients = [Client([service], [transport], asked) for transport in TRANSPORTS.values()]
            for client in clients:
                await stack.enter_async_context(client)
            unsampled = await asyncio.to_thread(producer.send, topic, 2, session, ALWAYS_OFF)
            trace = await asyncio.to_thread(producer.send, topic, 2, session, ALWAYS_ON)
            for client in clients:
                await client.until_events(2)
        assert await asyncio.to_thread(service.stop) == 0
    spans = await asyncio.to_thread(receiver.wait_for, lambda spans: len(spans) == 2 + len(clients))
    check_chain(spans, topic)
    assert {"2"} == {client.events[-1].id.partition("-")[2].partition(".")[0] for client in clients}  # its next offset
    assert {trace} == {span.trace for span in receiver.spans}
    assert unsampled not in {span.trace for span in receiver.spans}
    sent = b"".join(receiver.raw)
    assert [False] * 4 == [secret in sent for secret in (session.encode(), token.encode(), VALUE, b"from=tail")]


def check_chain(spans: Sequence[Received], topic: str) -> None:
    """Hold the spans of one record, which is the second of partition 2, to the model."""
    by_name = {name: [span for span in spans if span.name == f"{name} {topic}"] for name in ("send", "process")}
    [send], [process] = by_name.values()
    delivered = [span for span in spans if span.name == f"deliver {topic}"]
    assert (process.parent, process.kind, process.service) == (send.id, "consumer", "tailrace")
    assert process.attributes["tailrace.subscribers"] == len(TRANSPORTS)
    assert sorted(SENT_AS.values()) == sorted(span.attributes["tailrace.transport"] for span in delivered)
    assert len({span.attributes["tailrace.request_id"] for span in delivered}) == len(TRANSPORTS)
    assert {(process.id, "producer")} == {(span.parent, span.kind) for span in delivered}
    places = [
        (span.attributes["messaging.destination.partition.id"], span.attributes["messaging.kafka.offset"])
        for span in (process, *delivered)
    ]
    assert [("2", 1)] * (1 + len(TRANSPORTS)) == places
    assert all(process.start_ns <= span.start_ns <= span.end_ns for span in delivered)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_never_answers(
    kafka: KafkaCluster, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Events are delivered all the same, and the service's end does not wait for the exporter's time-out."""
    topic, session = fresh("traces"), fresh("chat/ada")
    kafka.create_topic(topic)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with ServiceProcess(kafka.bootstrap, topic) as service:
            async with Client([service], [sse], ask(service, session)) as client:
                await asyncio.to_thread(TracingProducer(kafka, receiver).send, topic, 0, session, ALWAYS_ON)
                await client.until_events(1)
                connection = await asyncio.to_thread(accepted, silent)
            assert await asyncio.to_thread(service.stop) == 0  # raises if it does not end in `END_SECONDS`
            connection.close()
    assert ["send"] == [span.name.split()[0] for span in receiver.spans]


def accepted(server: socket.socket) -> socket.socket:
    """Wait until somebody connects."""
    server.settimeout(PATIENCE_SECONDS)
    return server.accept()[0]
