"""Back after longer than memory reaches: Kafka is the history, and everything comes once and in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from real.clients import Client
from real.past import (
    BEFORE,
    MEMORY,
    Past,
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
from real.transports import TRANSPORTS, sse, websocket

if TYPE_CHECKING:
    from kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

PARTITIONS = 2
MEANWHILE = 60
"""Numbers said in each partition while a client is away."""


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("replay")
    kafka.create_topic(name, PARTITIONS)
    return name


async def test_away_longer_than_memory(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Who comes back over any transport, is cut off in the middle and comes back again, has everything later once and
    in order, across partitions and topics, though producers go on."""
    other = fresh("replay-other")
    kafka.create_topic(other, PARTITIONS)
    past = Past(kafka, session, {topic: PARTITIONS, other: PARTITIONS})
    with service_of(kafka, topic, other) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(kafka.producer(), service, topic)
        async with those_back(service, session, left_with) as clients:
            async with past.going_on():
                for part in range(1, 6):
                    for client in clients:
                        await client.until_events(part * MEANWHILE // 2)
                        await client.cut()
            for client in clients:
                await client.until_events(past.total - 4 * BEFORE)
        assert service.metric("tailrace_replay_records_total") >= 4 * MEANWHILE
    assert [past.since(BEFORE)] * 4 == [heard(client.events) for client in clients]
    assert [([], {True})] * 4 == [(reasons(client), set(resumed(client))) for client in clients]


async def test_every_id_of_a_replay(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Each id on the way, be it of a replayed event or of one from memory, resumes right behind its event; `ready` and
    `live` say what follows."""
    past = Past(kafka, session, {topic: PARTITIONS})
    with service_of(kafka, topic) as service:
        past.say(10)
        await push_out(kafka.producer(), service, topic)
        past.say(2)
        async with Client([service], [sse], ask(service, session, **{"from": "earliest"})) as first:
            await until_live(first)
        ids = [event.id for event in first.events]
        for number, (id_, transport) in enumerate(zip(ids, [*TRANSPORTS.values()] * 6, strict=True), 1):
            async with Client([service], [transport], ask(service, session, id_)) as client:
                await until_live(client)
            rest = first.events[number:]
            assert heard(rest) == heard(client.events)
            assert ([True], [len(rest)], []) == (resumed(client), replayed(client), reasons(client))
    assert (past.since(0), [False], [24]) == (heard(first.events), resumed(first), replayed(first))


async def test_replicas_behind_one_address(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A client that changes replica and transport with every connection has everything once, be the one ahead of the
    other, and be it in memory or not."""
    past = Past(kafka, session, {topic: PARTITIONS})
    transports = list(TRANSPORTS.values())
    with service_of(kafka, topic) as one:
        past.say(MEANWHILE)
        await push_out(kafka.producer(), one, topic)
        past.say(MEANWHILE)
        with service_of(kafka, topic, tail_max_bytes=64 * MEMORY) as two:
            hoppers = [
                Client([one, two], transports[first:] + transports[:first], ask(one, session, **{"from": "earliest"}))
                for first in range(4)
            ]
            async with AsyncExitStack() as stack:
                for hopper in hoppers:
                    await stack.enter_async_context(hopper)
                async with past.going_on():
                    for part in range(1, 9):
                        for hopper in hoppers:
                            await hopper.until_events(part * MEANWHILE // 3)
                            await hopper.cut()
                for hopper in hoppers:
                    await hopper.until_events(past.total)
    assert [(past.since(0), [])] * 4 == [(heard(hopper.events), reasons(hopper)) for hopper in hoppers]


async def test_who_is_live_meanwhile(kafka: KafkaCluster, topic: str, session: str) -> None:
    """While many read again what is long past, a client of the same session that is live goes on being so."""
    past = Past(kafka, session, {topic: PARTITIONS})
    with service_of(kafka, topic) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE, size=20_000)
        await push_out(kafka.producer(), service, topic)
        async with (
            Client([service], [sse], ask(service, session)) as live,
            past.going_on(),
            those_back(service, session, left_with, [sse, websocket] * 4) as clients,
        ):
            for client in clients:
                await until_live(client)
        async with those_back(service, session, live.last_id) as late:
            for client in late:
                await until_live(client)
    assert ([200], [], []) == (live.answers, reasons(live), live.controls("live"))
    rest = [[*live.events, *client.events] for client in late]
    assert [past.since(BEFORE + MEANWHILE)] * 4 == [heard(events) for events in rest]


async def test_partitions_added_meanwhile(kafka: KafkaCluster, topic: str, session: str) -> None:
    """What was said in partitions that the id does not know comes from their beginning, without a reset."""
    past = Past(kafka, session, {topic: PARTITIONS})
    with service_of(kafka, topic) as service:
        left_with = await id_before(service, past, session)
        kafka.create_partitions(topic, 6)
        past.grow(topic, 6)
        await asyncio.to_thread(past.say, MEANWHILE)
        await push_out(kafka.producer(), service, topic, 3)
        async with those_back(service, session, left_with) as clients:
            for client in clients:
                await until_live(client)
    new = {(topic, number): list(range(MEANWHILE)) for number in range(PARTITIONS, 6)}
    assert [{**past.since(BEFORE), **new}] * 4 == [heard(client.events) for client in clients]
    assert [([], [True])] * 4 == [(reasons(client), resumed(client)) for client in clients]


async def test_a_restart_is_answered_from_memory(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Whoever was there comes back with a position of their own, over any transport; the one scan that fills the memory
    is enough for all of them."""
    past = Past(kafka, session, {topic: PARTITIONS})
    past.say(MEANWHILE)
    with service_of(kafka, topic) as service:
        async with Client([service], [sse], ask(service, session, **{"from": "earliest"})) as before:
            await before.until_events(past.total)
        await asyncio.to_thread(service.kill)
        await asyncio.to_thread(service.start)
        async with AsyncExitStack() as stack:
            back = []
            for number, event in enumerate(before.events):
                transport = list(TRANSPORTS.values())[number % 4]
                client = Client([service], [transport], ask(service, session, event.id))
                back.append(await stack.enter_async_context(client))
            for client in back:
                await until_live(client)
        scanned = [service.metric(f"tailrace_{name}_total") for name in ("kafka_records", "replay_fetches")]
    assert [heard(before.events[number:]) for number in range(1, past.total + 1)] == [
        heard(each.events) for each in back
    ]
    assert ([past.total, 0], {True}) == (scanned, {said for client in back for said in resumed(client)})
