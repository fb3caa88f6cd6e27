"""The tasks that read, over a cluster made of lists and a loop whose time leaps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from builders import DECODER, Block, ListWire, attached, make_reader
from fake_kafka import FakeKafka, Place
from leaping import leaping, until
from tailrace.consumer import Consumer
from tailrace.consumer.pace import BUSY_MIN_BYTES, BUSY_WAIT_MS
from tailrace.consumer.reading import BACKOFF_SECONDS, CORRUPT_TRIES, IDENTITY_SECONDS
from tailrace.consumer.withheld import HOLD_SECONDS
from tailrace.errors import KafkaTrouble
from tailrace.kafka import (
    EARLIEST,
    LATEST,
    BrokerUnavailable,
    CorruptBatch,
    Identity,
    NoMemory,
    NotAuthorized,
    NotLeader,
    OffsetOutOfRange,
    OversizedBatch,
    Stretch,
    UnknownTopic,
)
from tailrace.position import epoch_of
from tailrace.tail import Tail

FIRST, SECOND = ("t", 0), ("t", 1)
AWAY = BrokerUnavailable("kafka:9092", "nobody listens")


@dataclass
class Reading:
    """A consumer at work."""

    kafka: FakeKafka
    tail: Tail
    consumer: Consumer
    task: asyncio.Task[None]
    loop: asyncio.AbstractEventLoop

    async def warm(self) -> None:
        await until(lambda: not self.consumer.waiting)

    async def reached(self, place: Place, offset: int) -> None:
        """Wait until the tail's next offset is there."""
        number = self.tail.topics.index(place[0])
        await until(lambda: self.tail.next_offset(number, place[1]) == offset)

    def subscribed(self) -> ListWire:
        """Read session ``s`` live."""
        return attached(make_reader(self.tail))

    def next_offset(self, place: Place) -> int:
        return self.tail.next_offset(self.tail.topics.index(place[0]), place[1])


@asynccontextmanager
async def reading(kafka: FakeKafka, **options: Any) -> AsyncIterator[Reading]:
    """Consume until the end of the block; then nothing is left of it."""
    before = asyncio.all_tasks()
    with leaping() as loop:
        tail = Tail(sorted(kafka.ids), 1 << 20)
        consumer = Consumer(kafka, tail, DECODER, warmup_seconds=30, clock=loop.time, **options)
        task = asyncio.create_task(consumer.run())
        try:
            yield Reading(kafka, tail, consumer, task, loop)
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert kafka.closed
            assert before == asyncio.all_tasks()


def data(wire: ListWire) -> list[str]:
    """Give what a subscriber received: the data of messages, and resets; that it went live again is no news here."""
    blocks = [block for block in Block.all(wire.text) if block.event != "tailrace.live"]
    return [f"{block.event} {block.data}" if block.event else block.data for block in blocks]


async def test_records_become_events_of_live_readers() -> None:
    """The whole way: fetched, appended, woken."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.produce(FIRST, b"one", b"two")
        await it.reached(FIRST, 2)
        assert ["one", "two"] == data(wire)


async def test_what_came_before_the_start_is_read_before_it_is_warm() -> None:
    """Until then, streams wait."""
    kafka = FakeKafka(t=1)
    kafka.produce(FIRST, b"old", b"older")
    async with reading(kafka) as it:
        assert ["Kafka has not answered yet"] == it.consumer.waiting
        await it.warm()
        assert 2 == it.tail.events


async def test_each_fetch_starts_from_the_tails_next_offset() -> None:
    """It is the only truth; one request at a time."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        for number in range(3):
            it.kafka.produce(FIRST, b"v")
            await it.reached(FIRST, number + 1)
        assert [0, 1, 2, 3] == sorted({each[FIRST] for each in it.kafka.fetches})


