"""Spans made with OpenTelemetry's SDK and sent by OTLP: the only file that names OpenTelemetry.

The SDK's batch processor sends from a thread of its own, out of a queue with a bound; a collector that is away costs
spans and nothing else. No SDK objects are global, and nothing is instrumented automatically.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from tailrace import __version__
from tailrace.event import Trace
from tailrace.tracing.spans import Attributes, Role

logger = logging.getLogger(__name__)

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SHUTDOWN_SECONDS = 2.0
"""How long the last spans may take; the exporter alone would try for its whole time-out, 10 s by default."""

_KINDS: dict[Role, SpanKind] = {"consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def exporter_for(protocol: str) -> SpanExporter:
    """Make an OTLP exporter for ``grpc`` or ``http/protobuf``; it reads its variables by itself.

    Raises:
        Exception: a variable is wrong; the exporters have no common base for that.
    """
    if protocol == "grpc":  # each brings a library of its own: only the one that is used is imported
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415

    return trace_exporter.OTLPSpanExporter()


class SdkSpans:
    """Makes finished spans and has them sent. Lives as long as the service; owns the exporter and its thread."""

    def __init__(self, exporter: SpanExporter, shutdown_seconds: float = SHUTDOWN_SECONDS) -> None:
        self._exporter = Watched(exporter)
        self._shutdown_seconds = shutdown_seconds
        self._processor = BatchSpanProcessor(self._exporter)
        # The producer has decided; only an operator who asks for a sampler may decide again.
        sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ALWAYS_ON
        provider = TracerProvider(sampler, _resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("tailrace", __version__, schema_url=SCHEMA_URL)

    def make(
        self, name: str, role: Role, parent: Trace, start_ns: int, end_ns: int, attributes: Attributes
    ) -> Trace | None:
        """Make a span, child of ``parent``; None if the operator's sampler does not want it."""
        above = SpanContext(parent.trace_id, parent.span_id, is_remote=role == "consumer", trace_flags=_SAMPLED)
        context = set_span_in_context(NonRecordingSpan(above), _EMPTY)
        span = self._tracer.start_span(name, context, _KINDS[role], attributes, start_time=start_ns)
        if not span.is_recording():
            return None
        span.end(end_ns)
        own = span.get_span_context()
        return Trace(own.trace_id, own.span_id)

    def shutdown(self) -> None:
        """Send what is waiting, and give up after ``shutdown_seconds``: blocks so long. Harmless when done twice."""
        flush = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        flush.start()
        flush.join(self._shutdown_seconds)
        self._exporter.shutdown()  # what is still being sent is given up, and its thread ends


_EMPTY = Context()


def _resource() -> Resource:
    """Say who we are: what the operator says comes first."""
    ours = {"service.name": "tailrace", "service.version": __version__}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


class Watched(SpanExporter):
    """An exporter whose failures are told once, and their end once. Closes it once, whoever asks how often."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._closing = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; never raises."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # whatever it is, the thread that sends must not end
            logger.debug("an exporter raised", exc_info=True)
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._note_success()
        else:
            self._note_failure(len(spans))
        return result

    def shutdown(self) -> None:
        """Give up what is being sent, and close."""
        if self._closing.acquire(blocking=False):  # never released: the second of two threads finds it closed
            self._exporter.shutdown()

    def _note_success(self) -> None:
        if self._lost:
            logger.info("traces get through to the collector again; %d spans or more were lost", self._lost)
        self._lost = 0

    def _note_failure(self, spans: int) -> None:
        if not self._lost:
            logger.warning("traces do not get through to the collector; at level debug OpenTelemetry says why")
        self._lost += spans
