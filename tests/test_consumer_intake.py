"""A batch into the tail: appended whole, then told, and nothing of it twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import DECODER, EPOCH, FakeRecord, attached, make_reader, make_tail
from tailrace.consumer import Intake
from tailrace.consumer.intake import RECORDS_AT_ONCE, Batch
from tailrace.kafka import NotLeader, OversizedBatch, Stretch
from tailrace.metrics import Metrics
from tailrace.tail import Tail

if TYPE_CHECKING:
    from tailrace.errors import KafkaTrouble

PLACE = ("t", 0)


def stretch(*records: FakeRecord, next_offset: int, partition: int = 0, trouble: KafkaTrouble | None = None) -> Stretch:
    return Stretch("t", partition, records, next_offset, 0, next_offset, next_offset, trouble)


def batch(*stretches: Stretch, asked: Mapping[tuple[str, int], int] | None = None) -> Batch:
    """Make a batch; by default every partition was asked from offset 0."""
    return Batch((EPOCH,), asked or {(each.topic, each.partition): 0 for each in stretches}, stretches)


async def batches(*given: Batch) -> AsyncIterator[Batch]:
    for each in given:
        yield each


def intake(tail: Tail, clock: Sequence[float] = (), metrics: Metrics | None = None) -> Intake:
    """Make an intake; its clock gives ``clock``, one time after the other."""
    return Intake(tail, DECODER, iter(clock).__next__, metrics=metrics)


def left_out(metrics: Metrics) -> dict[str, int]:
    """Give how many records were left out, by reason."""
    name = "tailrace_unaddressed_records_total"
    samples = (sample for sample in text_string_to_metric_families(metrics.render()[0].decode()))
    counts = {
        each.labels["reason"]: int(each.value) for family in samples for each in family.samples if each.name == name
    }
    return {reason: count for reason, count in counts.items() if count}


class Witness:
    """A reader's place that writes down how much the tail held whenever it was served."""

    live, place = True, 0

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.held: list[int] = []

    def flush(self) -> None:
        self.held.append(self._tail.events)


async def test_a_batch_is_appended_whole_before_anyone_is_served() -> None:
    """A session that several partitions touch is woken once a batch."""
    tail = make_tail(partitions=2)
    witness = Witness(tail)
    tail.join("s", witness)  # type: ignore[arg-type]  # it is only flushed here
    both = batch(
        stretch(FakeRecord(0), FakeRecord(1), next_offset=2), stretch(FakeRecord(0), next_offset=1, partition=1)
    )
    await intake(tail).consume(batches(both))
    assert [3] == witness.held


async def test_the_next_batch_waits_until_everyone_was_served() -> None:
    """Otherwise a tail at its bound evicts what nobody had the chance to take."""
    tail = Tail(["t"], 1 << 20, clock=iter(range(1000)).__next__)  # every slice is used up: a pause after each reader
    tail.learn(0, EPOCH, 1)
    wires = [attached(make_reader(tail)) for _ in range(3)]
    seen: list[int] = []

    async def fed() -> AsyncIterator[Batch]:
        yield batch(stretch(FakeRecord(0), next_offset=1))
        seen.extend(len(wire.written) for wire in wires)

    await intake(tail).consume(fed())
    assert [1, 1, 1] == seen


async def test_several_leaders_take_turns() -> None:
    """While readers are served after one leader's batch, no other leader's batch is appended."""
    tail = Tail(["t"], 1 << 20, clock=iter(range(1000)).__next__)
    tail.learn(0, EPOCH, 2)
    wires = [attached(make_reader(tail)) for _ in range(3)]
    one = intake(tail)
    first = batch(stretch(FakeRecord(0), next_offset=1))
    second = batch(stretch(FakeRecord(0), next_offset=1, partition=1))
    await asyncio.gather(one.consume(batches(first)), one.consume(batches(second)))
    assert [2, 2, 2] == [len(wire.written) for wire in wires]


async def test_a_stretch_that_was_not_asked_from_here_is_dropped() -> None:
    """The partition jumped while the fetch was under way: its records lie elsewhere now."""
    tail = make_tail()
    told: list[Stretch] = []
    one = Intake(tail, DECODER, iter(()).__next__, told.append)
    await one.consume(batches(batch(stretch(FakeRecord(7), next_offset=8), asked={PLACE: 7})))
    assert (0, 0, []) == (tail.next_offset(0, 0), tail.events, told)


async def test_a_stretch_of_the_topic_that_was_here_before_is_dropped() -> None:
    """It was made again while the fetch was under way: both begin at 0, and only the epoch tells them apart."""
    tail = make_tail()
    tail.learn(0, "00000002", 1)
    told: list[Stretch] = []
    one = Intake(tail, DECODER, iter(()).__next__, told.append)
    await one.consume(batches(batch(stretch(FakeRecord(0), next_offset=1))))
    assert (0, 0, []) == (tail.next_offset(0, 0), tail.events, told)


async def test_markers_and_compacted_records_move_the_next_offset() -> None:
    """What is no event is passed all the same."""
    tail = make_tail()
    await intake(tail).consume(
        batches(batch(stretch(FakeRecord(3), next_offset=9)), batch(stretch(next_offset=12), asked={PLACE: 9}))
    )
    assert (12, 1) == (tail.next_offset(0, 0), tail.events)


