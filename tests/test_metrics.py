"""Every metric, by name: what is counted, what is read, and what a scrape is told."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailrace import __version__
from tailrace.errors import Forbidden, GoingAway, TooManyConnections
from tailrace.metrics import TABLE, Deliveries, Histogram, Lag, Metrics, markdown, measure_loop_lag
from tailrace.metrics.table import LIMITS, RESETS, SKIPS, UNADDRESSED
from tailrace.metrics.values import CLOCKS_DIFFER_SECONDS, LATE_SECONDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "service" / "tailrace"

NAMES = """
    tailrace_ready gauge
    tailrace_draining gauge
    tailrace_build_info gauge version
    tailrace_connections gauge transport
    tailrace_connections_opened_total counter transport
    tailrace_connections_ended_total counter reason
    tailrace_refusals_total counter reason
    tailrace_resets_total counter reason
    tailrace_slow_clients_total counter
    tailrace_readers_catching_up gauge
    tailrace_delivered_events_total counter transport
    tailrace_delivered_bytes_total counter transport
    tailrace_delivery_latency_seconds histogram transport
    tailrace_delivered_untimed_writes_total counter transport
    tailrace_tail_bytes gauge
    tailrace_tail_max_bytes gauge
    tailrace_tail_events gauge
    tailrace_tail_sessions gauge
    tailrace_tail_oldest_event_age_seconds gauge
    tailrace_tail_appended_events_total counter
    tailrace_replay_readers gauge
    tailrace_replay_passes gauge
    tailrace_replay_resting_passes gauge
    tailrace_replay_fetches_total counter
    tailrace_replay_records_total counter
    tailrace_skipped_events_total counter reason
    tailrace_unaddressed_records_total counter reason
    tailrace_kafka_healthy gauge
    tailrace_kafka_fetches_total counter
    tailrace_kafka_records_total counter
    tailrace_kafka_failures_total counter
    tailrace_kafka_last_answer_age_seconds gauge
    tailrace_kafka_lag_records gauge topic partition
    tailrace_kafka_lag_seconds gauge topic partition
    tailrace_kafka_jumps_total counter reason
    tailrace_kafka_identity_changes_total counter
    tailrace_server_limits_total counter limit
    tailrace_event_loop_lag_seconds histogram
    tailrace_event_loop_lag_max_seconds gauge
"""


def told(metrics: Metrics) -> dict[str, float]:
    """Scrape, and give every sample of ours by its name and labels."""
    lines = metrics.render()[0].decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("tailr"))}


def texts_given_to(function: str) -> set[str]:
    """Give the texts that stand in the sources as an argument of ``function``."""
    calls = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    ]
    return {str(each.value) for call in calls for each in call.args if isinstance(each, ast.Constant)}


# The table.


def test_names() -> None:
    """Dashboards and alerts are made of names, kinds and labels: they change only on purpose."""
    assert NAMES.split("\n")[1:-1] == [" ".join(("   ", each.name, each.kind, *each.labels)) for each in TABLE]


def test_units_and_totals_are_in_the_names() -> None:
    """Prometheus' conventions: a counter ends in ``_total`` and nothing else does; times are seconds."""
    assert [each.name for each in TABLE if each.name.endswith("_total") != (each.kind == "counter")] == []
    assert [each.name for each in TABLE if re.search("_(ms|millis|kb|mb|latency|age|lag)$", each.name)] == []


def test_table_in_the_paper() -> None:
    """The paper for operators has the very table that the code has."""
    assert markdown() in (ROOT / "deploy" / "README.md").read_text()


def test_reasons_of_records_without_a_session() -> None:
    """Every reason that the decoder gives is on the list."""
    assert set(UNADDRESSED) == texts_given_to("Unaddressed")


@pytest.mark.parametrize("words", [SKIPS, RESETS, LIMITS], ids=["skips", "resets", "limits"])
def test_words_are_those_of_the_code(words: tuple[str, ...]) -> None:
    """No list holds a word that nobody says."""
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if "metrics" not in path.parts)
    assert [word for word in words if f'"{word}"' not in text] == []


# Counting.


def test_a_delivery_is_counted_with_its_events_and_bytes() -> None:
    """One call per write; the latency is one value of its histogram."""
    metrics = Metrics()
    metrics.deliveries["sse"].count(3, 700, 0.004)
    metrics.deliveries["sse"].count(1, 100, 0.5)
    samples = told(metrics)
    of_sse = {name: samples[f'tailrace_{name}{{transport="sse"}}'] for name in DELIVERED}
    assert DELIVERED == of_sse
    assert samples['tailrace_delivered_events_total{transport="websocket"}'] == 0


DELIVERED = {
    "delivered_events_total": 4,
    "delivered_bytes_total": 800,
    "delivery_latency_seconds_count": 2,
    "delivery_latency_seconds_sum": 0.504,
}


def test_a_fetch_of_a_replay_is_no_live_reading() -> None:
    """It is counted by itself, with its records."""
    metrics = Metrics()
    metrics.count_scan(7)
    names = ("replay_fetches_total", "replay_records_total", "kafka_fetches_total", "kafka_records_total")
    assert [told(metrics)[f"tailrace_{name}"] for name in names] == [1, 7, 0, 0]


