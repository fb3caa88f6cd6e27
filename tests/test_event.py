"""Records become events: whose they are, what they say, what cannot be delivered, and what they cost."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

import pytest

from builders import EPOCH, FakeRecord
from memory import counted
from tailrace.encoding import FORMATS, Framing
from tailrace.event import Arrival, Decoder, Event, Kind, Trace
from tailrace.names import MAX_TYPE_CHARACTERS
from tailrace.position import Position
from tailrace.session import MAX_SESSION_CHARACTERS, Unaddressed
from tailrace.tail import Tail

Headers = Sequence[tuple[str, bytes | None]]


def arrival() -> Arrival:
    """Begin a stretch of partition 1 of topic ``t``."""
    return Arrival(Position((EPOCH,), ((10, 20, 30),)), 0, "t", 1)


def decode(
    record: FakeRecord, *, session_header: str | None = None, encoding: str = "text", max_event_bytes: int = 100
) -> Event:
    """Decode one record."""
    decoder = Decoder(session_header=session_header, encoding=encoding, max_event_bytes=max_event_bytes)
    return decoder.decode(record, arrival())


def type_of(headers: Headers) -> str:
    """Give the type of an event with these headers."""
    return decode(FakeRecord(1, headers=headers)).type


# Whose it is.


def test_key_names_the_session() -> None:
    """By default the record's key, as text, is the session."""
    assert decode(FakeRecord(1, "gespräch/7".encode())).session == "gespräch/7"


def test_header_names_the_session() -> None:
    """Where a header is configured, the key plays no part, and the last of duplicates wins."""
    record = FakeRecord(1, b"key", headers=[("sid", b"one"), ("sid", b"two")])
    assert decode(record, session_header="sid").session == "two"


@pytest.mark.parametrize(
    "key,reason",
    [
        (None, "no_session"),
        (b"\xff", "session_not_utf8"),
        (b"", "session_illegal"),
        (b"a\nb", "session_illegal"),
        (b"a//b", "session_illegal"),
        (b"../b", "session_illegal"),
        (b"x" * (MAX_SESSION_CHARACTERS + 1), "session_illegal"),
        (b"x" * 100_000, "session_illegal"),
        (b"chat/*", "session_ends_in_star"),
    ],
)
def test_record_without_a_session(key: bytes | None, reason: str) -> None:
    """A record that names no session belongs to nobody, and says why."""
    with pytest.raises(Unaddressed) as caught:
        decode(FakeRecord(1, key))
    assert (caught.value.reason, str(caught.value)) == (reason, reason)


@pytest.mark.parametrize(
    "header,headers,expected",
    [
        pytest.param(None, [], b"key", id="the-key"),
        pytest.param("sid", [("sid", b"one"), ("sid", b"two")], b"two", id="the-last-header"),
        pytest.param("sid", [("other", b"x")], None, id="no-such-header"),
        pytest.param("sid", [("sid", None)], None, id="empty-header"),
    ],
)
def test_address_is_the_session_as_it_came(header: str | None, headers: Headers, expected: bytes | None) -> None:
    """By it a replay finds the few records that somebody waits for, without decoding the others."""
    decoder = Decoder(session_header=header, encoding="text", max_event_bytes=100)
    assert decoder.address(FakeRecord(1, b"key", headers=headers)) == expected


@pytest.mark.parametrize("headers", [[], [("other", b"s")], [("sid", None)], [("sid", b"s"), ("sid", None)]])
def test_record_without_the_session_header(headers: Headers) -> None:
    """A header that is missing or null names nobody; the key does not stand in for it."""
    with pytest.raises(Unaddressed, match="no_session"):
        decode(FakeRecord(1, b"key", headers=headers), session_header="sid")


def test_longest_session_counts_characters() -> None:
    """The bound is in characters, not in bytes."""
    assert decode(FakeRecord(1, ("ü" * MAX_SESSION_CHARACTERS).encode())).session == "ü" * MAX_SESSION_CHARACTERS


# Its type.


