"""Each reason for which a replay is not complete: told once, in its place, and all around it comes once."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from changes import settled
from kafka_cluster import KafkaCluster
from kafka_logs import batches
from real.clients import Client
from real.past import (
    BEFORE,
    Past,
    before_reset,
    heard,
    id_before,
    push_out,
    reasons,
    replayed,
    resumed,
    service_of,
    those_back,
    until_live,
)
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import sse, websocket
from tailrace.dev import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kafka

PARTITIONS = 2
MEANWHILE = 60
LARGE = 20_000
"""Bytes of a record, so that a pass over some hundred of them takes several fetches."""
DAY_MS = 86_400_000


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("resets")
    kafka.create_topic(name, PARTITIONS)
    return name


@pytest.fixture
def past(kafka: KafkaCluster, topic: str, session: str) -> Past:
    return Past(kafka, session, {topic: PARTITIONS})


@pytest.fixture
def service(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    with service_of(kafka, topic) as process:
        yield process


async def until_all_live(clients: list[Client]) -> None:
    for client in clients:
        await until_live(client)


async def good_for_the_rest(service: ServiceProcess, session: str, client: Client) -> None:
    """See that the id of its reset, and that of `ready` before it, are those of a client that was cut off there."""
    [reset] = client.controls("reset")
    behind = client.events[len(before_reset(client)) :]
    async with Client([service], [sse], ask(service, session, reset["id"])) as again:
        await until_live(again)
    assert (heard(behind), []) == (heard(again.events), reasons(again))


# retention ---------------------------------------------------------------------------------------------------------


async def test_records_deleted(
    kafka: KafkaCluster, service: ServiceProcess, past: Past, topic: str, session: str
) -> None:
    """A client that the log's start has overtaken is told so before anything else, and given what is left; `ready`
    has said that it does not resume, with the id of before, so that whoever is cut off there is told again."""
    left_with = await id_before(service, past, session)
    await asyncio.to_thread(past.say, MEANWHILE)
    await push_out(kafka.producer(), service, topic)
    kafka.delete_records(topic, 0, before=30)
    await asyncio.to_thread(past.say)  # what comes tells the service where the log starts
    async with Client([service], [sse], ask(service, session)) as witness:
        await asyncio.to_thread(past.say)
        await witness.until_events(PARTITIONS)
    async with those_back(service, session, left_with) as clients:
        await until_all_live(clients)
    await good_for_the_rest(service, session, clients[0])
    left = {**past.since(BEFORE), (topic, 0): list(range(30, BEFORE + MEANWHILE + 2))}
    assert [left] * 4 == [heard(client.events) for client in clients]
    here = left_with.replace("-", "")  # the same position, that of no event
    assert [([False], ["retention"], here)] * 4 == [
        (resumed(client), reasons(client), client.controls("ready")[0]["id"]) for client in clients
    ]
    assert {left_with} == {client.controls("reset")[0]["requested"] for client in clients}
    assert ["tailrace.ready", "tailrace.reset"] * 4 == [item.name for client in clients for item in client.items[:2]]


async def test_records_deleted_under_a_pass(
    kafka: KafkaCluster, service: ServiceProcess, past: Past, topic: str, session: str
) -> None:
    """Where the log's start overtakes a replay that is under way, the reset stands where the hole is."""
    await asyncio.to_thread(past.say, 5 * MEANWHILE, size=LARGE)
    await push_out(kafka.producer(), service, topic)
    async with Client([service], [websocket], ask(service, session, **{"from": "earliest"})) as client:
        await client.until_events(1)
        service.signal(signal.SIGSTOP)
        start = 5 * MEANWHILE - 10
        kafka.delete_records(topic, 0, before=start)
        kafka.delete_records(topic, 1, before=start)
        service.signal(signal.SIGCONT)
        await until_live(client)
    for place, numbers in heard(client.events).items():
        seen = len(numbers) - 10
        assert (seen < start, [*range(seen), *range(start, start + 10)]) == (True, numbers), place
    assert ["retention"] * PARTITIONS == reasons(client)