def test_history_has_no_latency() -> None:
    """What a reader had missed is counted, but how old it is says nothing about the service."""
    deliveries = Deliveries()
    deliveries.count_history(3, 700)
    assert (3, 700) == (deliveries.events, deliveries.bytes)
    assert 0 == sum(value for _, _, value in deliveries.latency.samples())


@pytest.mark.parametrize("seconds", [-CLOCKS_DIFFER_SECONDS - 1, LATE_SECONDS + 1, 1_700_000_000.0, -31_536_000.0])
def test_a_timestamp_that_is_no_time_is_no_latency(seconds: float) -> None:
    """One of 1970, or of next year, would be in the sum until a restart; it is counted apart."""
    metrics = Metrics()
    metrics.deliveries["sse"].count(1, 100, 0.5)
    metrics.deliveries["sse"].count(1, 100, seconds)
    samples = told(metrics)
    names = ("delivered_events_total", "delivery_latency_seconds_sum", "delivered_untimed_writes_total")
    assert [2, 0.5, 1] == [samples[f'tailrace_{name}{{transport="sse"}}'] for name in names]


@pytest.mark.parametrize("seconds", [-CLOCKS_DIFFER_SECONDS, 0.0, LATE_SECONDS])
def test_a_timestamp_of_this_day_is_believed(seconds: float) -> None:
    """Clocks differ, and a service may be late."""
    deliveries = Deliveries()
    deliveries.count(1, 100, seconds)
    assert (0, 1) == (deliveries.untimed, [value for _, _, value in deliveries.latency.samples()][-2])


def test_buckets_hold_the_smaller_ones_too() -> None:
    """As the text format has it; a bound belongs to its bucket."""
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    assert [2, 3, 4, 4] == [value for _, _, value in histogram.samples()][:4]


def test_a_producer_whose_clock_is_ahead_makes_no_negative_sum() -> None:
    """A latency below zero counts as zero."""
    deliveries = Deliveries()
    deliveries.count(1, 1, -5.0)
    assert [1, 0.0] == [value for _, _, value in deliveries.latency.samples()][-2:]


def test_everything_that_is_counted_is_told() -> None:
    """Each call is one, under its word."""
    metrics = Metrics()
    metrics.count_opened("sse")
    metrics.count_ended(GoingAway())
    metrics.count_ended(None)
    metrics.count_refused(Forbidden.code)
    metrics.count_refused(TooManyConnections.code)
    metrics.count_reset("bounded")
    metrics.count_slow()
    metrics.count_skipped("too_large")
    metrics.count_unaddressed("no_session")
    metrics.count_fetch(12)
    metrics.count_failure()
    metrics.count_jump("retention")
    metrics.count_identity_change()
    metrics.count_limit("ping_flood")
    assert COUNTED == {name: value for name, value in told(metrics).items() if value and "_total" in name}


COUNTED = {
    'tailrace_connections_opened_total{transport="sse"}': 1,
    'tailrace_connections_ended_total{reason="client_left"}': 1,
    'tailrace_connections_ended_total{reason="going_away"}': 1,
    'tailrace_refusals_total{reason="insufficient_scope"}': 1,
    'tailrace_refusals_total{reason="too_many_connections"}': 1,
    'tailrace_resets_total{reason="bounded"}': 1,
    "tailrace_slow_clients_total": 1,
    'tailrace_skipped_events_total{reason="too_large"}': 1,
    'tailrace_unaddressed_records_total{reason="no_session"}': 1,
    "tailrace_kafka_fetches_total": 1,
    "tailrace_kafka_records_total": 12,
    "tailrace_kafka_failures_total": 1,
    'tailrace_kafka_jumps_total{reason="retention"}': 1,
    "tailrace_kafka_identity_changes_total": 1,
    'tailrace_server_limits_total{limit="ping_flood"}': 1,
}


def test_nothing_from_outside_makes_a_time_series() -> None:
    """A word that is not on its list counts as another, together with all of its like."""
    metrics = Metrics()
    before = set(told(metrics))
    for number in range(100):
        metrics.count_reset(f"strange {number}")
    assert before == set(told(metrics))
    assert told(metrics)['tailrace_resets_total{reason="other"}'] == 100


# Reading.


def test_gauges_are_read_at_the_scrape() -> None:
    """Without labels, by one, or by several: whatever the callable gives at that moment."""
    held = {"bytes": 1}
    metrics = Metrics(
        {
            "tailrace_tail_bytes": lambda: held["bytes"],
            "tailrace_connections": lambda: {"websocket": 2},
            "tailrace_kafka_lag_records": lambda: {("t", "0"): 9},
        }
    )
    held["bytes"] = 5
    samples = told(metrics)
    assert samples["tailrace_tail_bytes"] == 5
    assert samples['tailrace_connections{transport="websocket"}'] == 2
    assert samples['tailrace_kafka_lag_records{partition="0",topic="t"}'] == 9


