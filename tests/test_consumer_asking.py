"""Questions about offsets: each leader is asked once, for all who wait, and silence is no answer."""

from __future__ import annotations

import asyncio

import pytest

from fake_kafka import FakeKafka
from leaping import leaping
from tailrace.consumer import Asking
from tailrace.consumer.asking import ANSWER_SECONDS
from tailrace.consumer.topology import Topology
from tailrace.errors import KafkaTrouble
from tailrace.kafka import (
    EARLIEST,
    HIGH_WATERMARK,
    LATEST,
    BrokerError,
    BrokerUnavailable,
    Identity,
    NotLeader,
    Stretch,
    TopicIdentity,
)
from tailrace.tail import Tail


async def asking(kafka: FakeKafka) -> Asking:
    """Make one that knows who leads."""
    tail = Tail(sorted(kafka.ids), 1 << 20)
    topology = Topology(tail)
    topology.take_up(await kafka.identity())
    tail.begin(0, 0, 4)
    return Asking(kafka, tail, topology)


def cluster(*ends: int, **topics: int) -> FakeKafka:
    """Make topic ``t``, a partition for each of ``ends``, led in turn by both nodes."""
    kafka = FakeKafka(t=len(ends), **topics)
    for partition, end in enumerate(ends):
        kafka.logs["t", partition].end = end
        kafka.logs["t", partition].leader = 1 + partition % 2
    return kafka


async def test_ends_are_high_watermarks_by_topic_and_partition() -> None:
    """Each leader is asked once."""
    kafka = cluster(5, 6, 7, u=1)
    assert await (await asking(kafka)).ends() == [[5, 6, 7], [0]]
    assert kafka.whens == [HIGH_WATERMARK] * 2


async def test_one_answer_serves_all_who_came_before_it_was_asked() -> None:
    """A crowd that reconnects asks each leader twice: whoever came during the first question has the next."""
    kafka = cluster(5)
    one = await asking(kafka)
    answers = await asyncio.gather(*(one.ends() for _ in range(100)))
    assert (answers, len(kafka.whens)) == ([[[5]]] * 100, 2)


async def test_an_answer_is_never_older_than_the_question() -> None:
    """Whoever comes later asks again: the log may have grown since."""
    kafka = cluster(5)
    one = await asking(kafka)
    before = await one.ends()
    kafka.logs["t", 0].end = 6
    assert (before, await one.ends()) == ([[5]], [[6]])


async def test_what_a_silent_leader_leads_is_not_told() -> None:
    """Nor what comes behind it in its topic, which would be taken for it."""
    kafka = cluster(5, 6, 7)
    kafka.down.add(2)
    assert await (await asking(kafka)).ends() == [[5]]


async def test_leader_that_hangs_is_waited_for_no_longer_than_a_second() -> None:
    """Nothing is known then; the next question is a new one."""
    kafka = cluster(5)
    one = await asking(kafka)
    kafka.pause_offsets = lambda: asyncio.sleep(2 * ANSWER_SECONDS)
    with leaping():
        hung = await one.ends()
        kafka.pause_offsets = lambda: asyncio.sleep(0)
        assert (hung, await one.ends()) == ([[]], [[5]])


async def test_since_is_the_first_offset_that_is_not_older() -> None:
    """Where there is none yet, it is where this replica is."""
    kafka = cluster(9, 9)
    kafka.logs["t", 1].by_time = 3
    assert await (await asking(kafka)).since(1700) == [[4, 3]]
    assert kafka.whens == [1700, 1700, LATEST, 1700]


async def test_what_comes_while_kafka_is_asked_for_a_time_is_not_older() -> None:
    """Though this replica has read it before the last leader has answered that there was none."""
    kafka = cluster(9)
    one = await asking(kafka)

    async def meanwhile() -> None:
        one._tail.advance(0, 0, 6)
        await asyncio.sleep(0)

    kafka.pause_offsets = meanwhile
    assert await one.since(1700) == [[4]]


async def test_a_leader_that_sees_less_than_was_read_does_not_know_of_a_time() -> None:
    """That it has none so young says nothing of what it does not see yet; one that it has is one."""
    kafka = cluster(3)
    one = await asking(kafka)
    with pytest.raises(NotLeader):
        await one.since(1700)
    kafka.logs["t", 0].by_time = 2
    assert await one.since(1700) == [[2]]


