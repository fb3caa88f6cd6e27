"""What a replay reads is what was live: compressed, in transactions, compacted, large, odd, and within its bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from kafka_cluster import KafkaCluster, produce
from real.clients import Client
from real.past import (
    MEMORY,
    OTHERS,
    Past,
    heard,
    id_before,
    push_out,
    reasons,
    replayed,
    service_of,
    those_back,
    until_live,
)
from real.producing import ask, fresh
from real.test_gaps import COMPACTED, Transactions, compacted, continuity
from real.transports import sse, websocket

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.kafka

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
MEANWHILE = 60
EARLIEST = {"from": "earliest"}


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("replayed")
    kafka.create_topic(name, 2)
    return name


def words(client: Client) -> list[str]:
    return [event.data for event in client.events]


async def until_ended(client: Client) -> None:
    """Wait until the client was told that its session has ended."""
    await client.until(lambda: client.items[-1].name == "tailrace.end")


async def test_every_compression(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A replay reads every codec, and begins in the middle of a compressed batch where the id does."""
    with service_of(kafka, topic) as service:
        for codec in CODECS:
            producer = kafka.producer(compression_type=codec, linger_ms=50)
            produce(producer, topic, 0, [b"%s %d" % (codec.encode(), number) for number in range(20)], key=session)
        await push_out(kafka.producer(), service, topic, 1)
        async with Client([service], [sse], ask(service, session, **EARLIEST)) as client:
            await until_live(client)
        async with those_back(service, session, client.events[50].id) as late:
            for each in late:
                await until_live(each)
    assert [f"{codec} {number}" for codec in CODECS for number in range(20)] == words(client)
    assert [words(client)[51:]] * 4 == [words(each) for each in late]


async def test_transactions(kafka: KafkaCluster, topic: str, session: str) -> None:
    """What was committed comes, what was taken back does not; markers at the floor keep nobody from going live."""
    with service_of(kafka, topic) as service:
        transactions = Transactions(kafka, topic, session)
        for number in range(12):
            transactions.begin(f"one of {number}", f"two of {number}")
            (transactions.abort if number % 3 else transactions.commit)()
        await push_out(kafka.producer(), service, topic, 1)
        async with Client([service], [sse], ask(service, session, **EARLIEST)) as client:
            await until_live(client)
        async with those_back(service, session, client.events[0].id) as late:
            for each in late:
                await until_live(each)
    assert [f"{word} of {number}" for number in range(0, 12, 3) for word in ("one", "two")] == words(client)
    assert [words(client)[1:]] * 4 == [words(each) for each in late]


async def test_records_as_large_as_they_may_be(kafka: KafkaCluster, session: str) -> None:
    """Records larger than any one answer of a replay come one by one, and so do small ones between them."""
    topic, large = fresh("large"), 3 * MEMORY
    kafka.create_topic(topic, 1, max_message_bytes=str(4 * MEMORY))
    producer = kafka.producer(message_max_bytes=4 * MEMORY)
    values = [b"small", b"x" * large, b"small", b"y" * large, b"z" * (large + 1)]
    with service_of(kafka, topic, tail_max_bytes=3 * MEMORY, max_event_bytes=large) as service:
        produce(producer, topic, 0, values, key=session)
        for _ in range(2):
            await push_out(kafka.producer(), service, topic)
        async with Client([service], [websocket], ask(service, session, **EARLIEST)) as client:
            await until_live(client)
        async with those_back(service, session, client.events[0].id) as late:
            for each in late:
                await until_live(each)
    sizes = [5, large, 5, large]
    assert (sizes, [sizes[1:]] * 4) == (
        [len(word) for word in words(client)],
        [[len(word) for word in words(each)] for each in late],
    )
    assert [["too_large"]] * 5 == [[told["reason"] for told in each.controls("skipped")] for each in (client, *late)]


async def test_what_cannot_be_delivered(kafka: KafkaCluster, topic: str, session: str) -> None:
    """What is no text, and what is of no session, is in a replay what it was live; an end is one only for who has all
    there is."""
    with service_of(kafka, topic) as service:
        produce(kafka.producer(), topic, 0, [b"one", b"\xff", None, b"two"], key=session)
        produce(kafka.producer(), topic, 0, [b"nobody's"])
        produce(kafka.producer(), topic, 0, [b"three", None], key=session)
        await push_out(kafka.producer(), service, topic, 1)
        async with Client([service], [sse], ask(service, session, **EARLIEST)) as client:
            await until_ended(client)
        async with those_back(service, session, client.events[0].id) as late:
            for each in late:
                await until_ended(each)
    names = ["ready", "skipped", "message", "message", "live", "end"]
    assert (["one", "two", "three"], [["two", "three"]] * 4) == (words(client), [words(each) for each in late])
    assert [names] * 4 == [[item.name.removeprefix("tailrace.") for item in each.items] for each in late]


async def test_a_compacted_topic(kafka: KafkaCluster, session: str) -> None:
    """Clients are told that it is not all there was, and given what is left below the floor, once."""
    topic, other = fresh("compacted"), fresh("other")
    kafka.create_topic(topic, **COMPACTED)
    kafka.create_topic(other)
    left = await asyncio.to_thread(compacted, kafka, topic, session)
    with service_of(kafka, topic, other, session_from="header:to") as service:
        await push_out(kafka.producer(), service, other)
        async with Client([service], [sse], ask(service, session, **EARLIEST)) as client:
            await until_live(client)
        async with those_back(service, session, client.events[0].id) as late:
            for each in late:
                await until_live(each)
        assert service.metric("tailrace_replay_records_total") >= len(left)
    assert ([*map(str, left)], [[*map(str, left)][1:]] * 4) == (words(client), [words(each) for each in late])
    assert [({"compacted"}, [])] * 5 == [(continuity(each), reasons(each)) for each in (client, *late)]


# Bounds ------------------------------------------------------------------------------------------------------------

BOUNDS: Mapping[str, dict[str, Any]] = {
    "passes": {"replay_max_passes": 1},
    "bytes": {"replay_max_bytes": 1},
    "records": {"replay_max_records": 2 * MEANWHILE + OTHERS},
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS.keys())
async def test_within_narrow_bounds(kafka: KafkaCluster, topic: str, session: str, bound: dict[str, Any]) -> None:
    """With next to nothing to read by, everything still comes once and in order; it only takes longer."""
    past = Past(kafka, session, {topic: 2})
    with service_of(kafka, topic, **bound) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE, size=5000)
        await push_out(kafka.producer(), service, topic)
        async with those_back(service, session, left_with) as clients:
            for client in clients:
                await until_live(client)
    assert [past.since(5)] * 4 == [heard(client.events) for client in clients]
    assert [([], [2 * MEANWHILE])] * 4 == [(reasons(client), replayed(client)) for client in clients]


async def test_more_readers_than_may_wait(kafka: KafkaCluster, topic: str, session: str) -> None:
    """One more than may wait for a replay is told to come back, on every transport, and later has everything."""
    past = Past(kafka, session, {topic: 2})
    with service_of(kafka, topic, replay_max_readers=2) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(kafka.producer(), service, topic)
        kafka.freeze()
        try:
            async with (
                those_back(service, session, left_with, [sse, websocket]) as first,
                those_back(service, session, left_with) as later,
            ):
                told = [each.controls("disconnect")[0] for each in later]
                kafka.thaw()
                for client in (*first, *later):
                    await until_live(client)
        finally:
            kafka.thaw()
    assert [(1013, True)] * 4 == [(each["code"], each["reconnect"]) for each in told]
    assert [past.since(5)] * 6 == [heard(client.events) for client in (*first, *later)]
