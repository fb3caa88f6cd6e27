"""Messages of before Kafka 0.11, alone and held by another."""

from __future__ import annotations

import struct

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder

from raw_batches import CODECS, COMPRESSED, old_message
from tailrace.event import Flawed
from tailrace.kafka.batches import Batches, Cause, read_batches
from tailrace.kafka.opening import Limits


def holding(*messages: bytes, codec: int = 1, offset: int = 9, magic: int = 1, attributes: int = 0) -> bytes:
    """Write a message that holds others."""
    packed = CODECS[codec](b"".join(messages))
    return old_message(offset, None, packed, magic=magic, attributes=codec | attributes, ms=7)


def seen(found: Batches) -> list[tuple[int, int, bytes | None, bytes | None]]:
    assert found.unreadable is None
    return [(record.offset, record.timestamp, record.key, record.value) for record in found.records]


@pytest.mark.parametrize("magic, ms", [(0, -1), (1, 1000)])
def test_a_message_alone(magic: int, ms: int) -> None:
    """Format 0 has no timestamp."""
    found = read_batches(old_message(5, b"k", None, magic=magic) + old_message(6, None, b"", magic=magic), 5)
    assert (seen(found), found.next_offset, found.newest_ms) == ([(5, ms, b"k", None), (6, ms, None, b"")], 7, ms)


@pytest.mark.parametrize("codec", COMPRESSED.values(), ids=COMPRESSED)
def test_messages_that_another_holds(codec: int) -> None:
    """In format 1 their offsets count from the first, and the holder has that of the last; it may have their time."""
    held = [old_message(number, b"k", b"v%d" % number, ms=number) for number in range(3)]
    plain, stamped = (read_batches(holding(*held, codec=codec, attributes=each), 7) for each in (0, 8))
    assert seen(plain) == [(7 + number, number, b"k", b"v%d" % number) for number in range(3)]
    assert [ms for _, ms, _, _ in seen(stamped)] == [7] * 3


def test_offsets_of_format_0_are_whole() -> None:
    """They are what they say."""
    held = [old_message(number, b"k", b"v", magic=0) for number in (7, 8, 9)]
    assert [offset for offset, *_ in seen(read_batches(holding(*held, magic=0), 7))] == [7, 8, 9]


def test_it_reads_what_aiokafka_reads() -> None:
    """Two parsers, one answer."""
    builder = LegacyRecordBatchBuilder(1, 1, 1 << 16)
    for number in range(20):
        builder.append(number, 1000 + number, b"key %d" % number, b"x" * number)
    data = struct.pack(">q", 120) + bytes(builder.build())[8:]  # the broker says where it lies
    theirs = [(each.offset, each.timestamp, each.key, each.value) for each in LegacyRecordBatch(data, 1)]
    assert seen(read_batches(data, 0)) == theirs


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(holding(old_message(0, b"k", b"v")), id="it holds others itself"),
        pytest.param(old_message(1, b"k", b"v")[:-5] + struct.pack(">i", 2) + b"v", id="a length"),
        pytest.param(old_message(99, b"k", b"v"), id="an offset ahead"),
    ],
)
def test_what_is_wrong_with_one_concerns_that_one(bad: bytes) -> None:
    """Its neighbours come."""
    data = holding(old_message(0, b"k", b"before"), bad, old_message(2, b"k", b"behind"))
    found = read_batches(data, 0)
    assert found.unreadable is None
    before, flawed, behind = found.records
    assert isinstance(flawed, Flawed)
    assert (before.value, flawed.reason, flawed.key, behind.value) == (b"before", "malformed", None, b"behind")


@pytest.mark.parametrize(
    "held", [b"x", old_message(0, b"k", b"v")[:-1], old_message(0, b"k", b"v")[:8] + b"\xff" * 4 + bytes(20)]
)
def test_lengths_that_do_not_add_up_are_damage(held: bytes) -> None:
    """Of what it holds nothing is given."""
    found = read_batches(holding(held), 0)
    assert found.unreadable is not None
    assert (list(found.records), found.unreadable.cause) == ([], Cause.DAMAGED)


def test_bounds_are_the_same() -> None:
    """What one message holds may take no more than a batch of the new format, and a value too large is not copied."""
    limits = Limits(1 << 16, 10)
    held = [old_message(number, b"k", b"v" * (number + 10)) for number in range(2)]
    first, second = read_batches(holding(*held), 0, limits=limits).records
    assert (first.value, isinstance(second, Flawed)) == (b"v" * 10, True)
    many = read_batches(holding(*[old_message(number, b"k", b"") for number in range(999)]), 0, limits=limits)
    large = read_batches(holding(old_message(0, b"k", bytes(1 << 17))), 0, limits=limits)
    for found in (many, large):
        assert found.unreadable is not None
        assert (list(found.records), found.unreadable.cause) == ([], Cause.OVERSIZED)