async def test_a_leader_that_sees_less_for_a_moment() -> None:
    """It has just come back, and sees all again when it is asked for its end: so it is asked for the time once more."""
    kafka = cluster(9)
    log = kafka.logs["t", 0]

    async def now_and_then() -> None:
        log.by_time = 2 if kafka.whens else None
        await asyncio.sleep(0)

    kafka.pause_offsets = now_and_then
    assert await (await asking(kafka)).since(1700) == [[2]]


def read_up_to(newest_ms: int) -> Stretch:
    """What this replica has read of the first partition."""
    return Stretch("t", 0, (), 4, 0, 9, 9, None, newest_ms)


@pytest.mark.parametrize("when_ms, found", [(1700, 2), (1701, 4)])
async def test_a_time_of_which_more_was_read_than_kafka_knows(when_ms: int, found: int) -> None:
    """Kafka has deleted what it looks at, and does not look behind it: whoever asks begins where the log does."""
    kafka = cluster(9)
    kafka.logs["t", 0].start = 2
    one = await asking(kafka)
    for newest_ms in (1700, 1699, -1):
        one.note(read_up_to(newest_ms))
    assert await one.since(when_ms) == [[found]]


async def test_what_was_read_of_a_topic_that_was_made_again_says_nothing() -> None:
    """Of the new one Kafka knows best."""
    kafka = cluster(9)
    one = await asking(kafka)
    one.note(read_up_to(1700))
    one._tail.learn(0, "0badcafe", 1)
    assert await one.since(1700) == [[0]]
    assert EARLIEST not in kafka.whens


async def test_partition_that_loses_its_leader_meanwhile_has_not_answered() -> None:
    """What was said of it earlier was to be asked again."""
    kafka = cluster(9)
    one = await asking(kafka)

    def lost() -> None:
        if kafka.whens[-1] == LATEST:
            one._topology.take_up(Identity("cluster", (1,), {"t": TopicIdentity("t", kafka.ids["t"], (None,), None)}))

    kafka.on_offsets = lost
    with pytest.raises(NotLeader):
        await one.since(1700)


async def test_since_needs_every_leader() -> None:
    """A partition that is left out would be read from its beginning, or not at all."""
    kafka = cluster(9, 9)
    kafka.down.add(2)
    with pytest.raises(BrokerUnavailable):
        await (await asking(kafka)).since(1700)


async def test_since_needs_every_partition() -> None:
    """One without a leader cannot be asked."""
    kafka = cluster(9, 9)
    kafka.logs["t", 1].leader = None
    with pytest.raises(NotLeader):
        await (await asking(kafka)).since(1700)


async def test_trouble_of_one_partition_is_told() -> None:
    """The answer of the others is no answer."""
    kafka = cluster(9, 9)
    kafka.logs["t", 1].time_trouble = NotLeader("t", 1)
    with pytest.raises(KafkaTrouble):
        await (await asking(kafka)).since(1700)


@pytest.mark.parametrize("unread_ms, asked", [(500, [1]), (30_000, [1, 60]), (10**9, [1, 60, 3600, None])])
async def test_time_in_a_batch_that_cannot_be_read(unread_ms: int, asked: list[int | None]) -> None:
    """The broker cannot tell where in it the time lies: whoever asks begins before it, and hears of it there."""
    now = 10**10
    kafka = cluster(9, 9)
    log = kafka.logs["t", 1]
    log.time_trouble, log.time_trouble_from = BrokerError(-1, "UnknownServerError", "there"), now - unread_ms
    kafka.logs["t", 0].by_time, log.by_time, log.start = 4, 3, 2
    assert await (await asking(kafka)).since(now) == [[4, 2 if asked[-1] is None else 3]]
    assert kafka.whens[2:] == [EARLIEST if seconds is None else now - 1000 * seconds for seconds in asked]


async def test_known_are_the_places_that_were_asked_for() -> None:
    """Of which there is an answer."""
    kafka = cluster(5, 6, 7)
    kafka.down.add(1)
    one = await asking(kafka)
    assert await one.known(HIGH_WATERMARK, [("t", 0), ("t", 1)]) == {("t", 1): 6}