async def test_each_leader_is_asked_for_its_own() -> None:
    """A task per leader: nobody is asked for what another leads."""
    kafka = FakeKafka(t=2)
    kafka.logs[SECOND].leader = 2
    async with reading(kafka) as it:
        await it.warm()
        await until(lambda: {(FIRST,), (SECOND,)} == {tuple(each) for each in kafka.fetches})


async def test_under_load_fetches_gather() -> None:
    """The pace of a busy leader is the busy one."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        while it.kafka.waits[-1] != (BUSY_WAIT_MS, BUSY_MIN_BYTES):
            it.kafka.produce(FIRST, b"v")
            await asyncio.sleep(0.001)


async def test_a_topic_made_later_is_read_from_its_beginning() -> None:
    """The service is ready without it, says that it is missing, and misses nothing of it."""
    kafka = FakeKafka(t=1)
    kafka.topic_troubles["t"] = UnknownTopic("t")
    async with reading(kafka) as it:
        await it.warm()
        assert ["topic t does not exist"] == it.consumer.degraded
        del kafka.topic_troubles["t"]
        kafka.produce(FIRST, *[b"v"] * 1500)
        await it.reached(FIRST, 1500)
        assert (1500, []) == (it.tail.events, it.consumer.degraded)


async def test_a_partition_added_later_is_read_from_its_beginning() -> None:
    """It is noticed by the next identity."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.logs[SECOND] = FakeKafka(t=1).logs[FIRST]
        it.kafka.produce(SECOND, b"new")
        await it.reached(SECOND, 1)
        assert ["new"] == data(wire)


async def test_a_topic_made_again_is_read_anew_and_its_readers_are_told() -> None:
    """Its events leave the tail, a reset comes before what is new."""
    async with reading(FakeKafka(t=1)) as it:
        it.kafka.produce(FIRST, b"old", b"old")
        await it.warm()
        wire = it.subscribed()
        it.kafka.make_again("t", "2", 1)
        it.kafka.produce(FIRST, b"new")
        await until(lambda: "new" in data(wire))
        assert (["new"], 1) == ([each for each in data(wire) if "tailrace" not in each], it.tail.events)
        assert '"reason":"epoch"' in data(wire)[0]


async def test_a_leader_that_moves_is_followed() -> None:
    """The old one says so, the identity is asked at once, the new one goes on from the next offset."""
    async with reading(FakeKafka(t=2)) as it:
        await it.warm()
        it.kafka.produce(FIRST, b"one")
        await it.reached(FIRST, 1)
        it.kafka.logs[FIRST].leader = 2
        it.kafka.logs[FIRST].troubles.append(NotLeader(*FIRST))
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        it.kafka.produce(FIRST, b"two")
        await it.reached(FIRST, 2)
        assert [] == it.consumer.degraded


async def test_one_partitions_trouble_holds_back_only_itself() -> None:
    """Its neighbour on the same broker is delivered meanwhile, without a pause."""
    async with reading(FakeKafka(t=2)) as it:
        await it.warm()
        it.kafka.logs[FIRST].troubles += [NotAuthorized(*FIRST)] * 50
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        begin = it.loop.time()
        for number in range(20):
            it.kafka.produce(SECOND, b"v")
            await it.reached(SECOND, number + 1)
        assert it.loop.time() - begin < HOLD_SECONDS / 2
        assert [str(NotAuthorized(*FIRST))] == it.consumer.degraded


async def test_a_partition_that_cannot_say_where_it_ends_delays_nobody_else() -> None:
    """It is named and asked again now and then; the others are read meanwhile without a pause."""
    kafka = FakeKafka(t=2)
    kafka.logs[FIRST].end_troubles += [NotLeader(*FIRST)] * 10
    async with reading(kafka) as it:
        await until(lambda: len(it.kafka.fetches) > 1)
        begin = it.loop.time()
        for number in range(20):
            kafka.produce(SECOND, b"v")
            await it.reached(SECOND, number + 1)
        assert it.loop.time() - begin < HOLD_SECONDS / 2
        assert [str(NotLeader(*FIRST))] == it.consumer.waiting
        await it.warm()


