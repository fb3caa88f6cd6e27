"""One batch within its bounds: what it takes is known before it is made."""

from __future__ import annotations

import gc
import mmap
from typing import TYPE_CHECKING

import pytest

from memory import counted
from raw_batches import COMPRESSED, MIB, batch, body, framed, header, varint, zeros
from tailrace.event import Flawed
from tailrace.kafka.batches import Batches, Cause, batches_in, read_batches
from tailrace.kafka.codecs import NoRoom
from tailrace.kafka.counting import headers_in
from tailrace.kafka.header import Header
from tailrace.kafka.opening import (
    ODD_BYTES,
    ON_LOOP_BYTES,
    ON_LOOP_RECORDS,
    RECORDS_AT_ONCE,
    UNCOUNTED_BYTES,
    UNMEASURED_BYTES,
    Limits,
    Opening,
    Oversized,
    Stopped,
    scratch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS = Limits(4 * MIB, MIB)


def opening(data: bytes, limits: Limits = LIMITS) -> Opening:
    return Opening(Header(memoryview(data), 0), memoryview(data), limits)


def is_opened_here(data: bytes) -> bool:
    try:
        opening(data).here(scratch())
    except NoRoom:
        return False
    return True


def alone(size: int) -> list[bytes]:
    """Give a record whose value has so many bytes."""
    return [body(0, b"s", bytes(size))]


@pytest.mark.parametrize("codec", [0, *COMPRESSED.values()])
@pytest.mark.parametrize(
    "bodies, expected",
    [
        (alone(UNCOUNTED_BYTES), True),
        (alone(ON_LOOP_BYTES - 100), True),
        (alone(ON_LOOP_BYTES), False),
        ([body(number, None, None) for number in range(ON_LOOP_RECORDS)], True),
        ([body(number, None, None) for number in range(ON_LOOP_RECORDS + 1)], False),
        ([body(0, b"s", b"v", [header(b"", b"")] * (UNCOUNTED_BYTES // 2))], False),
        ([body(0, b"s", bytes(ODD_BYTES)) + b"more"], False),
    ],
)
def test_what_is_opened_on_the_loop(bodies: Sequence[bytes], expected: bool, codec: int) -> None:
    """What is small, has few records, and no doubt about it; whether it is packed makes no difference."""
    assert is_opened_here(batch(bodies, codec=codec)) is expected


@pytest.mark.parametrize("codec", [0, *COMPRESSED.values()])
@pytest.mark.parametrize(
    "size, oversized", [(3 * MIB, False), (4 * MIB - 100, False), (4 * MIB, True), (9 * MIB, True)]
)
def test_the_bound_of_bytes(size: int, oversized: bool, codec: int) -> None:
    """A batch is oversized where it has more bytes, unpacked, than one may have."""
    one = opening(batch(alone(size), codec=codec))
    if oversized:
        with pytest.raises(Oversized, match=f"more than {4 * MIB} bytes"):
            one.run()
    else:
        assert [type(record) for record in one.run()] == [Flawed]  # the value is larger than an event may be


def test_the_bound_of_records() -> None:
    """As records it may take as much again: many small ones take more than their bytes."""
    many = [body(number, None, None) for number in range(30_000)]
    odd = [*many, body(30_000, None, None) + b"more"]
    headers = [body(number, None, None, [header(b"", b"")] * 500) for number in range(60)]
    for bodies in (many, odd, headers):
        data = batch(bodies)
        assert len(data) < MIB
        with pytest.raises(Oversized):
            opening(data).run()


def test_a_count_is_not_believed() -> None:
    """A header that promises more records than there are costs nothing."""
    for count in (2**31 - 1, 10_000):
        found = read_batches(framed(b"\0" * 50, count, last_delta=count - 1), 0, limits=LIMITS)
        assert found.unreadable is not None
        assert found.unreadable.cause in {Cause.OVERSIZED, Cause.DAMAGED}


def test_memory_is_bounded() -> None:
    """A bomb takes no more than what is kept of it, as far as Python counts; the rest is not touched."""
    bombs = [
        framed(zeros(64 * MIB), 1, attributes=4),
        batch([body(n, b"s", b"v", [header(b"", b"")] * 1_000_000) for n in range(2)], codec=4),
        batch([body(n, None, None) for n in range(300_000)], codec=4),
    ]
    with counted() as memory:
        for bomb in bombs:
            read_batches(bomb, 0, limits=LIMITS)
    assert memory.peak < 3 * LIMITS.batch_bytes


def test_what_was_unpacked_is_let_go() -> None:
    """Whatever came of it, with or without the collector of cycles."""
    gc.collect()
    gc.disable()
    try:
        for bad in (framed(zeros(64 * MIB), 1, attributes=4), batch(alone(2 * MIB), codec=4, count=2)):
            outcome = opening(bad).outcome()
            assert isinstance(outcome, Exception)
            assert not [each for each in gc.get_objects() if isinstance(each, mmap.mmap)]
    finally:
        gc.enable()


def test_kept_is_what_records_take() -> None:
    """Whichever way they were read; it is a bound, so rather too much."""
    bodies = [body(number, b"key", b"v" * 50, [header(b"name", b"value")]) for number in range(500)]
    quick, slow = opening(batch(bodies)), opening(batch(bodies))
    with counted() as memory:
        records = quick.here(scratch())
    slow.run()
    assert len(records) == 500
    assert memory.left - MIB < quick.kept < 2 * memory.left
    assert quick.kept == pytest.approx(slow.kept, rel=0.1)


def test_small_records_take_at_most_twice_what_is_counted() -> None:
    """Their names are not measured, however wide the characters are."""
    name = "😀".encode() + b"x" * (UNMEASURED_BYTES - 20)
    data = batch([body(number, b"k", b"", [header(name, b"")]) for number in range(1000)])
    assert len(data) == pytest.approx(UNMEASURED_BYTES * 1000, rel=0.02)
    one = opening(data)
    with counted() as memory:
        records = one.here(scratch())
    assert (len(records), memory.left - MIB < 2 * one.kept) == (1000, True)


def test_who_is_stopped_gives_nothing() -> None:
    """Between some records and the next ones, whichever way they are read."""
    for more in (b"", b"more"):
        data = batch(
            [body(number, b"s", b"v") for number in range(2 * RECORDS_AT_ONCE)] + [body(2048, b"s", b"v") + more]
        )
        one = opening(data)
        one.stop()
        assert isinstance(one.outcome(), Stopped)


def told(data: bytes, passed: Sequence[tuple[int, int]] = (), limits: Limits = LIMITS) -> tuple[list[str], Batches]:
    """Read as `Unpacking` does; gives what was asked for meanwhile, too."""
    steps, asked = batches_in(data, 0, (), limits, scratch(), passed), []
    outcome: object = None
    try:
        while True:
            step = steps.send(outcome)  # type: ignore[arg-type]
            asked.append("turn" if step is None else "elsewhere")
            outcome = None if step is None else step.outcome()
    except StopIteration as end:
        return asked, end.value


def test_the_loop_has_a_turn_between_batches() -> None:
    """However many small ones an answer has, they do not hold it for long."""
    bodies = [body(number, b"s", b"v" * 1000) for number in range(1000)]
    asked, found = told(b"".join(batch(bodies, first=1000 * number) for number in range(8)), limits=Limits())
    assert (set(asked), len(found.records)) == ({"turn"}, 8000)


def test_an_answer_gives_no_more_at_once_than_a_batch_may_take() -> None:
    """What lies behind is left for the next fetch, so that many bombs take no more than one."""
    data = b"".join(batch(alone(MIB), first=number, codec=4) for number in range(50))
    found = read_batches(data, 0, limits=LIMITS)
    assert (len(found.records), found.next_offset, found.unreadable) == (4, 4, None)


def test_what_is_known_to_be_oversized_is_not_opened() -> None:
    """By its offset and its checksum: in a topic made again, another batch may have that place."""
    bomb = batch(alone(9 * MIB), codec=4)
    asked, found = told(bomb)
    assert found.unreadable is not None
    mark = found.unreadable.mark
    assert (asked, told(bomb, [mark])[0], found.unreadable.cause) == (["elsewhere"], [], Cause.OVERSIZED)
    assert told(batch(alone(5), codec=4), [mark])[1].unreadable is None


def test_the_aborted_are_not_opened() -> None:
    """Nobody may see them, so nobody is told of one that is too large."""
    bomb = batch(alone(9 * MIB), codec=4, attributes=0x10, producer=7)
    found = read_batches(bomb + batch(alone(5), first=1), 0, [(7, 0)], LIMITS)
    assert ([record.offset for record in found.records], found.unreadable) == ([1], None)


def test_the_checksum_comes_first() -> None:
    """What was not written so is not unpacked."""
    bomb = batch(alone(9 * MIB), codec=4)
    asked, found = told(bomb[:-1] + bytes([bomb[-1] ^ 1]))
    assert found.unreadable is not None
    assert (asked, found.unreadable.reason) == ([], "its checksum is wrong")


def test_too_little_memory_is_said_as_that() -> None:
    """And nothing is known about the batch."""
    steps = batches_in(batch(alone(3 * MIB)), 0, (), LIMITS, scratch())
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(MemoryError("no"))
    found: Batches = end.value.value
    assert found.unreadable is not None
    assert (found.next_offset, found.unreadable.cause) == (0, Cause.NO_MEMORY)


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_counting_reads_no_further_than_there_is(cut: int) -> None:
    """Where a length does not fit, a record has to be looked at."""
    good = b"".join(
        varint(len(each)) + each for each in [body(0, b"s" * 200, b"v" * 300, [header(b"n", b"v")] * 70)] * 3
    )
    found = (210, 210 * len(header(b"n", b"v")) + 3 * len(varint(70)))
    assert headers_in(memoryview(good), 0, 3, 1000) == found
    assert headers_in(memoryview(good[:-cut]), 0, 3, 1000) is None
    assert [headers_in(memoryview(good), 0, 3, size) for size in (299, 300)] == [None, found]
