"""Traces: which sampled events become spans, named and described as OpenTelemetry's semantic conventions 1.44 say.

    send T           the producer's own span; its context came in the record's header `traceparent`
    └─ process T     `Tracing.consumed`: one per sampled event, made when it was appended
       └─ deliver T  `Tracing.delivered`: one per client, made after the fact, and bounded (`budget`)

Parent and child in one trace, and no links: who opens the producer's trace sees the deliveries, in any backend. Whether
there are traces is up to the producer's flag; `intake` and `subscription` report, and an event whose ``trace`` is None
costs them one look. Only `export` names OpenTelemetry, and it is imported only where `environment` turns traces on.
No session, key, token or query enters a span.
"""

from tailrace.tracing.environment import tracing_from_environment
from tailrace.tracing.spans import Tracing
from tailrace.tracing.traceparent import parse_traceparent

__all__ = ["Tracing", "parse_traceparent", "tracing_from_environment"]