async def test_when_the_log_overtook_reading_it_goes_on_at_the_logs_start(caplog: pytest.LogCaptureFixture) -> None:
    """A jump, logged with both offsets; readers are told why."""
    caplog.set_level(logging.ERROR, "tailrace")
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.retain(FIRST, 70)
        it.kafka.produce(FIRST, b"after")
        await it.reached(FIRST, 71)
        assert '"reason":"retention"' in data(wire)[0]
        assert (["after"], []) == (data(wire)[1:2], it.consumer.degraded)
    assert ["jumping from 0 to 70 in partition 0 of topic t: retention"] == caplog.messages


async def test_when_the_log_was_cut_off_it_goes_on_at_the_logs_end() -> None:
    """Truncation is told as that, and nothing is delivered twice."""
    async with reading(FakeKafka(t=1)) as it:
        it.kafka.produce(FIRST, b"a", b"b", b"c")
        await it.warm()
        wire = it.subscribed()
        it.kafka.truncate(FIRST, 1)
        it.kafka.wake()
        await it.reached(FIRST, 1)
        it.kafka.produce(FIRST, b"d")
        await it.reached(FIRST, 2)
        assert '"reason":"truncated"' in data(wire)[0]
        assert ["d"] == data(wire)[1:]


async def test_who_comes_back_with_an_id_beyond_the_log_is_told() -> None:
    """The log was cut off while they were away."""
    async with reading(FakeKafka(t=1)) as it:
        it.kafka.produce(FIRST, b"a")
        await it.warm()
        reader = make_reader(it.tail, [[3]])
        wire = attached(reader)
        reader.flush()
        await until(lambda: reader.live)
        it.kafka.produce(FIRST, b"b")
        await it.reached(FIRST, 2)
        assert [True, "b"] == ['"reason":"truncated"' in data(wire)[0], *data(wire)[1:]]


async def test_an_offset_out_of_range_that_lies_within_the_log_is_asked_for_again() -> None:
    """A broker that was wrong for a moment costs nobody a reset."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.logs[FIRST].troubles.append(OffsetOutOfRange(*FIRST))
        it.kafka.produce(FIRST, b"v")
        await it.reached(FIRST, 1)
        assert ["v"] == data(wire)


async def test_a_partition_astray_that_cannot_say_where_it_is_is_asked_again() -> None:
    """Its neighbour is read meanwhile."""
    async with reading(FakeKafka(t=2)) as it:
        await it.warm()
        it.kafka.retain(FIRST, 9)
        it.kafka.logs[FIRST].end_troubles += [NotLeader(*FIRST)] * 3
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        it.kafka.produce(SECOND, b"v")
        await it.reached(SECOND, 1)
        assert 0 == it.next_offset(FIRST)
        await it.reached(FIRST, 9)


async def test_a_batch_that_cannot_be_read_is_jumped_over_after_three_tries(caplog: pytest.LogCaptureFixture) -> None:
    """Exactly that batch: nothing is paused for ever."""
    caplog.set_level(logging.ERROR, "tailrace")
    corrupt = CorruptBatch(*FIRST, 0, 2, "its checksum is wrong")
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.logs[FIRST].troubles += [corrupt] * CORRUPT_TRIES
        it.kafka.produce(FIRST, b"bad", b"bad", b"good")
        await it.reached(FIRST, 3)
        assert '"reason":"unreadable"' in data(wire)[0]
        assert "good" == data(wire)[1]
    assert [f"jumping from 0 to 2: {corrupt}"] == caplog.messages


async def test_an_oversized_batch_is_passed_over_at_once() -> None:
    """It holds nobody up, and nothing is wrong with Kafka; readers are told of it as what it is."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.logs[FIRST].troubles.append(OversizedBatch(*FIRST, 0, 2, "too many bytes"))
        it.kafka.produce(FIRST, b"bad", b"bad", b"good")
        begin = it.loop.time()
        await it.reached(FIRST, 3)
        assert it.loop.time() - begin < HOLD_SECONDS / 2
        assert (['"reason":"oversized"' in each for each in data(wire)], data(wire)[-1]) == ([True, False], "good")
        assert it.consumer.degraded == []


