"""`Metrics`: what is counted and where the rest is read, and the text that a scrape gets.

prometheus_client does the writing, from a collector of ours that reads plain numbers at that moment; nothing of it is
touched while events are delivered. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from tailrace import __version__
from tailrace.errors import Farewell
from tailrace.metrics.table import CLIENT_LEFT, OTHER, TABLE, TRANSPORTS, Metric
from tailrace.metrics.values import Deliveries, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The version that every scraper reads; what the newer ones add are names that we do not have."""
LOOP_LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LOOP_LAG_EVERY_SECONDS = 0.5

Number = float | Histogram
Reading = Number | Mapping[str, Number] | Mapping[tuple[str, str], Number]
"""The present value of a metric: without labels, by its one label, or by both."""

_COUNTED = tuple(metric for metric in TABLE if metric.kind == "counter")


class Metrics:
    """What is counted, and where the rest is read: ``gauges`` gives the present value of a metric by its name.

    A metric that nobody gives and nobody counts is left out of the output. ``clock`` gives seconds of any origin.
    Raises ValueError for a name that is not in `TABLE`.
    """

    def __init__(
        self, gauges: Mapping[str, Callable[[], Reading]] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        given = dict(gauges or {})
        if unknown := sorted(given.keys() - {metric.name for metric in TABLE}):
            raise ValueError(f"no such metric: {', '.join(unknown)}")
        self.deliveries: Mapping[str, Deliveries] = {transport: Deliveries() for transport in TRANSPORTS}
        self._clock = clock
        self._counts = {metric.name: dict.fromkeys((*metric.words, OTHER), 0) for metric in _COUNTED}
        self._answered_at = clock()
        self._loop_lag = Histogram(LOOP_LAG_BOUNDS)
        self._worst_loop_lag = 0.0
        self._readings = {**self._own(), **given}
        self._registry = CollectorRegistry()
        self._registry.register(_Ours(self._readings))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    # What happens; a word that is not on its list counts as `OTHER`.

    def count_opened(self, transport: str) -> None:
        self._count("tailrace_connections_opened_total", transport)

    def count_ended(self, farewell: Farewell | None) -> None:
        """Count the end of a stream that was admitted; None: the client left."""
        self._count("tailrace_connections_ended_total", farewell.reason.replace(" ", "_") if farewell else CLIENT_LEFT)

    def count_refused(self, code: str) -> None:
        """Count a request that was refused, by `Refused.code`."""
        self._count("tailrace_refusals_total", code)

    def count_reset(self, reason: str) -> None:
        self._count("tailrace_resets_total", reason)

    def count_slow(self) -> None:
        self._count("tailrace_slow_clients_total")

    def count_skipped(self, reason: str) -> None:
        self._count("tailrace_skipped_events_total", reason)

    def count_unaddressed(self, reason: str) -> None:
        self._count("tailrace_unaddressed_records_total", reason)

    def count_fetch(self, records: int) -> None:
        """Count one answer of a broker, with all the records in it."""
        self._answered_at = self._clock()
        self._count("tailrace_kafka_fetches_total")
        self._count("tailrace_kafka_records_total", amount=records)

    def count_scan(self, records: int) -> None:
        """Count one answer to a fetch below the floor, with all the records in it."""
        self._count("tailrace_replay_fetches_total")
        self._count("tailrace_replay_records_total", amount=records)

    def count_failure(self) -> None:
        self._count("tailrace_kafka_failures_total")

    def count_jump(self, reason: str) -> None:
        self._count("tailrace_kafka_jumps_total", reason)

    def count_identity_change(self) -> None:
        self._count("tailrace_kafka_identity_changes_total")

    def count_limit(self, limit: str) -> None:
        """Count that a client came to a limit of the server."""
        self._count("tailrace_server_limits_total", limit)

    def note_loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)
        self._worst_loop_lag = max(self._worst_loop_lag, seconds)

    # What is told.

    def render(self) -> tuple[bytes, str]:
        """Return everything in Prometheus' text format, and its content type. Call it on the event loop."""
        return generate_latest(self._registry), CONTENT_TYPE

    def _count(self, name: str, word: str = OTHER, amount: int = 1) -> None:
        counts = self._counts[name]
        counts[word if word in counts else OTHER] += amount

    def _own(self) -> dict[str, Callable[[], Reading]]:
        delivered = self.deliveries.items()
        return {
            "tailrace_build_info": lambda: {__version__: 1},
            **{metric.name: self._reader_of(metric) for metric in _COUNTED},
            "tailrace_delivered_events_total": lambda: {name: each.events for name, each in delivered},
            "tailrace_delivered_bytes_total": lambda: {name: each.bytes for name, each in delivered},
            "tailrace_delivered_untimed_writes_total": lambda: {name: each.untimed for name, each in delivered},
            "tailrace_delivery_latency_seconds": lambda: {name: each.latency for name, each in delivered},
            "tailrace_kafka_last_answer_age_seconds": lambda: self._clock() - self._answered_at,
            "tailrace_event_loop_lag_seconds": lambda: self._loop_lag,
            "tailrace_event_loop_lag_max_seconds": self._take_worst_loop_lag,
        }

    def _reader_of(self, metric: Metric) -> Callable[[], Reading]:
        counts = self._counts[metric.name]
        return (lambda: counts) if metric.labels else (lambda: counts[OTHER])

    def _take_worst_loop_lag(self) -> float:
        worst, self._worst_loop_lag = self._worst_loop_lag, 0.0
        return worst


class _Ours(Collector):
    """Turns readings into what prometheus_client writes."""

    def __init__(self, readings: Mapping[str, Callable[[], Reading]]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        for metric in TABLE:
            if metric.name in self._readings:
                yield _family(metric, self._readings[metric.name]())


def _family(metric: Metric, reading: Reading) -> Family:
    family = Family(metric.name.removesuffix("_total"), metric.meaning, metric.kind)
    for key, value in _by_labels(metric, reading):
        labels = dict(zip(metric.labels, (key,) if isinstance(key, str) else key, strict=True))
        if isinstance(value, Histogram):
            for suffix, more, number in value.samples():
                family.add_sample(metric.name + suffix, {**labels, **more}, number)
        else:
            family.add_sample(metric.name, labels, value)
    return family


def _by_labels(metric: Metric, reading: Reading) -> Iterator[tuple[str | tuple[str, ...], Number]]:
    """Return a value for every word, 0 where the reading has none: a series that came and went would leave gaps."""
    if not isinstance(reading, Mapping):
        yield (), reading
        return
    yield from ((word, 0) for word in metric.words if word not in reading)
    yield from reading.items()


async def measure_loop_lag(
    metrics: Metrics,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Sleep again and again, and note how late the loop woke this; until cancelled."""
    while True:
        due = clock() + LOOP_LAG_EVERY_SECONDS
        await sleep(LOOP_LAG_EVERY_SECONDS)
        metrics.note_loop_lag(max(0.0, clock() - due))
