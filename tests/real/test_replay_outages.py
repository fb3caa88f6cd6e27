"""What befalls the broker, or the service, in the middle of a replay delays it, and takes nothing from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster
from real.clients import Client
from real.past import BEFORE, Past, heard, id_before, push_out, reasons, service_of, those_back, until_live
from real.producing import ask, fresh
from real.transports import TRANSPORTS

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.kafka

PARTITIONS = 2
MEANWHILE, LARGE = 80, 20_000
"""Numbers in each partition and the size of each: a pass takes a dozen fetches."""
AMID = 10
"""Events that a client has when it happens."""


@pytest.fixture
def topic(mortal: KafkaCluster) -> str:
    name = fresh("outages")
    mortal.create_topic(name, PARTITIONS)
    return name


async def test_a_broker_killed(mortal: KafkaCluster, topic: str, session: str) -> None:
    """A broker that crashes and comes back elsewhere is found again, and nobody is disconnected."""
    past = Past(mortal, session, {topic: PARTITIONS})
    with service_of(mortal, topic) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE, size=LARGE)
        await push_out(mortal.producer(), service, topic)
        async with those_back(service, session, left_with) as clients:
            await clients[0].until_events(AMID)
            await asyncio.to_thread(mortal.kill)
            async with those_back(service, session, left_with) as later:
                mortal.move()
                await asyncio.to_thread(mortal.start)
                for client in (*clients, *later):
                    await until_live(client)
            await asyncio.to_thread(past.say)
            for client in clients:
                await client.until_events(past.total - PARTITIONS * BEFORE)
    assert [past.since(BEFORE)] * 4 == [heard(client.events) for client in clients]
    assert [(1, [])] * 8 == [(len(client.answers), reasons(client)) for client in (*clients, *later)]


async def test_a_broker_frozen(mortal: KafkaCluster, topic: str, session: str) -> None:
    """A broker that stops to answer in the middle of a replay is waited for, by those who come meanwhile, too."""
    past = Past(mortal, session, {topic: PARTITIONS})
    with service_of(mortal, topic) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE, size=LARGE)
        await push_out(mortal.producer(), service, topic)
        async with those_back(service, session, left_with) as clients:
            await clients[0].until_events(AMID)
            mortal.freeze()
            try:
                async with those_back(service, session, left_with) as later:
                    await asyncio.to_thread(service.wait_until, lambda: service.status() == "degraded")
                    mortal.thaw()
                    for client in (*clients, *later):
                        await until_live(client)
            finally:
                mortal.thaw()
    assert [past.since(BEFORE)] * 8 == [heard(client.events) for client in (*clients, *later)]
    assert [(1, [])] * 8 == [(len(client.answers), reasons(client)) for client in (*clients, *later)]


async def test_the_service_killed(mortal: KafkaCluster, topic: str, session: str) -> None:
    """A service that crashes in the middle of a replay is come back to, and the replay goes on where it was."""
    past = Past(mortal, session, {topic: PARTITIONS})
    with service_of(mortal, topic) as service:
        left_with = await id_before(service, past, session)
        await asyncio.to_thread(past.say, MEANWHILE, size=LARGE)
        await push_out(mortal.producer(), service, topic)
        async with those_back(service, session, left_with) as clients, past.going_on():
            for part in range(1, 3):
                await clients[0].until_events(part * AMID)
                await asyncio.to_thread(service.restart, crash=True)
            for client in clients:
                await until_live(client)
        async with Client([service], list(TRANSPORTS.values()), ask(service, session, left_with)) as hopper:
            await until_live(hopper)
    assert past.since(BEFORE) == heard(hopper.events)
    for client in clients:
        for place, numbers in heard(client.events).items():
            assert list(range(BEFORE, BEFORE + len(numbers))) == numbers, place
    assert [([], True)] * 4 == [(reasons(client), len(client.answers) > 1) for client in clients]