async def test_too_little_memory_is_waited_for() -> None:
    """However often there is: no batch is passed over for it, and the operator is told."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        trouble = NoMemory(*FIRST, 0, 1, "there is not enough memory")
        it.kafka.logs[FIRST].troubles += [trouble] * (CORRUPT_TRIES + 2)
        it.kafka.produce(FIRST, b"good")
        await until(lambda: it.consumer.degraded == [str(trouble)])
        await it.reached(FIRST, 1)
        assert ["good"] == data(wire)


async def test_the_tries_of_one_batch_are_not_counted_for_another() -> None:
    """Nor are those of a batch that was read in between."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        first, second = ([CorruptBatch(*FIRST, at, at + 1, "cut")] * (CORRUPT_TRIES - 1) for at in (0, 1))
        it.kafka.logs[FIRST].troubles += [*first, *second, *first, None, *second, None, *second]
        it.kafka.produce(FIRST, b"good")
        await until(lambda: not it.kafka.logs[FIRST].troubles)
        it.kafka.produce(FIRST, b"better")
        await it.reached(FIRST, 2)
        assert ["good", "better"] == data(wire)


async def test_a_batch_that_can_be_read_at_the_second_try_is_delivered() -> None:
    """A damaged answer is no damaged log."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.logs[FIRST].troubles += [CorruptBatch(*FIRST, 0, 1, "cut")] * (CORRUPT_TRIES - 1)
        it.kafka.produce(FIRST, b"good")
        await it.reached(FIRST, 1)
        assert ["good"] == data(wire)


async def test_when_a_broker_is_back_reading_goes_on_from_the_next_offset() -> None:
    """An outage disconnects nobody and loses nothing."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.down.add(1)
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        assert (["the broker node 1 cannot be reached: it is down"], []) == (it.consumer.degraded, it.consumer.waiting)
        it.kafka.produce(FIRST, b"meanwhile")
        it.kafka.down.clear()
        await it.reached(FIRST, 1)
        assert (["meanwhile"], []) == (data(wire), it.consumer.degraded)


async def test_a_broker_that_stays_away_is_asked_ever_less_often() -> None:
    """The pauses double up to a bound; after an answer they are short again."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        it.kafka.down.add(1)
        it.kafka.wake()
        await asyncio.sleep(60)
        tries = len(it.kafka.fetches)
        await asyncio.sleep(60)
        assert 60 / BACKOFF_SECONDS[1] - 1 <= len(it.kafka.fetches) - tries <= 2 * 60 / BACKOFF_SECONDS[1] + 1
        it.kafka.down.clear()
        await until(lambda: not it.consumer.degraded)
        it.kafka.down.add(1)
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        it.kafka.down.clear()
        begin = it.loop.time()
        await until(lambda: not it.consumer.degraded)
        assert it.loop.time() - begin < 3 * BACKOFF_SECONDS[0] + 0.5  # the pause, and a long poll


async def test_another_broker_is_read_while_one_is_away() -> None:
    """A broker's trouble delays only what it leads."""
    kafka = FakeKafka(t=2)
    kafka.logs[SECOND].leader = 2
    async with reading(kafka) as it:
        await it.warm()
        kafka.down.add(1)
        kafka.wake()
        await until(lambda: it.consumer.degraded)
        kafka.produce(SECOND, b"v")
        await it.reached(SECOND, 1)


