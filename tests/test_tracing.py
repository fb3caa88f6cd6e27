"""Which spans are made, of which events, what they say, and how many there may be."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import EPOCH, FakeRecord
from leaping import leaping, until
from tailrace.event import Arrival, Decoder, Event, Trace
from tailrace.position import Position
from tailrace.tracing import Tracing, parse_traceparent, tracing_from_environment
from tailrace.tracing.budget import (
    DELIVERIES_PER_RECORD,
    DELIVERIES_PER_SECOND,
    MAX_RECORDS,
    RECORDS_PER_SECOND,
    SLOW_PER_RECORD,
    SLOW_PER_SECOND,
    SUMMARIES_PER_SECOND,
    Bucket,
    Shares,
)
from tailrace.tracing.spans import HISTORY_NS, SLOW_NS, Attributes, Role

TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PRODUCER = Trace(TRACE_ID, SPAN_ID)
SENT_MS = 1_700_000_000_000
CAME_NS = SENT_MS * 1_000_000 + 7_000_000
NOW_NS = CAME_NS + 1000
MESSAGE = {
    "messaging.system": "kafka",
    "messaging.destination.name": "answers",
    "messaging.destination.partition.id": "1",
    "messaging.kafka.offset": 24,
}


@dataclass
class Made:
    """One span, as it was asked for, and the context that it got."""

    name: str
    role: Role
    parent: Trace
    start_ns: int
    end_ns: int
    attributes: Attributes
    own: Trace


@dataclass
class ListSpans:
    """Keeps the spans that are made; ``wanted`` is what the operator's sampler says."""

    wanted: bool = True
    made: list[Made] = field(default_factory=list)
    shut_down: bool = False

    def make(
        self, name: str, role: Role, parent: Trace, start_ns: int, end_ns: int, attributes: Attributes
    ) -> Trace | None:
        if not self.wanted:
            return None
        own = Trace(parent.trace_id, 1000 + len(self.made))
        self.made.append(Made(name, role, parent, start_ns, end_ns, attributes, own))
        return own

    def shutdown(self) -> None:
        self.shut_down = True

    @property
    def delivered(self) -> list[Made]:
        return [span for span in self.made if span.name.startswith("deliver")]


@dataclass
class Bench:
    """Tracing over a list, with clocks that are set by hand; ``due`` is what it wants called later."""

    spans: ListSpans = field(default_factory=ListSpans)
    seconds: float = 0.0
    due: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tracing = Tracing(
            self.spans,
            clock=lambda: self.seconds,
            now_ns=lambda: NOW_NS,
            later=lambda _, callback: self.due.append(callback),
        )

    def consume(self, *, matched: int = 1, record: FakeRecord | None = None, came_ns: int = CAME_NS) -> Event:
        """Have a sampled event made of a record, and reported."""
        event = sampled(record or FakeRecord(24, timestamp=SENT_MS), came_ns)
        self.tracing.consumed(event, matched)
        return event

    def deliver(self, event: Event, times: int = 1, *, took_ns: int = 5) -> None:
        """Report deliveries."""
        for number in range(times):
            self.tracing.delivered(
                event,
                transport="websocket",
                request_id=f"r{number}",
                handed_ns=NOW_NS,
                accepted_ns=NOW_NS + took_ns,
            )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def sampled(record: FakeRecord, came_ns: int = CAME_NS) -> Event:
    """Decode a record whose producer has sampled it."""
    decoder = Decoder(session_header=None, encoding="text", max_event_bytes=100)
    event = decoder.decode(record, Arrival(Position((EPOCH,), ((10, 20),)), 0, "answers", 1, came_ns))
    event.trace = PRODUCER
    return event


# The producer's context.


@pytest.mark.parametrize("flags", [b"01", b"03", b"ff", b"0b"])
def test_sampled(flags: bytes) -> None:
    """Bit 0 decides, whatever the other flags are."""
    assert parse_traceparent(SAMPLED[:-2] + flags) == PRODUCER


@pytest.mark.parametrize("flags", [b"00", b"02", b"fe"])
def test_not_sampled(flags: bytes) -> None:
    """Without bit 0 it is as if there were none."""
    assert parse_traceparent(SAMPLED[:-2] + flags) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what the future brings", b"-" + b"x" * 1_000_000])
