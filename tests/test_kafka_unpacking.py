"""Large batches elsewhere, one at a time, in order; the oversized remembered."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from raw_batches import MIB, batch, body
from tailrace.kafka import Limits, NoMemory, NotLeader, OversizedBatch, Stretch, Unpacking
from tailrace.kafka import unpacking as module
from tailrace.kafka.fetch_wire import Slice
from tailrace.kafka.opening import Opening
from tailrace.kafka.unpacking import Passed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailrace.event import Record

LIMITS = Limits(4 * MIB, 4 * MIB)
LARGE = batch([body(0, b"s", b"v" * 2 * MIB)], codec=4)
BOMB = batch([body(0, b"s", bytes(9 * MIB)), body(1, b"s", b"v")], codec=4, first=1, last_delta=1)


def part(data: bytes, *, partition: int = 0, error: int = 0) -> Slice:
    return Slice("t", partition, error, 100, 100, 0, [], data)


async def read(unpacking: Unpacking, *parts: Slice, offset: int = 0) -> list[Stretch]:
    return await unpacking.stretches([(each, offset, "t") for each in parts])


def offsets(stretch: Stretch) -> list[int]:
    return [record.offset for record in stretch.records]


async def test_the_order_is_that_of_the_log() -> None:
    """A large batch between small ones keeps its place."""
    data = (
        batch([body(0, b"s", b"v")])
        + batch([body(0, b"s", b"v" * 2 * MIB)], first=1)
        + batch([body(0, b"s", b"v")], first=2)
    )
    [stretch] = await read(Unpacking(LIMITS), part(data))
    assert (offsets(stretch), stretch.next_offset, stretch.trouble) == ([0, 1, 2], 3, None)


async def test_one_partitions_error_is_its_own() -> None:
    """The others are read."""
    first, second = await read(Unpacking(LIMITS), part(b"", error=6), part(batch([body(0, b"s", b"v")]), partition=1))
    assert (isinstance(first.trouble, NotLeader), offsets(first), offsets(second)) == (True, [], [0])


class Watch:
    """Opens batches once it may, and says how many are at work at once."""

    def __init__(self) -> None:
        self.at_work = self.most = self.count = 0
        self.begun, self.may = threading.Event(), threading.Event()

    def opened(self, opening: Opening) -> Sequence[Record] | Exception:
        self.at_work += 1
        self.most, self.count = max(self.most, self.at_work), self.count + 1
        self.begun.set()
        self.may.wait(30)
        outcome = opening.outcome()
        self.at_work -= 1
        return outcome


@pytest.fixture
def watch() -> Watch:
    return Watch()


async def test_never_two_at_once(watch: Watch) -> None:
    """Whoever asks, live reading or a replay; while one is opened the loop goes on."""
    unpacking = Unpacking(LIMITS, watch.opened)
    tasks = [asyncio.create_task(read(unpacking, part(LARGE))) for _ in range(4)]
    await asyncio.to_thread(watch.begun.wait, 30)
    watch.may.set()
    assert [offsets(stretch) for [stretch] in await asyncio.gather(*tasks)] == [[0]] * 4
    assert watch.most == 1


async def test_who_is_cancelled_leaves_nothing_behind(watch: Watch) -> None:
    """The thread has ended when the task has, and the next one has its turn."""
    unpacking = Unpacking(LIMITS, watch.opened)
    task = asyncio.create_task(read(unpacking, part(LARGE)))
    await asyncio.to_thread(watch.begun.wait, 30)
    task.cancel()
    watch.may.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watch.at_work == 0
    assert [offsets(stretch) for stretch in await read(unpacking, part(LARGE))] == [[0]]


async def test_what_is_oversized_is_told_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    """Logged once, with its place; what lies before it comes, and whoever asks again has it not opened again."""
    unpacking = Unpacking(LIMITS)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            [stretch] = await read(unpacking, part(batch([body(0, b"s", b"v")]) + BOMB))
    assert isinstance(stretch.trouble, OversizedBatch)
    assert (offsets(stretch), stretch.next_offset, stretch.trouble.next_offset) == ([0], 1, 3)
    where = "the batch from offset 1 up to 3 of topic t, partition 0"
    why = f"unpacked it has more than {4 * MIB} bytes (TAILRACE_MAX_BATCH_BYTES)"
    assert caplog.messages == [f"passing over {where} for good: {why}"]
    assert len(unpacking.passed) == 1


async def test_once_known_it_is_not_opened(watch: Watch) -> None:
    """However often somebody asks."""
    unpacking = Unpacking(LIMITS, watch.opened)
    watch.may.set()
    for _ in range(3):
        [stretch] = await read(unpacking, part(BOMB), offset=1)
        assert isinstance(stretch.trouble, OversizedBatch)
    assert watch.count == 1


async def test_too_little_memory_is_no_damage() -> None:
    """The batch has to wait, and is read when there is enough."""
    memory = iter([MemoryError("no more"), None])
    unpacking = Unpacking(LIMITS, lambda opening: next(memory) or opening.outcome())
    [stretch] = await read(unpacking, part(LARGE))
    assert isinstance(stretch.trouble, NoMemory)
    assert str(stretch.trouble) == (
        "topic t, partition 0: the batch from offset 0 up to 1 has to wait: there is not enough memory"
    )
    assert (stretch.next_offset, [offsets(each) for each in await read(unpacking, part(LARGE))]) == (0, [[0]])


async def test_partitions_of_an_answer_share_its_bound() -> None:
    """What does not fit is as if it had not come: it is asked for again."""
    large = [part(LARGE, partition=number) for number in range(4)]
    found = await read(Unpacking(LIMITS), *large)
    assert [offsets(stretch) for stretch in found] == [[0], [0], [], []]
    assert [(stretch.next_offset, stretch.trouble) for stretch in found[2:]] == [(0, None)] * 2


def test_the_oldest_is_forgotten() -> None:
    """There is a bound on what is remembered, and partitions do not know each other's."""
    passed = Passed(2)
    assert [passed.add("t", 0, (number, 7)) for number in (1, 1, 2, 3)] == [True, False, True, True]
    assert (len(passed), passed.of("t", 0), passed.of("t", 1)) == (2, {(2, 7), (3, 7)}, ())
    assert module.MAX_PASSED < 100_000