async def test_a_node_that_leads_nothing_any_more_is_left_and_forgotten() -> None:
    """A broker that was taken out of the cluster is no trouble."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        it.kafka.down.add(1)
        it.kafka.logs[FIRST].leader = 2
        it.kafka.wake()
        it.kafka.produce(FIRST, b"v")
        await it.reached(FIRST, 1)
        await until(lambda: not it.consumer.degraded)


async def test_a_leader_that_comes_back_is_read_again() -> None:
    """Its task had ended; another is started."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        for number, leader in enumerate([2, 1, 2]):
            it.kafka.logs[FIRST].leader = leader
            await asyncio.sleep(3 * IDENTITY_SECONDS)
            it.kafka.produce(FIRST, b"v")
            await it.reached(FIRST, number + 1)


async def test_trouble_of_a_partition_that_has_gone_is_forgotten() -> None:
    """A topic made again with fewer partitions leaves no complaint behind."""
    async with reading(FakeKafka(t=2)) as it:
        await it.warm()
        it.kafka.logs[SECOND].troubles.append(NotAuthorized(*SECOND))
        it.kafka.wake()
        await until(lambda: it.consumer.degraded)
        it.kafka.make_again("t", "2", 1)
        await until(lambda: not it.consumer.degraded)


async def test_a_partition_astray_in_a_topic_made_again_is_not_sent_to_its_old_start() -> None:
    """The answer about the old log comes when the new one is there already."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        wire = it.subscribed()
        it.kafka.retain(FIRST, 50)
        it.kafka.on_offsets = lambda: it.tail.learn(0, epoch_of("cluster", "t", "2"), 1)
        it.kafka.wake()
        await until(lambda: len(it.kafka.whens) == len([LATEST, EARLIEST, 0]) + 2)
        it.kafka.make_again("t", "2", 1)
        it.kafka.produce(FIRST, b"v")
        await it.reached(FIRST, 1)
        assert ['"reason":"epoch"' in data(wire)[0], "v"] == [True, *data(wire)[1:]]


class SlowToTell(FakeKafka):
    """A cluster whose identity takes its time."""

    async def identity(self) -> Identity:
        await asyncio.sleep(3)
        return await super().identity()


@pytest.mark.parametrize("new", [[b"d"], [b"d", b"e", b"f", b"g"]], ids=["shorter", "longer"])
async def test_a_log_that_is_not_what_it_was_waits_for_a_fresh_identity(new: list[bytes]) -> None:
    """A topic made again ends before the next offset, or goes on there with other records: nothing of it is told, nor
    a truncation, before it is known to be another topic."""
    async with reading(SlowToTell(t=1)) as it:
        it.kafka.produce(FIRST, b"a", b"b", b"c")
        await it.warm()
        wire = it.subscribed()
        it.kafka.make_again("t", "2", 1)
        it.kafka.produce(FIRST, *new)
        await until(lambda: new[-1].decode() in data(wire))
        assert [True, *map(bytes.decode, new)] == ['"reason":"epoch"' in data(wire)[0], *data(wire)[1:]]


class OnItsWay(FakeKafka):
    """A cluster whose answers are on their way for a while."""

    def __init__(self, **topics: int) -> None:
        super().__init__(**topics)
        self.way = asyncio.Event()

    async def fetch(
        self, node: int, offsets: Mapping[Place, int], ids: Mapping[str, str], **bounds: int
    ) -> list[Stretch]:
        answer = await super().fetch(node, offsets, ids, **bounds)
        await self.way.wait()
        return answer


async def test_what_was_on_its_way_when_the_topic_was_made_again_is_dropped() -> None:
    """Both logs begin at 0: only the epoch tells that it is none of the new one's."""
    kafka = OnItsWay(t=1)
    async with reading(kafka) as it:
        await it.warm()
        wire = it.subscribed()
        kafka.produce(FIRST, b"old")
        await until(lambda: kafka.fetches)
        await asyncio.sleep(0.01)
        kafka.make_again("t", "2", 1)
        await until(lambda: epoch_of("cluster", "t", "2") in it.tail.position.epochs)
        kafka.way.set()
        kafka.produce(FIRST, b"new")
        await until(lambda: "new" in data(wire))
        assert [True, "new"] == ['"reason":"epoch"' in data(wire)[0], *data(wire)[1:]]