async def test_segments_that_expire(kafka: KafkaCluster, session: str) -> None:
    """Retention by time takes whole segments, from under a client that is away and from under the service."""
    topic = fresh("expiring")
    kafka.create_topic(topic, 1, segment_bytes="1048576")
    past = Past(kafka, session, {topic: 1})
    with service_of(kafka, topic) as service:
        async with Client([service], [sse], ask(service, session)) as stayer:
            old_ms = int(time.time() * 1000) - 2 * DAY_MS
            left_with = await id_before(service, past, session, timestamp=old_ms)
            service.signal(signal.SIGSTOP)
            await asyncio.to_thread(past.say, 40, size=100_000, timestamp=old_ms)
            await asyncio.to_thread(past.say, 20, size=100_000)
            kafka.configure(topic, retention_ms=str(DAY_MS))
            await settled(lambda: kafka.bounds(topic, 0)[0] > BEFORE)
            service.signal(signal.SIGCONT)
            await stayer.until(lambda: heard(stayer.events)[topic, 0][-1] == past.total - 1)
        async with those_back(service, session, left_with) as clients:
            await until_all_live(clients)
    left = list(range(kafka.bounds(topic, 0)[0], past.total))
    assert [({(topic, 0): left}, ["retention"])] * 4 == [(heard(client.events), reasons(client)) for client in clients]
    seen = heard(stayer.events)[topic, 0]
    caught = len(seen) - len(left)  # what the service had asked for before it stood still
    assert (caught < left[0], [*range(caught), *left]) == (True, seen)
    assert (["retention"], [200]) == (reasons(stayer), stayer.answers)


# epoch -------------------------------------------------------------------------------------------------------------


async def test_made_again_and_outgrown(
    kafka: KafkaCluster, service: ServiceProcess, past: Past, topic: str, session: str
) -> None:
    """An id of a topic that was deleted is not taken for one of its namesake, though that has long been longer: the
    answer is what memory holds, and its id is good from there."""
    left_with = await id_before(service, past, session)
    kafka.delete_topic(topic)
    kafka.create_topic(topic, PARTITIONS)
    again = Past(kafka, session, {topic: PARTITIONS})
    async with Client([service], [sse], ask(service, session, left_with)) as client:
        await asyncio.to_thread(again.say, MEANWHILE)
        await client.until_events(again.total)
    await push_out(kafka.producer(), service, topic)
    await asyncio.to_thread(again.say, 3)
    async with those_back(service, session, left_with) as clients:
        for each in clients:
            await each.until_events(3 * PARTITIONS)
    assert [(again.since(MEANWHILE), ["epoch"])] * 4 == [(heard(each.events), reasons(each)) for each in clients]
    assert [[False]] * 4 == [resumed(each) for each in clients]
    assert {place: list(range(MEANWHILE)) for place in again.said} == heard(client.events)


async def test_an_id_of_another_cluster(
    kafka: KafkaCluster, service: ServiceProcess, past: Past, topic: str, session: str
) -> None:
    """A topic of the same name in another cluster is another topic, however alike the offsets are."""
    with EmbeddedBroker(1) as elsewhere:
        elsewhere.create_topic(topic, PARTITIONS)
        with ServiceProcess(elsewhere.bootstrap, topic) as other:
            async with Client([other], [sse], ask(other, session)) as client:
                pass
    await asyncio.to_thread(past.say, MEANWHILE)
    await push_out(kafka.producer(), service, topic)
    await asyncio.to_thread(past.say)
    async with those_back(service, session, client.last_id) as clients:
        await until_all_live(clients)
    assert [(past.since(MEANWHILE), ["epoch"], [False])] * 4 == [
        (heard(each.events), reasons(each), resumed(each)) for each in clients
    ]


async def test_a_topic_added_to_the_settings(kafka: KafkaCluster, past: Past, topic: str, session: str) -> None:
    """An id knows nothing of it, which is a reset; of the topics that it does know everything comes, from where it
    stood."""
    other = fresh("resets-other")
    kafka.create_topic(other, 1)
    with service_of(kafka, topic) as before:
        left_with = await id_before(before, past, session)
    past.grow(other, 1)
    with service_of(kafka, topic, other) as service:
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(kafka.producer(), service, other)
        await asyncio.to_thread(past.say)
        async with those_back(service, session, left_with) as clients:
            await until_all_live(clients)
    known = {**past.since(BEFORE), (other, 0): [MEANWHILE]}
    assert [(known, ["epoch"], [False])] * 4 == [(heard(each.events), reasons(each), resumed(each)) for each in clients]