@pytest.mark.parametrize("said, expected", [(7, 7), (0, 0), (-1, 5)], ids=["moved", "nothing gone", "not told"])
async def test_the_tail_learns_where_the_log_begins(said: int, expected: int) -> None:
    """Where the broker tells; below that a replay need not ask."""
    tail = make_tail()
    tail.note_start(0, 0, 5)
    await intake(tail).consume(batches(batch(stretch(FakeRecord(8), next_offset=9)._replace(log_start=said))))
    assert tail.start(0, 0) == expected


async def test_a_record_without_a_session_is_counted_and_passed() -> None:
    """The records around it are delivered, and the next offset is beyond it."""
    tail = make_tail()
    wire = attached(make_reader(tail))
    metrics = Metrics()
    one = intake(tail, [1.0], metrics)
    given = stretch(FakeRecord(0), FakeRecord(1, key=None), FakeRecord(2), next_offset=3)
    await one.consume(batches(batch(given)))
    assert ({"no_session": 1}, 3, 2) == (left_out(metrics), tail.next_offset(0, 0), wire.text.count("data: v"))


async def test_a_record_without_a_session_is_told_once_a_minute_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    """A producer that forgets the key does not write as much log as data; another mistake is told beside it."""
    caplog.set_level(logging.WARNING, "tailrace")
    metrics = Metrics()
    one = intake(make_tail(), [100.0, 130.0, 131.0, 160.0], metrics)
    bad = [FakeRecord(0, key=None), FakeRecord(1, key=None), FakeRecord(2, key=b"\xff"), FakeRecord(3, key=None)]
    await one.consume(batches(batch(stretch(*bad, next_offset=4))))
    sentence = "left out a record without a session ({}): topic t, partition 0, offset {}"
    expected = [sentence.format(*each) for each in (("no_session", 0), ("session_not_utf8", 2), ("no_session", 3))]
    assert expected == caplog.messages
    assert {"no_session": 3, "session_not_utf8": 1} == left_out(metrics)


async def test_the_troubled_stretch_is_told_after_it_was_appended() -> None:
    """Records before the trouble are delivered first."""
    tail = make_tail()
    told: list[tuple[int, Stretch]] = []
    one = Intake(tail, DECODER, iter(()).__next__, lambda each: told.append((tail.events, each)))
    given = stretch(FakeRecord(0), next_offset=1, trouble=NotLeader("t", 0))
    await one.consume(batches(batch(given)))
    assert [(1, given)] == told


async def test_an_oversized_batch_is_jumped_over_once_what_lies_before_it_was_appended() -> None:
    """It is counted as what it is, and nobody is told of a trouble with the partition."""
    tail, metrics = make_tail(), Metrics()
    told: list[KafkaTrouble | None] = []
    one = Intake(tail, DECODER, iter(()).__next__, lambda each: told.append(each.trouble), metrics=metrics)
    await one.consume(batches(batch(stretch(FakeRecord(0), next_offset=1, trouble=OversizedBatch(*PLACE, 1, 5, "no")))))
    assert (told, tail.next_offset(0, 0), tail.beyond_gap(0, 0, 1)) == ([None], 5, (5, "oversized"))
    lines = metrics.render()[0].decode().splitlines()
    assert 'tailrace_kafka_jumps_total{reason="oversized"} 1.0' in lines
    assert "tailrace_kafka_failures_total 0.0" in lines


async def test_the_loop_has_turns_while_many_records_are_appended() -> None:
    """All of them are there before anyone is served."""
    tail = make_tail(max_bytes=1 << 30)
    turns: list[int] = []

    async def count_turns() -> None:
        while len(turns) < 99:
            turns.append(tail.events)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    given = stretch(*map(FakeRecord, range(2 * RECORDS_AT_ONCE + 1)), next_offset=2 * RECORDS_AT_ONCE + 1)
    await intake(tail).consume(batches(batch(given)))
    counting.cancel()
    assert sorted({*turns}) == [RECORDS_AT_ONCE, 2 * RECORDS_AT_ONCE]
    assert (tail.events, tail.next_offset(0, 0)) == (2 * RECORDS_AT_ONCE + 1,) * 2


async def test_a_topic_made_again_is_counted_and_its_lag_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """Its partitions may be others; a topic that is known for the first time is none."""
    tail, metrics = Tail(["t"], 1 << 20), Metrics()
    one = intake(tail, metrics=metrics)
    for epoch in (EPOCH, "00000002"):
        tail.learn(0, epoch, 1)
        of_its_own = batch(stretch(FakeRecord(0), next_offset=1))._replace(epochs=(epoch,))
        await one.consume(batches(of_its_own))
    assert {("t", "0"): 0} == one.lag.records()
    assert ["topic t was deleted and made again"] == caplog.messages
    assert "tailrace_kafka_identity_changes_total 1.0" in metrics.render()[0].decode().splitlines()


def test_a_jump_is_counted_by_its_reason() -> None:
    """And done."""
    tail, metrics = make_tail(), Metrics()
    intake(tail, metrics=metrics).jump(0, 0, 7, "retention")
    assert 7 == tail.next_offset(0, 0)
    assert 'tailrace_kafka_jumps_total{reason="retention"} 1.0' in metrics.render()[0].decode().splitlines()