async def test_a_topic_deleted_during_the_warm_up_holds_up_nobody() -> None:
    """The service is ready for the others, and says what is missing."""
    kafka = FakeKafka(t=1, u=1)
    kafka.produce(FIRST, b"v")
    kafka.logs[FIRST].troubles += [NotLeader(*FIRST)] * 1000
    async with reading(kafka) as it:
        await until(lambda: it.consumer.waiting == ["topic t, partition 0 has 1 offsets left to read"])
        kafka.topic_troubles["t"] = UnknownTopic("t")
        await it.warm()
        assert ["topic t does not exist"] == it.consumer.degraded


async def test_a_log_cut_off_during_the_warm_up_is_warm_at_its_new_end() -> None:
    """The end that was told at first will perhaps never come."""
    kafka = FakeKafka(t=1)
    kafka.produce(FIRST, *[b"v"] * 9)
    kafka.logs[FIRST].troubles.append(NotLeader(*FIRST))
    async with reading(kafka) as it:
        await until(lambda: it.consumer.waiting == ["topic t, partition 0 has 9 offsets left to read"])
        kafka.truncate(FIRST, 5)
        await it.warm()
        assert 5 == it.next_offset(FIRST)


async def test_continuity_is_known_before_it_is_warm() -> None:
    """No client is told that all is complete before the topics were asked about."""

    class SlowToSay(FakeKafka):
        async def cleanup_policy(self, topic: str) -> str | KafkaTrouble:
            await asyncio.sleep(3)
            return await super().cleanup_policy(topic)

    kafka = SlowToSay(t=1)
    kafka.policies["t"] = "compact,delete"
    async with reading(kafka) as it:
        begin = it.loop.time()
        assert "complete" == it.consumer.continuity
        await it.warm()
        assert ("compacted", True) == (it.consumer.continuity, it.loop.time() - begin < 3 + IDENTITY_SECONDS)


async def test_a_cluster_that_does_not_answer_is_said_before_and_after_the_start() -> None:
    """Before it streams wait for it; afterwards it only degrades."""
    kafka = FakeKafka(t=1)
    kafka.cluster_trouble = AWAY
    async with reading(kafka) as it:
        await until(lambda: kafka.identities)
        await until(lambda: it.consumer.degraded)
        assert [str(AWAY)] == it.consumer.waiting
        assert [str(AWAY), "topic t is not known yet"] == it.consumer.degraded
        kafka.cluster_trouble = None
        await it.warm()
        kafka.cluster_trouble = AWAY
        await until(lambda: it.consumer.degraded)
        assert ([], [str(AWAY)]) == (it.consumer.waiting, it.consumer.degraded)


async def test_a_refreshed_identity_is_shared_by_all_who_wait() -> None:
    """However many ask, the cluster is asked once, and not before they asked."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        asked = it.kafka.identities
        assert [True] * 5 == await asyncio.gather(*(it.consumer.refreshed() for _ in range(5)))
        assert asked + 1 == it.kafka.identities


async def test_a_refresh_is_false_when_the_cluster_is_away() -> None:
    """Then nothing more is known, and the client is told to come back."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        it.kafka.cluster_trouble = AWAY
        assert not await it.consumer.refreshed()


async def test_one_who_gives_up_waiting_disturbs_no_other() -> None:
    """A client that leaves cancels its own wait only."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        one, other = (asyncio.create_task(it.consumer.refreshed()) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await other


async def test_an_error_of_our_own_ends_it_and_closes_kafka() -> None:
    """A task that dies is no reason to serve on without it."""
    async with reading(FakeKafka(t=1)) as it:
        await it.warm()
        it.kafka.logs[FIRST].records.append(None)  # type: ignore[arg-type]  # such as no Kafka gives
        it.kafka.logs[FIRST].end += 1
        it.kafka.wake()
        await asyncio.wait([it.task])
        assert isinstance(it.task.exception(), ExceptionGroup)
