"""Records at the level of bytes: what is wrong with one concerns that one, and its neighbours come whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint_py
from hypothesis import given
from hypothesis import strategies as st

from raw_batches import CODECS, batch, body, framed, header, sized, varint
from tailrace.event import MAX_HEADERS, Flawed, Record
from tailrace.kafka.batches import Batches, Cause, read_batches
from tailrace.kafka.opening import Limits
from tailrace.kafka.records import MAX_HEADER_NAME_BYTES, Shape, Walker
from tailrace.session import MAX_SESSION_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD = [header(b"event", b"progress"), header(b"null", None)]


def around(bad: bytes, *, key: bytes = b"s") -> bytes:
    """Write a batch of three records, the second of which is ``bad``."""
    return batch([body(0, key, b"before", GOOD), bad, body(2, key, b"behind", GOOD)])


def values(found: Batches) -> list[bytes | None]:
    return [record.value for record in found.records]


def flaw(found: Batches) -> Flawed:
    """Give the second record, having seen that the others are whole and that nothing is told of the batch."""
    before, second, behind = found.records
    assert (found.unreadable, before.value, behind.value) == (None, b"before", b"behind")
    assert list(before.headers) == list(behind.headers) == [("event", b"progress"), ("null", None)]
    assert isinstance(second, Flawed)
    return second


@pytest.mark.parametrize("name, expected", [(b"\xff\xfe", "\ufffd\ufffd"), ("nom-dé".encode("latin-1"), "nom-d\ufffd")])
def test_a_header_name_that_is_not_utf8(name: bytes, expected: str) -> None:
    """It has replacement characters, as for Kafka's own Java client, and its record is delivered."""
    second = read_batches(around(body(1, b"s", b"v", [header(name, b"x")])), 0).records[1]
    assert (second.value, list(second.headers)) == (b"v", [(expected, b"x")])


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="attributes only"),
        pytest.param(b"\0" + b"\xff" * 12, id="a number without end"),
        pytest.param(body(1, b"s", b"v") + b"more", id="bytes behind"),
        pytest.param(body(1, b"s", b"v")[:-1], id="no header count"),
        pytest.param(body(1, b"s", b"v", count=-1), id="fewer than no headers"),
        pytest.param(body(1, b"s", b"v", count=2**31), id="more headers than bytes"),
        pytest.param(body(1, b"s", b"v", [varint(-1) + sized(b"x")]), id="a header without a name"),
        pytest.param(body(1, b"s", b"v", [sized(b"x") + varint(99)]), id="a header value that is too long"),
        pytest.param(b"\0\0\x02" + varint(2**62) + b"s", id="a key of 2**62 bytes"),
        pytest.param(b"\0\0\x02" + sized(b"s") + varint(2**62), id="a value of 2**62 bytes"),
    ],
)
def test_a_malformed_record(bad: bytes) -> None:
    """It is known by its place, and nothing is told of the batch."""
    found = flaw(read_batches(around(bad), 0))
    assert (found.offset, found.reason) == (1, "malformed")


def test_a_malformed_record_has_its_session() -> None:
    """Where the key could be read, and the headers before the wrong one."""
    found = flaw(read_batches(around(body(1, b"s", b"v", [header(b"to", b"me"), varint(-5)])), 0))
    assert (found.key, found.headers) == (b"s", [("to", b"me")])


@pytest.mark.parametrize("delta", [-1, 0, 2, 3, 2**31, 2**62])
def test_an_offset_that_is_not_its_own(delta: int) -> None:
    """A broker does not look at it. An event so far ahead would be the partition's end for everyone."""
    found = flaw(read_batches(around(body(delta, b"s", b"v")), 0))
    assert (found.offset, found.key, found.reason) == (1, b"s", "malformed")


@pytest.mark.parametrize("delta", [-1, 0, 10, 2**40])
def test_an_offset_that_nobody_knows(delta: int) -> None:
    """Where records were compacted away, nothing says which it was: the record is nobody's, and its neighbours come."""
    bodies = [body(0, b"s", b"before"), body(delta, b"s", b"v"), body(9, b"s", b"behind")]
    found = read_batches(batch(bodies, last_delta=9), 0)
    assert [(record.offset, record.key, record.value) for record in found.records] == [
        (0, b"s", b"before"),
        (0, None, None),
        (9, b"s", b"behind"),
    ]


def test_too_many_headers() -> None:
    """They are not read; the record is told of in its session, by its key or by one of the first headers."""
    many = [header(b"to", b"me"), *[header(b"", b"")] * MAX_HEADERS]
    found = read_batches(batch([body(0, b"s", b"v", many * 300), body(1, b"s", b"behind")]), 0)
    first, second = found.records
    assert isinstance(first, Flawed)
    assert (first.reason, first.key, first.headers[0], len(first.headers)) == (
        *("too_many_headers", b"s", ("to", b"me")),
        MAX_HEADERS,
    )
    assert second.value == b"behind"


def test_what_is_too_large_is_not_copied() -> None:
    """A value beyond what an event may have is only told of, and a long key is cut behind what any session has."""
    found = walked([body(0, b"k" * 5000, b"v" * 11, GOOD), body(1, b"k", b"v" * 10)], value_bytes=10)
    assert [type(each) is Flawed for each in found] == [True, False]
    assert (found[0].value, found[0].key) == (None, b"k" * (MAX_SESSION_BYTES + 1))