def test_a_word_that_a_gauge_does_not_mention_is_zero() -> None:
    """A series that comes and goes would be a gap in a graph."""
    samples = told(Metrics({"tailrace_connections": lambda: {"websocket": 2}}))
    assert samples['tailrace_connections{transport="sse"}'] == 0


def test_an_unknown_gauge_is_refused() -> None:
    """A misspelt name would be a metric that is missing from a dashboard one day."""
    with pytest.raises(ValueError, match=r"no such metric: tailrace_tail_byte$"):
        Metrics({"tailrace_tail_byte": lambda: 1, "tailrace_tail_bytes": lambda: 1})


def test_what_nobody_gives_is_left_out() -> None:
    """An absent number is better than an invented one."""
    assert "tailrace_ready" not in told(Metrics())


def test_a_scraper_reads_names_kinds_and_meanings() -> None:
    """The text is Prometheus' own format: its parser finds the table in it."""
    families = text_string_to_metric_families(Metrics(dict.fromkeys(LABELLESS, lambda: 1)).render()[0].decode())
    found = {each.name: (each.type, each.documentation) for each in families}
    expected = {each.name.removesuffix("_total"): (each.kind, each.meaning) for each in TABLE if each.name in LABELLESS}
    assert expected.items() <= found.items()


LABELLESS = [each.name for each in TABLE if not each.labels and each.kind != "histogram"]


def test_version_and_process_are_told() -> None:
    """What runs, and the processor time, memory and file descriptors that it takes."""
    text = Metrics().render()[0].decode()
    names = {line.partition(" ")[0] for line in text.splitlines()}
    assert f'tailrace_build_info{{version="{__version__}"}}' in names
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= names


def test_the_age_of_the_last_answer_grows_until_the_next() -> None:
    """From the start on: a lag that is not asked for any more looks small for ever."""
    now = iter([100.0, 103.0, 110.0, 110.5])
    metrics = Metrics(clock=lambda: next(now))
    before = told(metrics)["tailrace_kafka_last_answer_age_seconds"]
    metrics.count_fetch(0)
    assert (3.0, 0.5) == (before, told(metrics)["tailrace_kafka_last_answer_age_seconds"])


# Lag.


def test_lag_is_what_is_left_and_how_old_the_last_record_is() -> None:
    """Per partition; where nothing is left there is no lag, however old the last record."""
    lag = Lag(clock=lambda: 1000.0)
    lag.note("t", 0, 5, 990_000)
    lag.note("t", 0, 4, None)
    lag.note("t", 1, 0, 1_000)
    assert {("t", "0"): 4, ("t", "1"): 0} == lag.records()
    assert {("t", "0"): 10.0, ("t", "1"): 0.0} == lag.seconds()


@pytest.mark.parametrize("newest_ms", [None, 2_000_000])
def test_lag_is_never_below_zero(newest_ms: int | None) -> None:
    """Neither before the first record nor behind a producer whose clock is ahead."""
    lag = Lag(clock=lambda: 1000.0)
    lag.note("t", 0, 5, newest_ms)
    assert {("t", "0"): 0.0} == lag.seconds()


@pytest.mark.parametrize("stamp", [0, 1, -1, 4_000_000_000_000])
def test_lag_does_not_believe_every_timestamp(stamp: int) -> None:
    """A record with one that is no time counts as written when it was read: its age shows that reading has stopped."""
    now = [2_000_000_000.0]
    lag = Lag(clock=lambda: now[0])
    lag.note("t", 0, 5, stamp)
    first = lag.seconds()
    now[0] += 7
    assert ({("t", "0"): 0.0}, {("t", "0"): 7.0}) == (first, lag.seconds())


def test_a_topic_made_again_has_other_partitions() -> None:
    """What was known of the old ones is forgotten."""
    lag = Lag()
    for topic in ("t", "u"):
        lag.note(topic, 0, 5, 1_000)
    lag.forget("t")
    assert [("u", "0")] == list(lag.records())


# The event loop.


class Naps:
    """A loop that wakes who sleeps late, by each of ``late`` seconds, and then cancels."""

    def __init__(self, *late: float) -> None:
        self._late = iter(late)
        self._now = 0.0

    def clock(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        late = next(self._late, None)
        if late is None:
            raise asyncio.CancelledError
        self._now += seconds + late


async def test_loop_lag_is_how_late_a_sleep_ends() -> None:
    """Each nap is one value; one that ended early is not late."""
    metrics, naps = Metrics(), Naps(0.002, -0.001, 0.3)
    with contextlib.suppress(asyncio.CancelledError):
        await measure_loop_lag(metrics, naps.sleep, naps.clock)
    samples = told(metrics)
    assert samples["tailrace_event_loop_lag_seconds_count"] == 3
    assert samples["tailrace_event_loop_lag_seconds_sum"] == pytest.approx(0.302)


def test_the_worst_lag_is_that_since_the_last_scrape() -> None:
    """A scrape starts it anew, so that one bad moment is one point in a graph."""
    metrics = Metrics()
    for seconds in (0.1, 0.7, 0.2):
        metrics.note_loop_lag(seconds)
    worst = [told(metrics)["tailrace_event_loop_lag_max_seconds"] for _ in range(2)]
    assert [0.7, 0.0] == worst
