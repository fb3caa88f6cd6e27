"""Where reading begins, and when the tail is warm."""

from __future__ import annotations

import time

import pytest

from fake_kafka import FakeKafka, Log
from tailrace.consumer.topology import BELIEVED_AT, Topology
from tailrace.consumer.warmup import LEAST_EVENT_BYTES, LEAST_RECORDS, Warmup
from tailrace.errors import KafkaTrouble
from tailrace.kafka import EARLIEST, LATEST, NotLeader, Stretch, UnknownTopic
from tailrace.tail import Tail

END = 100_000
PLACE = ("t", 0)


async def begun_at(log: Log, *, max_bytes: int = 1 << 30) -> int:
    """Begin one partition; give the offset."""
    kafka = FakeKafka(t=1)
    kafka.logs[PLACE] = log
    tail, warmup = await met(kafka, max_bytes)
    await warmup.begin(kafka, 1, [PLACE])
    return tail.next_offset(0, 0)


async def met(kafka: FakeKafka, max_bytes: int = 1 << 30) -> tuple[Tail, Warmup]:
    """Take up the first identity."""
    tail, _, warmup = await met_with_topology(kafka, max_bytes)
    return tail, warmup


async def met_with_topology(kafka: FakeKafka, max_bytes: int = 1 << 30) -> tuple[Tail, Topology, Warmup]:
    """Take up the first identity, and go on with the next ones."""
    tail = Tail(sorted(kafka.ids), max_bytes)
    topology = Topology(tail)
    warmup = Warmup(tail, topology, seconds=30)
    warmup.expect(topology.take_up(await kafka.identity()))
    return tail, topology, warmup


def stretch(next_offset: int, high_watermark: int, last_stable: int, trouble: KafkaTrouble | None = None) -> Stretch:
    return Stretch(*PLACE, (), next_offset, 0, high_watermark, last_stable, trouble)


async def test_it_begins_so_many_seconds_back() -> None:
    """Where the broker knows offsets by time, the last seconds are read."""
    assert END - 5000 == await begun_at(Log(end=END, by_time=END - 5000))


async def test_it_reads_back_at_least_a_thousand_records() -> None:
    """A quiet topic's last words are what its clients come back for, however old."""
    assert END - LEAST_RECORDS == await begun_at(Log(end=END, by_time=END - 3))


async def test_a_broker_that_knows_no_times_gives_a_thousand_records() -> None:
    """Nor does one whose records are all older than that."""
    assert END - LEAST_RECORDS == await begun_at(Log(end=END, by_time=None))


async def test_it_reads_back_no_more_than_its_share_of_the_tail() -> None:
    """What is read only to be evicted delays the start for nothing."""
    expected = END - 200
    assert expected == await begun_at(Log(end=END, by_time=0), max_bytes=200 * LEAST_EVENT_BYTES)


async def test_it_begins_no_earlier_than_the_log() -> None:
    """What retention took cannot be read."""
    assert END - 10 == await begun_at(Log(start=END - 10, end=END, by_time=None))


async def test_the_tail_learns_where_the_log_begins() -> None:
    """So that a replay of everything begins there, and not where nothing is."""
    kafka = FakeKafka(t=1)
    kafka.logs[PLACE] = Log(start=7, end=9)
    tail, warmup = await met(kafka)
    await warmup.begin(kafka, 1, [PLACE])
    assert tail.start(0, 0) == 7


async def test_the_share_is_divided_among_the_partitions() -> None:
    """Four partitions get a quarter each."""
    kafka = FakeKafka(t=4)
    kafka.logs[PLACE].end = END
    tail, warmup = await met(kafka, 400 * LEAST_EVENT_BYTES)
    await warmup.begin(kafka, 1, [PLACE])
    assert END - 100 == tail.next_offset(0, 0)


async def test_the_time_asked_for_lies_the_configured_seconds_back() -> None:
    """Kafka takes Unix milliseconds."""
    kafka = FakeKafka(t=1)
    _, warmup = await met(kafka)
    before = time.time()
    await warmup.begin(kafka, 1, [PLACE])
    after = time.time()
    assert [LATEST, EARLIEST] == kafka.whens[:2]
    assert before * 1000 - 30_001 <= kafka.whens[2] <= after * 1000 - 30_000


