"""Which spans are made, what they are called and what they say. Knows nothing of OpenTelemetry: `export` makes them.

`intake` reports each sampled event when it was appended, `subscription` each delivery when the wire has accepted it.
Called in the event loop only. Times are Unix nanoseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from tailrace.event import Event, Kind, Trace
from tailrace.tracing.budget import (
    DELIVERIES_PER_SECOND,
    RECORDS_PER_SECOND,
    SLOW_PER_SECOND,
    SUMMARIES_PER_SECOND,
    Bucket,
    Shares,
)

SLOW_NS = 1_000_000_000
"""A delivery that took longer is a slow one."""
HISTORY_NS = 10_000_000_000
"""A record that was older when it came, and that nobody waits for, is history: traced before, read again at a start."""
SUMMARY_SECONDS = 1.0
"""How long after the first omission the deliveries left out are summed up."""

Role = Literal["consumer", "producer"]
"""The span kind: ``process`` takes from Kafka, ``deliver`` sends on."""
Attributes = Mapping[str, str | int | bool]
Later = Callable[[float, Callable[[], None]], object]


class Spans(Protocol):
    """Makes finished spans. Lives as long as the service."""

    def make(
        self, name: str, role: Role, parent: Trace, start_ns: int, end_ns: int, attributes: Attributes
    ) -> Trace | None:
        """Make a span; gives its context, None if the operator's sampler does not want it."""

    def shutdown(self) -> None:
        """Send what is waiting, within a bound."""


class _Own(Trace):
    """The context of an event's own span, where `Trace` alone is its producer's. Goes with the event."""

    __slots__ = ()


class _Omitted:
    """The deliveries of one record that were left out since its last summary."""

    __slots__ = ("count", "end_ns", "event", "start_ns")

    def __init__(self, event: Event, start_ns: int, end_ns: int) -> None:
        self.event = event
        self.count = 0
        self.start_ns = start_ns
        self.end_ns = end_ns


class Tracing:
    """Makes spans of what it is told; without ``spans`` it is off, and does nothing. Lives as long as the service.

    ``omitted`` counts what the budgets left out: ``records`` and ``deliveries``.
    """

    def __init__(
        self,
        spans: Spans | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        later: Later | None = None,
    ) -> None:
        self.enabled = spans is not None
        self.omitted: Counter[str] = Counter()
        self._spans = spans
        self._now_ns = now_ns
        self._later = later or _in_this_loop
        self._records = Bucket(RECORDS_PER_SECOND, clock)
        self._deliveries = Bucket(DELIVERIES_PER_SECOND, clock)
        self._slow = Bucket(SLOW_PER_SECOND, clock)
        self._shares = Shares()
        self._to_sum_up: dict[Trace, _Omitted] = {}

    def consumed(self, event: Event, matched: int) -> None:
        """Make the span `process T` of a sampled event that was just appended; ``matched`` read its session.

        ``event.trace`` was the producer's context and becomes the span's own, or None where there is no span.
        """
        parent, event.trace = event.trace, None
        if parent is None or self._spans is None:
            return
        end_ns = self._now_ns()
        came_ns = event.arrival.at_ns or end_ns
        lag_ns = came_ns - event.timestamp_ms * 1_000_000
        if matched == 0 and lag_ns > HISTORY_NS:
            return
        if not self._records.take():
            self.omitted["records"] += 1
            return
        attributes = _process_attributes(event, max(0, lag_ns // 1_000_000), matched)
        made = self._spans.make(f"process {event.arrival.topic_name}", "consumer", parent, came_ns, end_ns, attributes)
        event.trace = None if made is None else _Own(*made)

    def delivered(self, event: Event, *, transport: str, request_id: str, handed_ns: int, accepted_ns: int) -> None:
        """Make the span `deliver T`: from when the reader was given the event until the wire accepted it."""
        trace = event.trace
        if self._spans is None or not isinstance(trace, _Own):
            return
        if self._may_record(trace, slow=accepted_ns - handed_ns > SLOW_NS):
            attributes = {
                **_message_attributes(event, "deliver", "send"),
                "tailrace.transport": transport,
                "tailrace.request_id": request_id,
            }
            self._deliver(event, trace, handed_ns, accepted_ns, attributes)
        else:
            self._omit(event, trace, handed_ns, accepted_ns)

    def shutdown(self) -> None:
        """Send what is waiting; blocks, but not for long, even if the collector is away. Harmless when done twice."""
        if self._spans is not None:
            self._sum_up()
            self._spans.shutdown()

    def _may_record(self, trace: Trace, *, slow: bool) -> bool:
        return self._shares.take(trace, slow=slow) and (self._slow if slow else self._deliveries).take()

    def _omit(self, event: Event, trace: Trace, start_ns: int, end_ns: int) -> None:
        """Count it; the record's deliveries left out will be one span that says how many."""
        self.omitted["deliveries"] += 1
        omitted = self._to_sum_up.get(trace)
        if omitted is None:
            if len(self._to_sum_up) >= SUMMARIES_PER_SECOND * SUMMARY_SECONDS:
                return
            if not self._to_sum_up:
                self._later(SUMMARY_SECONDS, self._sum_up)
            omitted = self._to_sum_up[trace] = _Omitted(event, start_ns, end_ns)
        omitted.count += 1
        omitted.start_ns = min(omitted.start_ns, start_ns)
        omitted.end_ns = max(omitted.end_ns, end_ns)

    def _sum_up(self) -> None:
        everything, self._to_sum_up = self._to_sum_up, {}
        for trace, omitted in everything.items():
            count = {"tailrace.deliveries.omitted": omitted.count}
            attributes = {**_message_attributes(omitted.event, "deliver", "send"), **count}
            self._deliver(omitted.event, trace, omitted.start_ns, omitted.end_ns, attributes)

    def _deliver(self, event: Event, parent: Trace, start_ns: int, end_ns: int, attributes: Attributes) -> None:
        assert self._spans is not None  # noqa: S101  asked by all who call it
        name = f"deliver {event.arrival.topic_name}"
        self._spans.make(name, "producer", parent, start_ns, max(start_ns, end_ns), attributes)


def _message_attributes(event: Event, operation: str, type_: str) -> dict[str, str | int | bool]:
    """What both kinds of span say: which operation, on which record."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": type_,
        "messaging.destination.name": event.arrival.topic_name,
        "messaging.destination.partition.id": str(event.arrival.partition),
        "messaging.kafka.offset": event.offset,
    }


def _process_attributes(event: Event, lag_ms: int, matched: int) -> Attributes:
    attributes = _message_attributes(event, "process", "process")
    attributes["tailrace.lag_ms"] = lag_ms
    attributes["tailrace.subscribers"] = matched
    if event.kind is Kind.SKIPPED:
        attributes["error.type"] = event.type
    if event.kind is Kind.END:
        attributes["messaging.kafka.message.tombstone"] = True
    return attributes


def _in_this_loop(seconds: float, callback: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, callback)
