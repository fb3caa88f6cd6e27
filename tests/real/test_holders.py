"""What the holder of a good token may ask for, and what comes of it for others: with a real Kafka."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import produce
from real.clients import Client
from real.past import reasons, service_of, until_live
from real.producing import Numbers, ask, fresh, heard, until_all
from real.transports import TRANSPORTS, sse

if TYPE_CHECKING:
    from kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

STREAMS = 32
"""What one subject may have by default."""


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("holders")
    kafka.create_topic(name, 2)
    return name


async def first_id(client: Client) -> str:
    """Wait for the id of `tailrace.ready`."""
    await client.until(lambda: bool(client.last_id))
    return client.last_id


async def test_ids_that_name_partitions_that_do_not_exist(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Kafka is asked; then each such client is told `truncated`, is live, and gets what comes; nobody waits."""
    with service_of(kafka, topic) as service:
        async with Numbers(kafka, topic) as numbers, AsyncExitStack() as stack:
            honest = await stack.enter_async_context(Client([service], [sse], ask(service, session)))
            invented = await first_id(honest) + ".0" * 3000 + ".1"
            transports = list(TRANSPORTS.values())
            clients = [
                await stack.enter_async_context(
                    Client([service], [transports[number % 4]], ask(service, session, invented))
                )
                for number in range(STREAMS)
            ]
            for client in clients:
                await until_live(client)
            assert service.metric("tailrace_readers_catching_up") == 0
            await numbers.say(session, 5)
            await until_all([honest, *clients], numbers, session)
        assert {tuple(reasons(client)) for client in clients} == {("truncated",)}
        assert [heard(client.events) for client in [honest, *clients]] == [numbers.all_to(session)] * (STREAMS + 1)


async def test_ids_that_name_partitions_that_are_new(kafka: KafkaCluster, topic: str, session: str) -> None:
    """One that a replica does not know yet, of which another has served a record, is no reason to reset anybody."""
    with service_of(kafka, topic) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            before = await first_id(client)
        kafka.create_partitions(topic, 3)
        await asyncio.to_thread(produce, kafka.producer(), topic, 2, [b"served elsewhere"], key=session)
        async with Client([service], [sse], ask(service, session, f"{before}.1")) as client:
            await until_live(client)
        assert (reasons(client), client.events) == ([], [])