async def test_it_waits_first_for_kafka_then_for_ends_then_for_the_reading() -> None:
    """Each step has a sentence for the operator, and the last one is none."""
    kafka = FakeKafka(t=1)
    kafka.logs[PLACE].end = 7
    tail = Tail(["t"], 1 << 20)
    topology = Topology(tail)
    warmup = Warmup(tail, topology, seconds=30)
    heard = [warmup.waiting]
    warmup.expect(topology.take_up(await kafka.identity()))
    heard.append(warmup.waiting)
    await warmup.begin(kafka, 1, [PLACE])
    heard.append(warmup.waiting)
    tail.advance(0, 0, 7)
    assert [] == warmup.waiting
    assert [
        ["Kafka has not answered yet"],
        ["topic t, partition 0 has not told its end yet"],
        ["topic t, partition 0 has 7 offsets left to read"],
    ] == heard


async def test_a_partition_that_cannot_say_is_named_and_asked_again() -> None:
    """It has not begun; the others have."""
    kafka = FakeKafka(t=2)
    kafka.logs[PLACE].end_troubles += [NotLeader(*PLACE), None]
    _, warmup = await met(kafka)
    await warmup.begin(kafka, 1, [PLACE, ("t", 1)])
    assert [str(NotLeader(*PLACE))] == warmup.waiting
    await warmup.begin(kafka, 1, [PLACE])
    assert ["topic t, partition 0 has not told its end yet"] == warmup.waiting
    await warmup.begin(kafka, 1, [PLACE])
    assert (True, []) == (warmup.begun(PLACE), warmup.waiting)


async def test_an_answer_about_a_topic_that_was_left_is_not_believed() -> None:
    """It was made again while its brokers were asked: the old end means nothing."""
    kafka = FakeKafka(t=2)
    kafka.logs["t", 1].end = 50
    tail, warmup = await met(kafka)

    kafka.on_offsets = lambda: tail.learn(0, "00000002", 1)
    await warmup.begin(kafka, 1, [("t", 1)])
    assert (((0,),), False) == (tail.position.offsets, warmup.begun(("t", 1)))


async def test_a_topic_made_again_during_the_warm_up_is_not_waited_for() -> None:
    """Where the old one ended means nothing, and partitions that it no longer has will never begin."""
    kafka = FakeKafka(t=3)
    for log in kafka.logs.values():
        log.end = 50
    tail, warmup = await met(kafka)
    await warmup.begin(kafka, 1, [PLACE])
    tail.learn(0, "00000002", 1)
    assert [] == warmup.waiting


@pytest.mark.parametrize("begun", [True, False])
async def test_a_topic_deleted_during_the_warm_up_is_not_waited_for(begun: bool) -> None:
    """Nobody knows whether it will ever be there again; the others must be served."""
    kafka = FakeKafka(t=1)
    kafka.produce(PLACE, b"v")
    _, topology, warmup = await met_with_topology(kafka)
    if begun:
        await warmup.begin(kafka, 1, [PLACE])
    kafka.topic_troubles["t"] = UnknownTopic("t")
    waiting = []
    for _ in range(BELIEVED_AT):
        topology.take_up(await kafka.identity())
        waiting.append(len(warmup.waiting))
    assert [1, 0] == waiting


@pytest.mark.parametrize(
    "seen, expected",
    [
        (stretch(5, high_watermark=9, last_stable=5), 0),
        (stretch(5, high_watermark=5, last_stable=-1), 0),
        (stretch(5, high_watermark=9, last_stable=9), 1),
        (stretch(5, high_watermark=-1, last_stable=-1, trouble=NotLeader(*PLACE)), 1),
        (stretch(5, high_watermark=-1, last_stable=-1), 1),
    ],
    ids=["the end of what is committed", "the end", "not at the end", "trouble", "a broker that does not say"],
)
async def test_a_partition_with_nothing_more_to_give_is_warm(seen: Stretch, expected: int) -> None:
    """Its end may lie lower than it was told: the log was cut off after the question."""
    kafka = FakeKafka(t=1)
    kafka.logs[PLACE].end = 7
    _, warmup = await met(kafka)
    await warmup.begin(kafka, 1, [PLACE])
    warmup.note(seen)
    assert expected == len(warmup.waiting)
