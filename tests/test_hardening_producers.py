"""Attacks by whoever may write one key of a topic, one test each: what they cost, and that nobody else feels them.

Each goes the whole way from the bytes of a fetch's answer into the tail, beside a record of another session in the same
partition, which must be there afterwards.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import AsyncIterator

import pytest

from builders import EPOCH, Block, attached, make_reader, make_tail
from memory import counted
from raw_batches import COMPRESSED, MIB, batch, body, header
from tailrace.consumer import Intake
from tailrace.consumer.intake import Batch
from tailrace.event import MAX_HEADERS, SESSION_CACHE_BYTES, TYPE_CACHE_BYTES, Decoder
from tailrace.kafka import Limits, Unpacking
from tailrace.kafka.fetch_wire import Slice
from tailrace.metrics import Metrics

LIMITS = Limits(8 * MIB, MIB)
BYSTANDER = body(0, b"bystander", b"still here")


class Replica:
    """What reads one partition into a small tail; a bystander reads, and so does the attacker's own session."""

    def __init__(self, *, tail_bytes: int = MIB) -> None:
        self.unpacking = Unpacking(LIMITS)
        self.tail = make_tail(max_bytes=tail_bytes)
        self.decoder = Decoder(session_header=None, encoding="text", max_event_bytes=LIMITS.value_bytes)
        self.intake = Intake(self.tail, self.decoder, itertools.count().__next__, metrics=Metrics())
        self.bystander = attached(make_reader(self.tail, session="bystander"))
        self.victim = attached(make_reader(self.tail, session="s"))

    async def read(self, *batches: bytes) -> None:
        """Read from where it stands until all is read, as `consumer` does; the bystander's record comes last."""
        end = sum(_last(each) + 1 for each in batches) + 1
        at, data = 0, b""
        for each in (*batches, batch([BYSTANDER])):
            data += at.to_bytes(8) + each[8:]
            at += _last(each) + 1
        self.tail.advance(0, 0, 0)
        await self.intake.consume(self._answers(data, end))

    async def _answers(self, data: bytes, end: int) -> AsyncIterator[Batch]:
        while (at := self.tail.next_offset(0, 0)) < end:
            part = Slice("t", 0, 0, end, end, 0, [], _from(data, at))
            yield Batch((EPOCH,), {("t", 0): at}, await self.unpacking.stretches([(part, at, "t")]))

    @property
    def told(self) -> tuple[list[str], list[str]]:
        """Give what the bystander and the victim heard: events' data, and reasons of what could not be given."""
        return _heard(self.bystander.text), _heard(self.victim.text)


def _last(data: bytes) -> int:
    return int.from_bytes(data[23:27])


def _from(data: bytes, offset: int) -> bytes:
    """Give the batches that a broker would send for ``offset``."""
    at = 0
    while int.from_bytes(data[at : at + 8]) + _last(data[at:]) < offset:
        at += 12 + int.from_bytes(data[at + 8 : at + 12])
    return data[at:]


def _heard(text: str) -> list[str]:
    blocks = [block for block in Block.all(text) if block.event != "tailrace.live"]
    return [block.data.split('"reason":"')[1].split('"')[0] if block.event else block.data for block in blocks]


async def peak_of(replica: Replica, *batches: bytes) -> int:
    """Give the most memory that reading took, as far as Python counts it."""
    with counted() as memory:
        await replica.read(*batches)
    return memory.peak


@pytest.mark.parametrize("codec", COMPRESSED.values(), ids=COMPRESSED)
async def test_a_batch_that_unpacks_without_end(codec: int) -> None:
    """Each reader of the partition is told, once; what follows is delivered."""
    replica = Replica()
    assert await peak_of(replica, batch([body(0, b"s", bytes(20 * MIB))], codec=codec)) < LIMITS.batch_bytes
    assert replica.told == (["oversized", "still here"], ["oversized"])


async def test_many_batches_that_unpack_to_the_bound() -> None:
    """In one answer they take no more than one of them may, and none is lost."""
    replica = Replica()
    bodies = [body(number, b"s", bytes(MIB - 100)) for number in range(6)]
    assert await peak_of(replica, *[batch(bodies, codec=4)] * 12) < 2 * LIMITS.batch_bytes
    assert (replica.told[0], replica.tail.arrived) == (["still here"], 12 * 6 + 1)


