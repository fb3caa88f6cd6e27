"""Reading one partition below the floor, whatever Kafka does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from builders import BODY, FakeRecord, ListWire, append, make_reader
from leaping import leaping, until
from replaying import House, at_work
from tailrace.consumer import CORRUPT_TRIES
from tailrace.kafka import CorruptBatch, NoMemory, NotLeader, OffsetOutOfRange, OversizedBatch, UnknownTopic
from tailrace.metrics import Metrics
from tailrace.replay import Scanner
from tailrace.replay.scanning import BACKOFF_SECONDS, FETCH_WAIT_MS, PARSE_SECONDS, TAKEN_AT_ONCE
from tailrace.tail import WAKE_SLICE_SECONDS

PLACE = ("t", 0)


class BrokenWire(ListWire):
    """A wire that cannot be written to."""

    def write(self, data: bytes) -> None:  # noqa: ARG002
        raise LookupError("on purpose")


async def replayed(house: House) -> list[str]:
    """Give what somebody gets who comes with nothing."""
    subscriber = house.subscriber(0)
    async with at_work(house):
        return await subscriber.live()


async def test_it_reads_to_the_floor_and_asks_who_is_there_before_and_after() -> None:
    """Records of a topic that was made again must not pass for those of the old one."""
    house = House()
    house.history(4)
    house.kafka.at_once = 2
    assert await replayed(house) == ["0", "1", "2", "3", "live"]
    assert (house.fetches, house.kafka.identities) == ([(0, 0), (0, 2)], 2)


async def test_fetches_and_records_are_counted() -> None:
    """Apart from those of live reading."""
    house = House()
    house.history(5, key=b"other")
    house.kafka.at_once = 4
    await replayed(house)
    names = ("replay_fetches_total", "replay_records_total", "kafka_fetches_total")
    assert [house.metric(name) for name in names] == [2, 5, 0]


async def test_batch_that_cannot_be_read_is_tried_and_passed_over() -> None:
    """Its readers are told, in its place; what lies before and behind it comes."""
    house = House()
    house.history(6)
    house.kafka.at_once = 2
    log = house.kafka.logs[PLACE]
    log.troubles += [None, *[CorruptBatch(*PLACE, 2, 4, "its checksum is wrong")] * CORRUPT_TRIES]
    assert await replayed(house) == ["0", "1", "reset", "4", "5", "live"]
    assert house.fetches == [(0, 0), *[(0, 2)] * CORRUPT_TRIES, (0, 4)]


async def test_oversized_batch_is_passed_over_at_the_first_try() -> None:
    """It will not be smaller; its readers are told in its place, whoever comes and however often."""
    house = House()
    house.history(6)
    house.kafka.at_once = 2
    log = house.kafka.logs[PLACE]
    log.troubles += [None, OversizedBatch(*PLACE, 2, 4, "too many bytes")]
    assert await replayed(house) == ["0", "1", "reset", "4", "5", "live"]
    assert house.fetches == [(0, 0), (0, 2), (0, 4)]


async def test_too_little_memory_is_waited_for() -> None:
    """However often there is: nobody is told that anything is lost."""
    house = House()
    house.history(2)
    house.kafka.logs[PLACE].troubles += [NoMemory(*PLACE, 0, 2, "there is not enough memory")] * (CORRUPT_TRIES + 2)
    assert await replayed(house) == ["0", "1", "live"]


@pytest.mark.parametrize("more", [0, 1])
async def test_large_batch_is_handed_over_in_parts(more: int) -> None:
    """Whole all the same."""
    house = House()
    count = 2 * TAKEN_AT_ONCE + more
    house.history(count)
    assert await replayed(house) == [*map(str, range(count)), "live"]
    assert len(house.fetches) == 1


async def test_batch_that_can_be_read_after_all_is_delivered() -> None:
    """What spoils one answer need not lie in the log."""
    house = House()
    house.history(2)
    house.kafka.logs[PLACE].troubles += [CorruptBatch(*PLACE, 0, 2, "cut")] * (CORRUPT_TRIES - 1)
    assert await replayed(house) == ["0", "1", "live"]


async def test_what_retention_took_meanwhile_is_a_reset_at_the_start_of_the_log() -> None:
    """The tail learns it too, so that the next reader need not ask."""
    house = House()
    house.history(5)
    house.kafka.retain(PLACE, 3)
    assert await replayed(house) == ["reset", "3", "4", "live"]
    assert (house.fetches, house.tail.start(0, 0)) == ([(0, 0), (0, 3)], 3)


async def test_start_of_a_topic_that_was_left_means_nothing() -> None:
    """It was made again while its leader was asked where it begins."""
    house = House()
    house.history(5)
    house.kafka.retain(PLACE, 3)
    house.kafka.on_offsets = lambda: house.tail.learn(0, "00c0ffee", 1)
    house.subscriber(0)
    async with at_work(house):
        await until(lambda: house.kafka.whens and not house.replay.at_work)
    assert house.tail.start(0, 0) == 0


async def test_retention_in_the_middle_of_a_scan() -> None:
    """The reset comes after what was delivered."""
    house = House()
    house.history(6)
    house.kafka.at_once = 2
    house.kafka.on_fetch = lambda: house.kafka.retain(PLACE, 4) if len(house.fetches) == 2 else None
    assert await replayed(house) == ["0", "1", "reset", "4", "5", "live"]


async def test_log_that_lost_its_end_is_for_live_reading_to_find() -> None:
    """The scan waits, with growing pauses, until the tail has jumped; then its reader goes on at the end."""
    house = House()
    house.history(6)
    house.kafka.truncate(PLACE, 2)
    house.kafka.at_once = 1
    house.kafka.logs[PLACE].start = 0
    subscriber = house.subscriber(3)
    async with at_work(house):
        await asyncio.sleep(5 * BACKOFF_SECONDS[1])
        house.tail.jump(0, 0, 2, "truncated")
        for _ in house.tail.wake():
            pass
        assert await subscriber.live() == ["reset", "live"]
    assert (subscriber.reader.position.offsets, '"truncated"' in subscriber.wire.text) == (((2,),), True)


async def test_topic_made_again_during_a_scan() -> None:
    """The readers hear `epoch` from the tail, which is asked to look, and get nothing of the new topic in between."""
    house = House()
    house.history(6)
    house.kafka.at_once = 2
    house.kafka.on_fetch = lambda: make_again() if len(house.fetches) == 2 else None

    def make_again() -> None:
        house.kafka.make_again("t", "2", 1)
        house.kafka.logs[PLACE].troubles.append(OffsetOutOfRange(*PLACE))

    subscriber = house.subscriber(0)
    async with at_work(house):
        await until(lambda: house.refreshes)
        await until(lambda: not house.replay.at_work)
        for _ in house.tail.wake():
            pass
        assert await subscriber.live() == ["0", "1", "reset", "live"]
    assert house.refreshes == 1


async def test_tail_that_has_not_heard_of_the_new_topic_yet_is_waited_for() -> None:
    """Nothing is fetched of a topic that is not the one that was asked for, however long that takes."""
    house = House()
    house.history(2)
    refreshed = house._refreshed
    asked = count()

    async def slowly() -> None:
        if next(asked) >= 2:
            await refreshed()

    house.scanner._refreshed = slowly
    house.kafka.make_again("t", "2", 1)
    subscriber = house.subscriber(0)
    async with at_work(house):
        await until(lambda: house.tail.epochs[0] != subscriber.reader.position.epochs[0] or next(asked) > 4)
        await until(lambda: not house.replay.at_work)
    assert house.fetches == []


@pytest.mark.parametrize(
    "spoil,mend",
    [
        (lambda house: house.kafka.down.add(1), lambda house: house.kafka.down.clear()),
        (lambda house: set_leader(house, None), lambda house: set_leader(house, 1)),
        (
            lambda house: house.kafka.topic_troubles.update(t=UnknownTopic("t")),
            lambda house: house.kafka.topic_troubles.clear(),
        ),
        (
            lambda house: setattr(house.kafka, "cluster_trouble", NotLeader("t")),
            lambda house: setattr(house.kafka, "cluster_trouble", None),
        ),
    ],
    ids=["broker-down", "no-leader", "topic-hidden", "nobody-answers"],
)
async def test_trouble_delays_the_scan_and_ends_nothing(
    spoil: Callable[[House], object], mend: Callable[[House], object]
) -> None:
    """Nobody is told; when Kafka is back, the reader gets everything."""
    house = House()
    house.history(2)
    spoil(house)
    subscriber = house.subscriber(0)
    async with at_work(house):
        await asyncio.sleep(20 * BACKOFF_SECONDS[1])
        mend(house)
        assert await subscriber.live() == ["0", "1", "live"]


def set_leader(house: House, leader: int | None) -> None:
    """Let nobody, or somebody, lead the partition."""
    house.kafka.logs[PLACE].leader = leader


async def test_trouble_in_a_fetch_is_asked_about_again() -> None:
    """Who leads the partition may have changed; what was read before it is kept."""
    house = House()
    house.history(4)
    house.kafka.at_once = 2
    house.kafka.logs[PLACE].troubles += [None, NotLeader(*PLACE)]
    assert await replayed(house) == ["0", "1", "2", "3", "live"]
    assert (house.fetches, house.kafka.identities) == ([(0, 0), (0, 2), (0, 2)], 3)


async def test_answer_without_the_partition_is_trouble() -> None:
    """The broker does not lead it any more, and says so by silence."""
    house = House()
    house.history(2)
    log = house.kafka.logs[PLACE]
    house.kafka.on_fetch = lambda: house.kafka.logs.pop(PLACE, None) if len(house.fetches) == 1 else None
    subscriber = house.subscriber(0)
    async with at_work(house):
        await asyncio.sleep(5 * BACKOFF_SECONDS[1])
        house.kafka.logs[PLACE] = log
        assert await subscriber.live() == ["0", "1", "live"]


async def test_pauses_grow_while_nothing_moves() -> None:
    """A cluster that is away is asked less and less often, down to once in two seconds; jitter takes half at most."""
    house = House()
    house.history(2)
    house.kafka.down.add(1)
    house.subscriber(0)
    async with at_work(house):
        await asyncio.sleep(20 * BACKOFF_SECONDS[1])
    assert 20 <= house.metric("kafka_failures_total") <= 50


async def test_scan_rests_for_as_long_as_it_works() -> None:
    """So it takes at most half of the loop from live reading."""
    house = House()
    house.history(5000, key=b"other")
    house.kafka.at_once = 1000
    subscriber = house.subscriber(0)
    async with at_work(house):
        begin = asyncio.get_running_loop().time()
        await subscriber.live()
        took = asyncio.get_running_loop().time() - begin
    assert took > 5000 * PARSE_SECONDS


async def test_what_cannot_be_read_is_not_asked_for_again_at_once() -> None:
    """A moment later it may be mended."""
    house = House()
    house.history(2)
    house.kafka.logs[PLACE].troubles += [CorruptBatch(*PLACE, 0, 2, "cut")] * (CORRUPT_TRIES - 1)
    subscriber = house.subscriber(0)
    async with at_work(house):
        begin = asyncio.get_running_loop().time()
        await subscriber.live()
        took = asyncio.get_running_loop().time() - begin
    assert took > (CORRUPT_TRIES - 1) * BACKOFF_SECONDS[0] / 2


async def test_answer_that_brings_nothing_is_not_asked_for_at_once() -> None:
    """The broker has waited for a record, and there was none: a scan does not spin."""
    house = House()
    house.history(1)
    house.kafka.logs[PLACE].end = 0
    house.kafka.logs[PLACE].records.clear()
    house.subscriber(0)
    async with at_work(house):
        await asyncio.sleep(10 * BACKOFF_SECONDS[0])
    assert (len(house.fetches) <= 20, set(house.kafka.waits)) == (True, {(FETCH_WAIT_MS, 1)})


async def test_exception_ends_one_reader() -> None:
    """The one that failed is told; the others are served."""
    house = House()
    house.history(1)
    failing, other = house.subscriber(0), house.subscriber(0)
    failing.reader.attach(BrokenWire(), BODY, lambda callback: callback())
    async with at_work(house):
        assert await other.live() == ["0", "live"]
    assert [str(each) for each in failing.owner.failures[:1]] == ["on purpose"]


async def test_readers_are_served_in_slices() -> None:
    """The event loop gets a turn when a slice of time is used up."""
    house = House()
    ticks = count()
    scanner = Scanner(
        house.kafka,
        house.tail,
        refreshed=house._refreshed,
        metrics=Metrics(),
        clock=lambda: next(ticks) * WAKE_SLICE_SECONDS * 0.6,
    )
    readers = [make_reader(house.tail) for _ in range(6)]
    append(house.tail, FakeRecord(0))
    turns = 0
    with leaping():
        serving = asyncio.create_task(scanner.serve(readers))
        while not serving.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns >= 3