def test_a_later_version(more: bytes) -> None:
    """What version 00 has is read of any later one."""
    assert parse_traceparent(b"cc" + SAMPLED[2:] + more) == PRODUCER


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        SAMPLED[:-1],
        SAMPLED + b"-",
        SAMPLED + b"\n",
        b"ff" + SAMPLED[2:],
        b"cc" + SAMPLED[2:] + b"0",
        b"0G" + SAMPLED[2:],
        SAMPLED.upper(),
        SAMPLED.replace(b"-", b"_"),
        SAMPLED.replace(b"4bf9", b"+bf9"),
        SAMPLED.replace(b"4bf9", b"4_f9"),
        SAMPLED.replace(b"00f0", b" 0f0"),
        SAMPLED.replace(b"00f067aa0ba902b7", b"0" * 16),
        SAMPLED.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32),
        SAMPLED[:-2] + b"g1",
        SAMPLED[:-1] + b"\xb1",
        b"1" * 10_000_000,
    ],
)
def test_malformed(raw: bytes) -> None:
    """What is no traceparent is passed over."""
    assert parse_traceparent(raw) is None


@given(st.binary(max_size=80) | st.from_regex(rb"[0-9a-g]{2}-[0-9a-f_]{32}-[0-9a-f]{16}-.{2}(-.*)?", fullmatch=True))
def test_never_raises(raw: bytes) -> None:
    """Whatever a producer writes there, nothing breaks, and no id is zero."""
    trace = parse_traceparent(raw)
    assert trace is None or (0 < trace.trace_id < 1 << 128 and 0 < trace.span_id < 1 << 64)


@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.integers(0, 255))
def test_every_context_is_read_back(trace_id: int, span_id: int, flags: int) -> None:
    """What is written by the rules is read as it was meant."""
    expected = Trace(trace_id, span_id) if flags & 1 else None
    assert expected == parse_traceparent(f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}".encode())


# process.


def test_process_is_the_producers_child(bench: Bench) -> None:
    """It lasts from the batch's arrival until it was appended, and says what the conventions want, and who waited."""
    event = bench.consume(matched=3)
    [span] = bench.spans.made
    assert (span.name, span.role, span.parent) == ("process answers", "consumer", PRODUCER)
    assert (span.start_ns, span.end_ns) == (CAME_NS, NOW_NS)
    assert span.attributes == {
        **MESSAGE,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "tailrace.lag_ms": 7,
        "tailrace.subscribers": 3,
    }
    assert event.trace == span.own


def test_the_producers_clock_may_be_ahead(bench: Bench) -> None:
    """A lag is never negative."""
    bench.consume(record=FakeRecord(24, timestamp=SENT_MS + 60_000))
    assert bench.spans.made[0].attributes["tailrace.lag_ms"] == 0


@pytest.mark.parametrize(
    "record, name, value",
    [
        (FakeRecord(24, value=b"\xff"), "error.type", "not_text"),
        (FakeRecord(24, value=None), "messaging.kafka.message.tombstone", True),
    ],
)
def test_process_says_what_became_of_the_record(bench: Bench, record: FakeRecord, name: str, value: object) -> None:
    """One that cannot be delivered names the reason; a tombstone says that it is one."""
    bench.consume(record=record)
    assert bench.spans.made[0].attributes[name] == value


def test_unsampled_events_cost_nothing(bench: Bench) -> None:
    """Without the producer's flag there is neither span."""
    event = sampled(FakeRecord(24))
    event.trace = None
    bench.tracing.consumed(event, 1)
    bench.deliver(event)
    assert (event.trace, bench.spans.made) == (None, [])


@pytest.mark.parametrize("matched, expected", [(0, 0), (1, 1)])
def test_history_is_not_traced_again(bench: Bench, matched: int, expected: int) -> None:
    """What is read again at a start was traced before; what somebody waits for is late, and traced."""
    event = bench.consume(matched=matched, came_ns=SENT_MS * 1_000_000 + HISTORY_NS + 1)
    assert (expected, expected == 1) == (len(bench.spans.made), event.trace is not None)


def test_the_operators_sampler_counts(bench: Bench) -> None:
    """A record that it does not want has no deliveries either."""
    bench.spans.wanted = False
    event = bench.consume()
    bench.spans.wanted = True
    bench.deliver(event)
    assert (event.trace, bench.spans.made) == (None, [])


# deliver.


