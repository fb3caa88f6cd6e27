"""Readers whose id lies beyond the log are told; those who are only ahead of this replica are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from builders import DECODER, Block, FakeRecord, ListWire, append, attached, make_reader
from fake_kafka import FakeKafka
from leaping import leaping
from tailrace.consumer import Asking, Intake
from tailrace.consumer.beyond import LOOK_SECONDS, READERS_AT_ONCE, Beyond
from tailrace.consumer.topology import Topology
from tailrace.errors import KafkaTrouble
from tailrace.kafka import HIGH_WATERMARK, BrokerUnavailable
from tailrace.tail import Tail

PLACE = ("t", 0)
NEXT = 3
"""What this replica has read of the log."""


@asynccontextmanager
async def looking(kafka: FakeKafka) -> AsyncIterator[Tail]:
    """Look until the end of the block."""
    with leaping():
        tail = Tail(["t"], 1 << 20)
        topology = Topology(tail)
        topology.take_up(await kafka.identity())
        tail.begin(0, 0, NEXT)
        intake = Intake(tail, DECODER, lambda: 0.0)

        async def refreshed() -> bool:
            with suppress(KafkaTrouble):
                await kafka.identity()
                return True
            return False

        beyond = Beyond(Asking(kafka, tail, topology), tail, topology, intake, refreshed)
        task = asyncio.create_task(beyond.run())
        try:
            yield tail
        finally:
            task.cancel()
            await asyncio.wait([task])


def log_that_ends_at(end: int) -> FakeKafka:
    kafka = FakeKafka(t=1)
    kafka.logs[PLACE].end = end
    return kafka


def resumed(tail: Tail, entry: int) -> ListWire:
    """Come back with an id."""
    wire = attached(reader := make_reader(tail, [[entry]]))
    reader.flush()
    return wire


def told(wire: ListWire) -> list[str]:
    return [block.event or block.data for block in Block.all(wire.text)]


async def test_a_reader_beyond_the_log_is_told_and_goes_on_where_this_replica_is() -> None:
    """What comes now is delivered, though it stands where other records stood."""
    async with looking(log_that_ends_at(NEXT)) as tail:
        wire = resumed(tail, NEXT + 1)
        assert [] == told(wire)
        await asyncio.sleep(1.1 * LOOK_SECONDS)
        append(tail, FakeRecord(NEXT, value=b"new"))
        for _ in tail.wake():
            pass
        assert ["tailrace.reset", "tailrace.live", "new"] == told(wire)
        assert '"reason":"truncated"' in wire.text


async def test_a_reader_that_a_faster_replica_has_served_waits() -> None:
    """The log holds what it has seen: nothing is wrong, and nothing is told."""
    async with looking(log_that_ends_at(NEXT + 1)) as tail:
        wire = resumed(tail, NEXT + 1)
        await asyncio.sleep(5 * LOOK_SECONDS)
        assert ([], 1) == (told(wire), len(tail.waiting))


async def test_nobody_is_asked_while_nobody_waits() -> None:
    """A reader at this replica's place costs nothing."""
    async with looking(kafka := log_that_ends_at(NEXT)) as tail:
        resumed(tail, NEXT)
        await asyncio.sleep(5 * LOOK_SECONDS)
        assert [] == kafka.whens


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kafka: kafka.down.add(1),
        lambda kafka: kafka.logs.clear(),
        lambda kafka: setattr(kafka, "cluster_trouble", BrokerUnavailable("kafka:9092", "nobody listens")),
    ],
    ids=["the broker is away", "the broker does not say", "nobody says who it is"],
)
async def test_where_the_end_cannot_be_had_the_reader_waits(spoil: Callable[[FakeKafka], None]) -> None:
    """It is looked at again, and the others meanwhile."""
    async with looking(kafka := log_that_ends_at(NEXT)) as tail:
        wire = resumed(tail, NEXT + 1)
        logs = dict(kafka.logs)
        spoil(kafka)
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert [] == told(wire)
        kafka.down.clear()
        kafka.cluster_trouble = None
        kafka.logs = logs
        await asyncio.sleep(1.1 * LOOK_SECONDS)
        assert ["tailrace.reset", "tailrace.live"] == told(wire)


@pytest.mark.parametrize("noticed", ["on_offsets", "on_identity"])
async def test_the_end_of_a_topic_that_was_left_means_nothing(noticed: str) -> None:
    """It was made again while its leader was asked, or before, and nobody here knew."""
    async with looking(kafka := log_that_ends_at(NEXT)) as tail:
        wire = resumed(tail, NEXT + 1)
        setattr(kafka, noticed, lambda: tail.learn(0, "00000002", 1))
        await asyncio.sleep(1.1 * LOOK_SECONDS)
        assert "truncated" not in wire.text


async def test_who_came_or_went_while_the_leader_was_asked_is_left_alone() -> None:
    """An id that is younger than the question may lie beyond its answer."""
    async with looking(kafka := log_that_ends_at(NEXT)) as tail:
        gone = make_reader(tail, [[NEXT + 1]])
        wire = attached(gone)
        gone.flush()
        late: list[ListWire] = []

        def meanwhile() -> None:
            gone.close()
            late.append(resumed(tail, NEXT + 1))

        kafka.on_offsets = meanwhile
        await asyncio.sleep(1.1 * LOOK_SECONDS)
        assert [[], [], {HIGH_WATERMARK}] == [told(wire), told(late[0]), set(kafka.whens)]


async def test_many_are_looked_at_in_several_turns() -> None:
    """So that the loop is never held up for long."""
    async with looking(log_that_ends_at(NEXT)) as tail:
        for _ in range(READERS_AT_ONCE + 1):
            resumed(tail, NEXT + 1)
        await asyncio.sleep(1.1 * LOOK_SECONDS)
        first = len(tail.waiting)
        await asyncio.sleep(LOOK_SECONDS)
        assert (1, 0) == (first, len(tail.waiting))