# truncated, bounded, unreadable ------------------------------------------------------------------------------------


async def test_beyond_the_log(
    kafka: KafkaCluster, service: ServiceProcess, past: Past, topic: str, session: str
) -> None:
    """An id beyond the high watermark is told so, and goes on at the end; the other partition is replayed meanwhile."""
    left_with = await id_before(service, past, session)
    beyond = re.sub(rf"\.-?{BEFORE}(?=[.~]|$)", f".{BEFORE + 10_000}", left_with, count=1)
    await asyncio.to_thread(past.say, MEANWHILE)
    await push_out(kafka.producer(), service, topic, 1)
    async with those_back(service, session, beyond) as clients:
        await until_all_live(clients)
        await asyncio.to_thread(past.say)
        for each in clients:
            await each.until_events(1 + MEANWHILE + 1)
    expected = {**past.since(BEFORE), (topic, 0): [BEFORE + MEANWHILE]}
    assert [(expected, ["truncated"], [False])] * 4 == [
        (heard(each.events), reasons(each), resumed(each)) for each in clients
    ]


async def test_farther_back_than_allowed(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Who lacks more records than one resume may scan is told, and given as many as it may."""
    kafka.create_partitions(topic, PARTITIONS + 1)
    past = Past(kafka, session, {topic: PARTITIONS})
    with service_of(kafka, topic, replay_max_records=20) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(kafka.producer(), service, topic, PARTITIONS)
        async with those_back(service, session, left_with) as clients:
            await until_all_live(clients)
        async with Client([service], [sse], ask(service, session, **{"from": "earliest"})) as earliest:
            await until_live(earliest)
        await good_for_the_rest(service, session, clients[1])
    assert [(past.since(BEFORE + MEANWHILE - 20), ["bounded"], [False])] * 4 == [
        (heard(each.events), reasons(each), resumed(each)) for each in clients
    ]
    assert (past.since(BEFORE + MEANWHILE - 20), ["bounded"]) == (heard(earliest.events), reasons(earliest))


async def test_a_batch_that_cannot_be_read(ours: KafkaCluster, topic: str, session: str) -> None:
    """In the middle of a replay it alone is passed over, for all who wait, with one reset where it stood."""
    past = Past(ours, session, {topic: PARTITIONS}, batch_num_messages=1)
    with service_of(ours, topic) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(ours.producer(), service, topic)
        list(batches(ours.segment(topic, 0)))[30].damage()
        async with those_back(service, session, left_with) as clients:
            await until_all_live(clients)
        await good_for_the_rest(service, session, clients[2])
    whole = past.since(BEFORE)
    assert [{**whole, (topic, 0): [number for number in whole[topic, 0] if number != 30]}] * 4 == [
        heard(client.events) for client in clients
    ]
    assert [(["unreadable"], 29)] * 4 == [
        (reasons(client), heard(before_reset(client))[topic, 0][-1]) for client in clients
    ]
    assert [[2 * MEANWHILE - 1]] * 4 == [replayed(client) for client in clients]


async def test_a_time_in_a_batch_that_cannot_be_read(ours: KafkaCluster, topic: str, session: str) -> None:
    """The broker, which would have to look into it, does not tell where that time lies: whoever begins there is given
    what comes before it, too, and hears of it where it stood."""
    past = Past(ours, session, {topic: 1}, batch_num_messages=1, compression_type="gzip")
    first_ms = int(time.time() * 1000) - 3_600_000
    for minute in range(10):
        await asyncio.to_thread(past.say, size=1000, timestamp=first_ms + 60_000 * minute)
    with service_of(ours, topic) as service:
        await push_out(ours.producer(), service, topic)
        list(batches(ours.segment(topic, 0)))[5].damage()
        since = str(first_ms + 60_000 * 5)
        async with Client([service], [sse], ask(service, session, since=since)) as client:
            await until_live(client)
    assert ([4, 6, 7, 8, 9], ["unreadable"]) == (heard(client.events)[topic, 0], reasons(client))