async def test_records_of_a_million_headers() -> None:
    """They are skipped, one by one, and nothing is made of their headers."""
    replica = Replica()
    bodies = [body(number, b"s", b"v", [header(b"", b"")] * 1_000_000) for number in range(3)]
    peak = await peak_of(
        replica, batch(bodies, codec=4), batch([body(0, b"s", b"v", [header(b"", b"")] * (MAX_HEADERS + 1))])
    )
    assert peak < LIMITS.batch_bytes
    assert replica.told == (["still here"], ["too_many_headers"] * 4)


async def test_a_million_records_in_a_few_bytes() -> None:
    """As records they would take more than a batch may, so none is made."""
    replica = Replica()
    assert (
        await peak_of(replica, batch([body(number, None, None) for number in range(500_000)], codec=4))
        < LIMITS.batch_bytes
    )
    assert replica.told == (["oversized", "still here"], ["oversized"])


async def test_keys_and_names_without_end() -> None:
    """A key that no session has is counted, a name that nobody asks for is left out; neither is kept or decoded."""
    replica = Replica()
    endless = b"x" * 2 * MIB
    bodies = [body(0, endless, b"v"), body(1, b"s", b"given", [header(endless, b"x")])]
    assert await peak_of(replica, batch(bodies, codec=4)) < 3 * MIB
    assert replica.told == (["still here"], ["given"])


@pytest.mark.parametrize("size, batches", [(7 * MIB, 1), (MIB - 1000, 20)])
async def test_names_of_wide_characters(size: int, batches: int) -> None:
    """One emoji in a name makes Python give four bytes to each of its letters; a batch and an answer stay within their
    bounds all the same, and the records are delivered."""
    replica = Replica()
    wide = batch([body(0, b"s", b"given", [header("😀".encode() + b"x" * size, b"")])], codec=4)
    assert await peak_of(replica, *[wide] * batches) < 2 * LIMITS.batch_bytes
    assert replica.told == (["still here"], ["given"] * batches)


async def test_a_header_name_that_is_not_utf8() -> None:
    """Nobody is reset for it: it is read as Kafka's own client reads it."""
    replica = Replica()
    await replica.read(batch([body(0, b"s", b"before"), body(1, b"s", b"odd", [header(b"\xff\xfe", b"x")])]))
    assert replica.told == (["still here"], ["before", "odd"])


@pytest.mark.parametrize("delta", [-1, 7, 2**40])
async def test_an_offset_that_is_not_the_records_own(delta: int) -> None:
    """It would become the partition's floor for everyone; the record is skipped where it is."""
    replica = Replica()
    await replica.read(batch([body(0, b"s", b"before"), body(delta, b"s", b"odd"), body(2, b"s", b"behind")]))
    assert replica.told == (["still here"], ["before", "malformed", "behind"])
    assert (replica.tail.next_offset(0, 0), replica.tail.floor(0, 0)) == (4, 0)


async def test_types_without_end_are_not_kept() -> None:
    """A type of megabytes leaves nothing behind, and distinct ones no more than their bound."""
    replica = Replica(tail_bytes=4 * MIB)
    huge = [batch([body(0, b"s", b"v", [header(b"event", bytes([n]) * 2 * MIB)])], codec=4) for n in range(65, 75)]
    distinct = batch([body(n, b"x", b"", [header(b"event", b"%0250d" % n)]) for n in range(5000)])
    left = await left_by(replica, *huge, distinct)
    assert left < TYPE_CACHE_BYTES + 2 * replica.tail.max_bytes
    assert replica.told == (["still here"], ["illegal_type"] * 10)


async def test_distinct_sessions_are_bounded() -> None:
    """Their names are kept within a bound of bytes, or by events that were charged with them."""
    replica = Replica()
    names = [("🜄" * 250 + str(number)).encode() for number in range(3000)]
    left = await left_by(replica, *[batch([body(n, name, b"") for n, name in enumerate(names)], codec=4)] * 2)
    assert left < SESSION_CACHE_BYTES / 2
    assert replica.tail.bytes <= replica.tail.max_bytes


async def left_by(replica: Replica, *batches: bytes) -> int:
    """Give how much memory reading leaves in use, as far as Python counts it."""
    with counted() as memory:
        await replica.read(*batches)
        gc.collect()
    return memory.left


@pytest.mark.parametrize("stamp", [0, 1, -1, 2**62, 4_000_000_000_000])
async def test_timestamps_that_are_no_time(stamp: int) -> None:
    """They are delivered, and spoil no metric of anybody."""
    replica = Replica()
    replica.intake.lag.note("t", 0, 5, stamp)
    await replica.read(batch([body(0, b"s", b"when")], first_ms=stamp))
    assert (replica.told, replica.intake.lag.seconds()) == ((["still here"], ["when"]), {("t", "0"): 0.0})