@pytest.mark.parametrize(
    "headers,expected",
    [
        ([], ""),
        ([("event", b"token")], "token"),
        ([("ce_type", b"com.example.token")], "com.example.token"),
        ([("event", b"token"), ("ce_type", b"other")], "token"),
        ([("ce_type", b"other"), ("event", b"token")], "token"),
        ([("event", b"one"), ("event", b"two")], "two"),
        ([("ce_type", b"one"), ("ce_type", b"two")], "two"),
        ([("event", b""), ("ce_type", b"other")], "other"),
        ([("event", None), ("ce_type", b"other")], "other"),
        ([("event", None)], ""),
        ([("event", b""), ("ce_type", b"")], ""),
        ([("Event", b"token")], ""),
        ([("event", "größe".encode())], "größe"),
    ],
)
def test_type_is_the_event_header_or_ce_type(headers: Headers, expected: str) -> None:
    """`event` stands above `ce_type`, the last of duplicates wins, an empty one counts as none."""
    assert expected == type_of(headers)


@pytest.mark.parametrize("name", ["error", "open", "tailrace.", "tailrace.end", "tailrace.reset"])
def test_reserved_types_are_set_apart(name: str) -> None:
    """A record can be mistaken neither for EventSource's own events nor for the service's."""
    assert type_of([("event", name.encode())]) == f"record:{name}"


@pytest.mark.parametrize("name", ["errors", "Open", "tailrace", "message", "record:error"])
def test_other_types_are_left_alone(name: str) -> None:
    """Only the exact names, and the prefix with its dot, are reserved."""
    assert name == type_of([("event", name.encode())])


@pytest.mark.parametrize(
    "raw", [b"a\nb", b"a\rb", b"a\x00b", b"a\xc2\x85b", b"\xe2\x80\xa8", b"\xff", b"x" * (MAX_TYPE_CHARACTERS + 1)]
)
def test_illegal_type_makes_a_skipped_event(raw: bytes) -> None:
    """A type that cannot stand in a line is never written into one; the record is told of instead."""
    event = decode(FakeRecord(1, headers=[("event", raw)]))
    assert (event.kind, event.type, event.data) == (Kind.SKIPPED, "illegal_type", b"")


# What it says.


@pytest.mark.parametrize("value", [b"hello", b"", "größe".encode(), b"a\r\nb\rc\n", b"\x00", b"x" * 100])
def test_text_is_kept_as_it_is(value: bytes) -> None:
    """Any UTF-8 up to the bound is a message, the empty one too."""
    event = decode(FakeRecord(1, value=value))
    assert (event.kind, event.type, event.data) == (Kind.MESSAGE, "", value)


@pytest.mark.parametrize("value", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"ok \xf5"])
def test_what_is_not_text_is_skipped(value: bytes) -> None:
    """Where text was promised nothing else is delivered, and the client is told."""
    event = decode(FakeRecord(1, value=value))
    assert (event.kind, event.type, event.data) == (Kind.SKIPPED, "not_text", b"")


@pytest.mark.parametrize("encoding", ["text", "base64"])
def test_what_is_too_large_is_skipped(encoding: str) -> None:
    """The bound is on the record's value, whatever it is encoded to, and the value is not kept."""
    event = decode(FakeRecord(1, value=b"x" * 101), encoding=encoding)
    assert (event.kind, event.type, event.data) == (Kind.SKIPPED, "too_large", b"")


def test_base64_takes_any_bytes() -> None:
    """With base64 every value is deliverable, and not one bit is changed."""
    event = decode(FakeRecord(1, value=b"\xff\x00\n"), encoding="base64")
    assert (event.kind, event.data) == (Kind.MESSAGE, b"/wAK")


def test_tombstone_ends_the_session_of_its_key() -> None:
    """A null value under the session's key is the session's end, whatever its headers say."""
    event = decode(FakeRecord(1, value=None, headers=[("event", b"a\nb")]))
    assert (event.kind, event.type, event.data) == (Kind.END, "", b"")


def test_tombstone_of_a_header_session_is_skipped() -> None:
    """Where a header names the session, its records may be under way elsewhere: no end."""
    event = decode(FakeRecord(1, value=None, headers=[("sid", b"s")]), session_header="sid")
    assert (event.kind, event.type) == (Kind.SKIPPED, "tombstone")


# Where it stands.


def test_id_names_the_record_and_the_cut_after_it() -> None:
    """The own partition's entry is the next offset, marked; the others are the cut's."""
    assert decode(FakeRecord(24)).id == b"v1.9f3a2c1d.10.-25.30"