def test_a_header_with_an_endless_name_is_left_out() -> None:
    """Nobody asks for it; the record and its other headers come."""
    names = [b"n" * MAX_HEADER_NAME_BYTES, b"n" * (MAX_HEADER_NAME_BYTES + 1), b"event"]
    [found] = walked([body(0, b"k", b"v", [header(name, b"x") for name in names])])
    assert [name for name, _ in found.headers] == ["n" * MAX_HEADER_NAME_BYTES, "event"]


def walked(bodies: Sequence[bytes], *, value_bytes: int = 1000, append_ms: int | None = None) -> list[Record]:
    raw = memoryview(b"".join(map(sized, bodies)))
    return list(Walker(raw, 0, Shape(len(bodies), 0, len(bodies) - 1, 1_700_000_000_000, append_ms), value_bytes))


some_bytes = st.one_of(st.none(), st.binary(max_size=300))
headers = st.lists(st.tuples(st.text(max_size=20), some_bytes), max_size=5)
record_parts = st.tuples(some_bytes, some_bytes, headers, st.integers(-(2**40), 2**40))


@given(st.lists(record_parts, max_size=6), st.booleans())
def test_it_reads_what_aiokafka_reads(
    parts: list[tuple[bytes, bytes, list[tuple[str, bytes]], int]], append: bool
) -> None:
    """Two parsers, one answer, whatever a good record holds."""
    bodies = [
        body(number, key, value, [header(name.encode(), each) for name, each in given_headers], ms=ms)
        for number, (key, value, given_headers, ms) in enumerate(parts)
    ]
    theirs = DefaultRecordBatch(batch(bodies, attributes=8 if append else 0))
    ours = walked(bodies, append_ms=1_700_000_000_999 if append else None)
    assert [(each.offset, each.timestamp, each.key, each.value, each.headers) for each in theirs] == [
        (each.offset, each.timestamp, each.key, each.value, each.headers) for each in ours
    ]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give a record's bytes, with some of them replaced, taken out or put in."""
    raw = bytearray(body(1, b"s", b"value", [header(b"event", b"e"), header(b"x", None)]))
    for at, cut, new in draw(
        st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.binary(max_size=12)), min_size=1, max_size=4)
    ):
        raw[at : at + cut] = new
    return bytes(raw)


@given(st.one_of(damaged(), st.binary(max_size=60)), st.sampled_from(sorted(CODECS)))
def test_neighbours_come_whatever_a_record_holds(bad: bytes, codec: int) -> None:
    """Nothing that is wrong within one record is told of the batch, or costs another record."""
    bodies = [body(0, b"s", b"before", GOOD), bad, body(2, b"s", b"behind", GOOD)]
    found = read_batches(batch(bodies, codec=codec), 0)
    assert (found.unreadable, found.next_offset) == (None, 3)
    before, second, behind = found.records
    assert (before.value, second.offset, behind.value) == (b"before", 1, b"behind")


@given(st.binary(max_size=80), st.integers(-2, 5), st.integers(-3, 6), st.integers(0, 7))
def test_nothing_is_raised_whatever_a_batch_holds(packed: bytes, count: int, last_delta: int, codec: int) -> None:
    """Records that do not add up are damage, and told as that; nothing of them is given."""
    found = read_batches(framed(packed, count, last_delta=last_delta, attributes=codec), 0)
    if found.unreadable is not None:
        assert (list(found.records), found.next_offset, found.unreadable.cause) == ([], 0, Cause.DAMAGED)


@given(st.lists(st.one_of(damaged(), st.binary(max_size=60)), max_size=5), st.integers(0, 4), st.integers(0, 3))
def test_lengths_that_do_not_add_up_are_damage(bodies: list[bytes], cut: int, more: int) -> None:
    """Only there is something wrong with the batch, and nothing of it is given; else each record is told of."""
    packed = b"".join(map(sized, bodies))
    packed = packed[: len(packed) - cut] + b"\0" * more
    found = read_batches(framed(packed, len(bodies), last_delta=len(bodies) - 1), 0)
    if adds_up(packed, len(bodies)):
        assert (found.unreadable, len(found.records)) == (None, len(bodies))
    else:
        assert found.unreadable is not None
        assert (list(found.records), found.unreadable.cause) == ([], Cause.DAMAGED)


def adds_up(packed: bytes, count: int) -> bool:
    """Whether so many lengths, each before as many bytes, are all that there is; by aiokafka's numbers."""
    at = 0
    for _ in range(count):
        if at >= len(packed):
            return False
        size, at = decode_varint_py(packed, at)
        at += size
    return at == len(packed)


def test_large_and_small_batches_are_read_alike() -> None:
    """The bound beyond which a batch is opened elsewhere changes nothing that is read."""
    bodies = [body(number, b"s", b"v" * 300, GOOD) for number in range(5000)]
    small = read_batches(batch(bodies[:100]), 0)
    large = read_batches(batch(bodies), 0, limits=Limits())
    assert values(small) == values(large)[:100]
    assert [record.offset for record in large.records] == list(range(5000))
