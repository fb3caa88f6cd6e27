"""Whether there are traces, and how they are sent: OpenTelemetry's own variables, which keep their meaning.

The SDK reads the rest of them by itself from the process's environment: headers, certificates, time-outs, the names in
the resource, the queue's size. What it does not understand must not keep the service from starting: it is said, and
traces are off (OpenTelemetry specification, "SDK environment variables": warn, and ignore).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tailrace.tracing.spans import Tracing

logger = logging.getLogger(__name__)

GRPC, HTTP = "grpc", "http/protobuf"
DEFAULT_PROTOCOL = GRPC
"""What OpenTelemetry for Python has where no protocol is named."""


def tracing_from_environment(environ: Mapping[str, str]) -> Tracing:
    """Return traces as the ``OTEL_`` variables want them; off, with no SDK imported, where no endpoint is named.

    `OTEL_TRACES_SAMPLER` may thin out what the producers sampled; unset, all of that is traced.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or _of_traces(environ, "ENDPOINT") == "":
        return Tracing()
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return Tracing()
    if exporter != "otlp":
        return _off("OTEL_TRACES_EXPORTER must be otlp or none")
    protocol = _of_traces(environ, "PROTOCOL") or DEFAULT_PROTOCOL
    if protocol not in {GRPC, HTTP}:
        return _off(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {GRPC} or {HTTP}")
    return _on(protocol)


def _of_traces(environ: Mapping[str, str], name: str) -> str:
    """Read the variable for traces, or else the one for all signals; one that is empty counts as none."""
    own = environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
    return own or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _on(protocol: str) -> Tracing:
    from tailrace.tracing.export import SdkSpans, exporter_for  # noqa: PLC0415  costs 100 ms and 20 MB: only if wanted

    try:
        spans = SdkSpans(exporter_for(protocol))
    except Exception as error:  # noqa: BLE001  the exporters raise what they like: `Exception` for a wrong compression
        return _off(f"OpenTelemetry does not understand a variable: {error}")
    logger.info("traces are sent by OTLP over %s", protocol)
    return Tracing(spans)


def _off(problem: str) -> Tracing:
    logger.warning("no traces: %s", problem)
    return Tracing()