def test_cut_before_is_where_its_lack_resumes() -> None:
    """Whoever lacks the event, and nothing before it, stands here."""
    assert decode(FakeRecord(24)).cut_before == Position((EPOCH,), ((10, 24, 30),))


def test_time_stamp_is_the_records() -> None:
    """The time stamp is Kafka's, in milliseconds."""
    assert decode(FakeRecord(1, timestamp=1_700_000_000_123)).timestamp_ms == 1_700_000_000_123


# What it costs.


@pytest.mark.parametrize(
    "sessions,per_arrival,partitions,encoded",
    [
        pytest.param(10, 100, 12, (), id="busy"),
        pytest.param(10, 100, 12, tuple(Framing), id="busy-and-read"),
        pytest.param(10, 1, 1, (), id="one-event-per-arrival"),
        pytest.param(10, 1, 300, (), id="many-partitions"),
        pytest.param(10, 1, 300, tuple(Framing), id="many-partitions-and-read"),
        pytest.param(1000, 100, 12, (), id="one-event-per-session"),
    ],
)
def test_charge_is_what_memory_pays(
    sessions: int, per_arrival: int, partitions: int, encoded: tuple[Framing, ...]
) -> None:
    """The tail's bytes are the memory it takes, give or take a quarter: it is bounded by one number."""
    values = [b"%250d" % number for number in range(1000)]
    keys = [b"session/%d" % (number % sessions) for number in range(1000)]
    real, tail = _filled(values, keys, per_arrival, partitions, encoded)
    assert real * 0.75 < tail.bytes < real * 1.25


def _filled(
    values: list[bytes], keys: list[bytes], per_arrival: int, partitions: int, encoded: tuple[Framing, ...]
) -> tuple[int, Tail]:
    """Fill a tail; give the bytes that it took and the tail."""
    decoder = Decoder(session_header=None, encoding="text", max_event_bytes=1000)
    gc.collect()
    with counted() as memory:
        tail = Tail(["t"], sys.maxsize)
        tail.learn(0, EPOCH, partitions)
        for number, (value, key) in enumerate(zip(values, keys, strict=True)):
            if number % per_arrival == 0:
                stretch = tail.arrival(0, number % partitions)
            copy = bytes(bytearray(value))  # as it comes from the network
            tail.append(decoder.decode(FakeRecord(number + 1_000_000, key, copy, timestamp=number + 10**12), stretch))
            for framing in encoded:
                tail.keep(tail._events[-1], FORMATS[framing])
        gc.collect()
    return memory.left, tail


def test_arrival_is_charged_once() -> None:
    """The first event of a stretch pays for what all of it share."""
    stretch = arrival()
    decoder = Decoder(session_header=None, encoding="text", max_event_bytes=100)
    sizes = [decoder.decode(FakeRecord(number), stretch).size for number in range(3)]
    assert (sizes[0] > sizes[1], sizes[1]) == (True, sizes[2])


@pytest.mark.parametrize(
    "headers, expected",
    [([("traceparent", b"00-1-2-01")], Trace(1, 2)), ([], None), ([("traceparent", None)], None)],
    ids=["sampled", "none", "null"],
)
def test_trace_is_the_producers(headers: Headers, expected: Trace | None) -> None:
    """What reads the header is handed in; without it no header is read."""
    record = FakeRecord(0, headers=headers)
    reading = Decoder(session_header=None, encoding="text", max_event_bytes=9, trace_of=lambda _: Trace(1, 2))
    assert (reading.decode(record, arrival()).trace, decode(record).trace) == (expected, None)


def test_trace_is_charged() -> None:
    """What a sampled event keeps of its producer's context is memory, too, and counts."""
    trace = Trace(1 << 127, 1 << 63)
    decoder = Decoder(session_header=None, encoding="text", max_event_bytes=9, trace_of=lambda _: trace)
    stretch = arrival()
    decoder.decode(FakeRecord(23), stretch)
    plain, traced = [decoder.decode(FakeRecord(24, headers=[(name, b"00")]), stretch) for name in ("x", "traceparent")]
    assert traced.size - plain.size == pytest.approx(sum(map(sys.getsizeof, (trace, *trace))), rel=0.2)