def test_deliver_is_the_events_child(bench: Bench) -> None:
    """It lasts from the hand-over until the wire's acceptance, and says to whom, but not who that is."""
    event = bench.consume()
    bench.deliver(event)
    process, span = bench.spans.made
    assert (span.name, span.role, span.parent) == ("deliver answers", "producer", process.own)
    assert (span.start_ns, span.end_ns) == (NOW_NS, NOW_NS + 5)
    assert span.attributes == {
        **MESSAGE,
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "send",
        "tailrace.transport": "websocket",
        "tailrace.request_id": "r0",
    }


def test_an_event_that_was_not_consumed_has_no_deliveries(bench: Bench) -> None:
    """No delivery becomes the producer's own child."""
    bench.deliver(sampled(FakeRecord(24)))
    assert bench.spans.made == []


def test_a_clock_that_was_set_back(bench: Bench) -> None:
    """No span ends before it begins."""
    bench.deliver(bench.consume(), took_ns=-5)
    assert bench.spans.delivered[0].end_ns == bench.spans.delivered[0].start_ns


def test_no_span_names_the_session(bench: Bench) -> None:
    """Neither the session nor the record's key or value is in any attribute."""
    record = FakeRecord(24, key=b"chat/ada", value=b"a secret", timestamp=SENT_MS)
    bench.deliver(bench.consume(record=record))
    text = repr(bench.spans.made)
    assert ("chat/ada" in text, "a secret" in text) == (False, False)


def test_the_operators_guide_names_all(bench: Bench) -> None:
    """What a span may say stands in the guide's table."""
    for value in (b"", b"\xff", None):
        bench.deliver(bench.consume(record=FakeRecord(24, value=value)), DELIVERIES_PER_RECORD + 1)
    bench.tracing.shutdown()
    guide = (Path(__file__).parent.parent / "deploy" / "README.md").read_text(encoding="utf-8")
    said = {name for span in bench.spans.made for name in span.attributes}
    assert (13, []) == (len(said), sorted(name for name in said if f"`{name}`" not in guide))


# How many.


def test_a_bucket_fills_again() -> None:
    """So many at once, then as many in each second; what is not taken does not pile up."""
    now = [0.0]
    bucket = Bucket(10, lambda: now[0])
    taken = [sum(bucket.take() for _ in range(100))]
    for seconds in (0.5, 60.0):
        now[0] += seconds
        taken.append(sum(bucket.take() for _ in range(100)))
    assert taken == [10, 5, 10]


def test_only_the_newest_records_are_counted() -> None:
    """What is kept for the budgets does not grow: who resumes much later begins again."""
    shares = Shares()
    for _ in range(SLOW_PER_RECORD):
        shares.take(0, slow=True)
    taken = [shares.take(0, slow=True)]
    for record in range(1, MAX_RECORDS + 1):
        shares.take(record, slow=False)
    assert ([*taken, shares.take(0, slow=True)], len(shares._taken)) == ([False, True], MAX_RECORDS)


def test_deliveries_of_one_record(bench: Bench) -> None:
    """What goes beyond is summed up in one span that says how many, and when."""
    event = bench.consume()
    bench.deliver(event, DELIVERIES_PER_RECORD)
    bench.deliver(event, 2)
    bench.deliver(event, 1, took_ns=9)
    assert (len(bench.due), len(bench.spans.delivered)) == (1, DELIVERIES_PER_RECORD)
    bench.due.pop()()
    summary = bench.spans.delivered[DELIVERIES_PER_RECORD]
    assert (summary.name, summary.parent) == ("deliver answers", event.trace)
    assert (summary.start_ns, summary.end_ns) == (NOW_NS, NOW_NS + 9)
    assert summary.attributes["tailrace.deliveries.omitted"] == 3
    assert ("tailrace.transport" in summary.attributes, bench.tracing.omitted) == (False, {"deliveries": 3})


def test_a_later_omission_has_its_own_summary(bench: Bench) -> None:
    """Nothing is counted twice, and nothing is left over."""
    event = bench.consume()
    bench.deliver(event, DELIVERIES_PER_RECORD)
    for count in (1, 2):
        bench.deliver(event, count)
        bench.due.pop()()
    assert [1, 2] == [span.attributes["tailrace.deliveries.omitted"] for span in bench.spans.delivered[-2:]]


