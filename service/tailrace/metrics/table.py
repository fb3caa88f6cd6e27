"""The table: every metric, its kind, its labels and what it means.

Names and units follow Prometheus' conventions. A label holds a word from a list, or a topic that the operator named;
never what a client or a record said, so the number of time series is known beforehand. Does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.errors import Farewell, Refused

OTHER = "other"
"""Stands for a word that is not on its list, so that nothing from outside can make a time series."""
CLIENT_LEFT = "client_left"

TRANSPORTS = ("sse", "websocket")
RESETS = ("retention", "epoch", "truncated", "unreadable", "oversized", "bounded")
SKIPS = ("too_large", "not_text", "illegal_type", "tombstone", "malformed", "too_many_headers")
LIMITS = (
    "sockets",
    "tls_handshake_timeout",
    "idle_timeout",
    "request_timeout",
    "answer_timeout",
    "untaken_answers",
    "refused_requests",
    "head_too_large",
    "message_too_big",
    "too_many_frames",
    "unread_messages",
    "streams",
    "rapid_reset",
    "reset_flood",
    "ping_flood",
    "settings_flood",
    "priority_flood",
    "window_update_flood",
    "empty_frame_flood",
    "continuation_flood",
)
UNADDRESSED = ("no_session", "session_not_utf8", "session_illegal", "session_ends_in_star", "malformed")


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of `TABLE`. ``words`` are what its only label may say; `OTHER` stands for everything else."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def _words(base: type[Refused | Farewell]) -> Iterator[str]:
    """Name every kind of refusal by its code, and every farewell by its reason."""
    for kind in base.__subclasses__():
        yield kind.code if issubclass(kind, Refused) else kind.reason.replace(" ", "_")
        yield from _words(kind)


REFUSALS = tuple(dict.fromkeys(_words(Refused)))
ENDS = (CLIENT_LEFT, *dict.fromkeys(_words(Farewell)))
_PLACE = ("topic", "partition")

TABLE = (
    Metric("tailrace_ready", "gauge", "1 while clients may be sent here, as /readyz says"),
    Metric("tailrace_draining", "gauge", "1 once the shutdown has begun"),
    Metric("tailrace_build_info", "gauge", "always 1; the label says what runs", ("version",)),
    Metric("tailrace_connections", "gauge", "streams that are open", ("transport",), TRANSPORTS),
    Metric("tailrace_connections_opened_total", "counter", "streams that were admitted", ("transport",), TRANSPORTS),
    Metric("tailrace_connections_ended_total", "counter", "streams that ended", ("reason",), ENDS),
    Metric("tailrace_refusals_total", "counter", "requests that were not admitted", ("reason",), REFUSALS),
    Metric("tailrace_resets_total", "counter", "times that a reader was told of a gap", ("reason",), RESETS),
    Metric("tailrace_slow_clients_total", "counter", "clients cut because they took next to nothing for too long"),
    Metric("tailrace_readers_catching_up", "gauge", "readers that are not live yet, or no longer"),
    Metric("tailrace_delivered_events_total", "counter", "events that a wire accepted", ("transport",), TRANSPORTS),
    Metric(
        "tailrace_delivered_bytes_total",
        "counter",
        "bytes of these events, framing included",
        ("transport",),
        TRANSPORTS,
    ),
    Metric(
        "tailrace_delivery_latency_seconds",
        "histogram",
        "from the Kafka timestamp of a live write's oldest event until a wire accepted it; one value a write",
        ("transport",),
        TRANSPORTS,
    ),
    Metric(
        "tailrace_delivered_untimed_writes_total",
        "counter",
        "live writes left out of the latency: their Kafka timestamp is no time of this day",
        ("transport",),
        TRANSPORTS,
    ),
    Metric("tailrace_tail_bytes", "gauge", "memory that the tail is charged with"),
    Metric("tailrace_tail_max_bytes", "gauge", "its bound"),
    Metric("tailrace_tail_events", "gauge", "events that it holds"),
    Metric("tailrace_tail_sessions", "gauge", "sessions that have events in it, or readers"),
    Metric("tailrace_tail_oldest_event_age_seconds", "gauge", "how far back a client can resume from memory"),
    Metric("tailrace_tail_appended_events_total", "counter", "events that came in"),
    Metric("tailrace_replay_readers", "gauge", "readers that are given what memory does not hold, or wait for it"),
    Metric("tailrace_replay_passes", "gauge", "passes over the log of a partition, for all who wait there"),
    Metric(
        "tailrace_replay_resting_passes",
        "gauge",
        "passes that wait because more was read for their subject than `TAILRACE_REPLAY_MAX_RECORDS_PER_SUBJECT`",
    ),
    Metric("tailrace_replay_fetches_total", "counter", "answers to a fetch of theirs"),
    Metric("tailrace_replay_records_total", "counter", "records in them"),
    Metric("tailrace_skipped_events_total", "counter", "those that are delivered as a gap", ("reason",), SKIPS),
    Metric(
        "tailrace_unaddressed_records_total", "counter", "records left out: of no session", ("reason",), UNADDRESSED
    ),
    Metric("tailrace_kafka_healthy", "gauge", "0 while /readyz says degraded"),
    Metric("tailrace_kafka_fetches_total", "counter", "answers to a fetch"),
    Metric("tailrace_kafka_records_total", "counter", "records in them"),
    Metric("tailrace_kafka_failures_total", "counter", "requests, or partitions of an answer, that brought trouble"),
    Metric("tailrace_kafka_last_answer_age_seconds", "gauge", "since the last answer to a fetch: the age of the lag"),
    Metric("tailrace_kafka_lag_records", "gauge", "records in the log that were not read yet", _PLACE),
    Metric("tailrace_kafka_lag_seconds", "gauge", "age of the last record read, where more lie behind it", _PLACE),
    Metric("tailrace_kafka_jumps_total", "counter", "stretches of a log that were passed over", ("reason",), RESETS),
    Metric("tailrace_kafka_identity_changes_total", "counter", "topics found deleted and made again"),
    Metric("tailrace_server_limits_total", "counter", "times that a client came to it", ("limit",), LIMITS),
    Metric("tailrace_event_loop_lag_seconds", "histogram", "how late the event loop woke who slept"),
    Metric("tailrace_event_loop_lag_max_seconds", "gauge", "the worst of it since the last scrape"),
)
"""Every metric, in the order of the output. The process's own (``process_*``, ``python_*``) come after them."""


def markdown() -> str:
    """Render `TABLE` in Markdown; it ends in a line end."""
    lines = [f"| `{each.name}` | {each.kind} | {_labels(each)} | {each.meaning} |" for each in TABLE]
    return "\n".join(("| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *lines, ""))


def _labels(metric: Metric) -> str:
    words = f": {', '.join(metric.words)}" if metric.words else ""
    return ", ".join(f"`{label}`" for label in metric.labels) + words
