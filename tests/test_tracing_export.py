"""Spans over the real SDK: what is exported, to a collector that is there, that goes, and that never was."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from builders import FakeRecord, append, make_tail
from otlp_receiver import OtlpReceiver
from tailrace import __version__
from tailrace.event import Trace
from tailrace.tracing import tracing_from_environment
from tailrace.tracing.export import SdkSpans, Watched, exporter_for
from tailrace.tracing.spans import Role

PATIENCE_SECONDS = 20.0
PRODUCER = Trace(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)
NOW_NS = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's operator wants of OpenTelemetry is not meant for tests."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def exported(role: Role = "consumer", parent: Trace = PRODUCER) -> tuple[Trace | None, list[ReadableSpan]]:
    """Make one span; give its context and what was exported."""
    memory = InMemorySpanExporter()
    spans = SdkSpans(memory)
    made = spans.make("process t", role, parent, NOW_NS, NOW_NS + 5, {"messaging.kafka.offset": 24})
    spans.shutdown()
    return made, list(memory.get_finished_spans())


@pytest.mark.parametrize("role, kind", [("consumer", "CONSUMER"), ("producer", "PRODUCER")])
def test_a_span_is_as_it_was_asked_for(role: Role, kind: str) -> None:
    """Name, kind, times and attributes; its parent is the one given, in the same trace, and there is no link."""
    made, [span] = exported(role)
    assert made is not None
    assert (span.name, span.kind.name, span.start_time, span.end_time) == ("process t", kind, NOW_NS, NOW_NS + 5)
    assert (dict(span.attributes or {}), list(span.links)) == ({"messaging.kafka.offset": 24}, [])
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == PRODUCER
    assert span.context is not None
    assert (span.context.trace_id, span.context.span_id) == made
    assert (span.parent.is_remote, span.context.trace_flags.sampled) == (role == "consumer", True)


def test_the_resource_is_ours() -> None:
    """The service has its name and version, each replica an id; the names are those of a published schema."""
    _, [span] = exported()
    named = span.resource.attributes
    assert (named["service.name"], named["service.version"]) == ("tailrace", __version__)
    assert "service.instance.id" in named
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_the_operators_resource_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's own variables keep their meaning."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "fan-out")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    _, [span] = exported()
    named = span.resource.attributes
    assert (named["service.name"], named["deployment.environment.name"]) == ("fan-out", "test")


@pytest.mark.parametrize("sampler, expected", [("parentbased_always_off", 1), ("always_off", 0)])
def test_the_operator_may_ask_for_a_sampler(monkeypatch: pytest.MonkeyPatch, sampler: str, expected: int) -> None:
    """One that follows the parent changes nothing; one that does not may leave out what the producer sampled."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    made, spans = exported()
    assert (expected, expected == 1) == (len(spans), made is not None)


# The wire.


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_otlp(monkeypatch: pytest.MonkeyPatch, receiver: OtlpReceiver, protocol: str) -> None:
    """A real receiver gets both spans of an event, over either protocol, before the shutdown ends."""
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    tracing = tracing_from_environment(os.environ)
    [event] = append(make_tail(), FakeRecord(24))
    event.trace = PRODUCER
    tracing.consumed(event, 1)
    tracing.delivered(event, transport="sse", request_id="r", handed_ns=NOW_NS, accepted_ns=NOW_NS + 5)
    tracing.shutdown()
    process, deliver = receiver.wait_for(lambda spans: len(spans) == 2)
    assert (process.name, process.kind, process.parent) == ("process t", "consumer", f"{PRODUCER.span_id:016x}")
    assert (deliver.name, deliver.kind, deliver.parent) == ("deliver t", "producer", process.id)
    assert {process.trace, deliver.trace} == {f"{PRODUCER.trace_id:032x}"}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_away(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """The shutdown takes no longer than it may, and the threads that were trying end with it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    before = set(threading.enumerate())
    spans = SdkSpans(exporter_for(protocol), shutdown_seconds=0.05)
    spans.make("process t", "consumer", PRODUCER, NOW_NS, NOW_NS, {})
    spans.shutdown()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_SECONDS)
    assert set() == {thread for thread in set(threading.enumerate()) - before if not thread.daemon}


# What is told.


class Answers(SpanExporter):
    """An exporter that answers as it was told to."""

    def __init__(self, answers: Sequence[SpanExportResult | Exception]) -> None:
        self._answers = list(answers)
        self.closed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  the SDK's signature
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def shutdown(self) -> None:
        self.closed += 1


LOST, SENT = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


def test_failures_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line when it begins and one when it is over, however many batches were lost; an exception is a loss."""
    caplog.set_level(logging.INFO)
    answers: list[SpanExportResult | Exception] = [SENT, LOST, RuntimeError("what next"), LOST, SENT, SENT, LOST]
    watched = Watched(Answers(answers))
    _, batch = exported()
    results = [watched.export(batch) for _ in answers]
    failed = "traces do not get through to the collector; at level debug OpenTelemetry says why"
    told = [record.message for record in caplog.records if record.name == "tailrace.tracing.export"]
    assert results == [SENT, LOST, LOST, LOST, SENT, SENT, LOST]
    assert told == [failed, "traces get through to the collector again; 3 spans or more were lost", failed]


def test_an_exporter_is_closed_once() -> None:
    """Whoever asks how often: some exporters complain."""
    answers = Answers([])
    spans = SdkSpans(answers)
    spans.shutdown()
    spans.shutdown()
    assert answers.closed == 1