def test_slow_deliveries_have_their_own_budget(bench: Bench) -> None:
    """They are not crowded out by those that were fast, and are bounded, too."""
    event = bench.consume()
    bench.deliver(event, DELIVERIES_PER_RECORD + 1)
    bench.deliver(event, SLOW_PER_RECORD + 1, took_ns=SLOW_NS + 1)
    assert len(bench.spans.delivered) == DELIVERIES_PER_RECORD + SLOW_PER_RECORD
    assert bench.tracing.omitted == {"deliveries": 2}


@pytest.mark.parametrize(
    "took_ns, per_second, per_record",
    [(5, DELIVERIES_PER_SECOND, DELIVERIES_PER_RECORD), (SLOW_NS + 1, SLOW_PER_SECOND, SLOW_PER_RECORD)],
)
def test_deliveries_per_second(bench: Bench, took_ns: int, per_second: int, per_record: int) -> None:
    """However many records there are, there are only so many spans of deliveries in a second."""
    events = [bench.consume() for _ in range(per_second // per_record + 1)]
    for event in events:
        bench.deliver(event, per_record, took_ns=took_ns)
    assert per_second == len(bench.spans.delivered)
    bench.seconds = 1.0
    bench.deliver(bench.consume(), took_ns=took_ns)
    assert per_second + 1 == len(bench.spans.delivered)


def test_records_per_second(bench: Bench) -> None:
    """A record beyond the budget has no deliveries either: a trace is never cut in the middle."""
    events = [bench.consume() for _ in range(RECORDS_PER_SECOND + 2)]
    bench.deliver(events[-1])
    assert (len(bench.spans.made), events[-1].trace) == (RECORDS_PER_SECOND, None)
    assert bench.tracing.omitted == {"records": 2}


def test_summaries_are_bounded(bench: Bench) -> None:
    """When everything is too much, so are the summaries: the rest is only counted."""
    events = [bench.consume() for _ in range(SUMMARIES_PER_SECOND + 2)]
    for event in events:
        bench.deliver(event, 2 * DELIVERIES_PER_RECORD)
    bench.due.pop()()
    summaries = [span for span in bench.spans.delivered if "tailrace.deliveries.omitted" in span.attributes]
    assert (SUMMARIES_PER_SECOND, []) == (len(summaries), bench.due)


async def test_the_loop_sums_up() -> None:
    """Nobody need ask for the summary."""
    spans = ListSpans()
    tracing = Tracing(spans)
    event = sampled(FakeRecord(24))
    tracing.consumed(event, 1)
    with leaping():
        for _ in range(DELIVERIES_PER_RECORD + 1):
            tracing.delivered(event, transport="sse", request_id="r", handed_ns=1, accepted_ns=2)
        await until(lambda: len(spans.delivered) > DELIVERIES_PER_RECORD)
    assert spans.delivered[-1].attributes["tailrace.deliveries.omitted"] == 1


def test_shutdown_sums_up(bench: Bench) -> None:
    """What is due is sent before the end."""
    bench.deliver(bench.consume(), DELIVERIES_PER_RECORD + 1)
    bench.tracing.shutdown()
    assert (bench.spans.delivered[-1].attributes["tailrace.deliveries.omitted"], bench.spans.shut_down) == (1, True)


# On and off.


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "True"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_off(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Without an endpoint, or where OpenTelemetry is told to be off, there are no traces, and no word of it."""
    tracing = tracing_from_environment(environ)
    event = sampled(FakeRecord(24))
    tracing.consumed(event, 1)
    tracing.delivered(event, transport="sse", request_id="r", handed_ns=1, accepted_ns=2)
    tracing.shutdown()
    assert (tracing.enabled, event.trace, caplog.messages) == (False, None, [])


@pytest.mark.parametrize(
    "name, value",
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ],
)
def test_what_is_not_understood(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """A wrong variable costs the traces, not the service, and the log says so."""
    monkeypatch.setenv(name, value)
    tracing = tracing_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", name: value})
    [line] = [record for record in caplog.records if record.name.startswith("tailrace")]
    assert (tracing.enabled, line.levelno, line.message[:10]) == (False, logging.WARNING, "no traces:")


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_the_sdk_is_imported_only_where_it_is_used(endpoint: str) -> None:
    """A service without traces pays nothing for them."""
    code = (
        "import sys; from tailrace.tracing import tracing_from_environment as make; import tailrace.app;"
        f"make({{'OTEL_EXPORTER_OTLP_ENDPOINT': {endpoint!r}}}).shutdown();"
        "print('opentelemetry.sdk' in sys.modules, 'grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(bool(endpoint))] * 2
