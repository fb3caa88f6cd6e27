"""Kafka away, frozen, elsewhere, in part: no client is disconnected, and nothing is lost or repeated afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from kafka_cluster import KafkaCluster
from kafka_nodes import KafkaNodes
from real.clients import Client
from real.past import MEMORY, push_out, those_back
from real.producing import Numbers, ask, fresh, heard, until_all
from real.service import ServiceProcess, unready
from real.transports import TRANSPORTS
from tailrace.dev import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

pytestmark = pytest.mark.kafka

PARTITIONS = 3
MANY = 40


@pytest.fixture
def topic(mortal: KafkaCluster) -> str:
    name = fresh("outages")
    mortal.create_topic(name, PARTITIONS)
    return name


@contextlib.asynccontextmanager
async def one_of_each(service: ServiceProcess, session: str) -> AsyncIterator[list[Client]]:
    """A client over each transport."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client([service], [transport], ask(service, session)))
            for transport in TRANSPORTS.values()
        ]


async def until_told(client: Client, name: str) -> None:
    """Wait until the service has told the client one of its own events."""
    await client.until(lambda: bool(client.controls(name)))


async def until_connections(client: Client, count: int) -> None:
    """Wait until the client has been let in so many times."""
    await client.until(lambda: len(client.controls("ready")) == count)


async def until_status(service: ServiceProcess, status: str, words: str = "") -> None:
    """Wait until ``/readyz`` has this status, and ``words`` in its sentences."""
    await asyncio.to_thread(service.wait_until, lambda: service.status() == status and words in service.words())


def undisturbed(clients: Sequence[Client]) -> bool:
    """Whether every client is still on its first connection, and was told of no break."""
    return all(client.answers in ([200], [101]) and not client.controls("reset") for client in clients)


async def test_away_at_the_start(mortal: KafkaCluster, topic: str, session: str) -> None:
    """The service listens, says whom it cannot reach, tells streams to come back, and gets ready by itself."""
    await asyncio.to_thread(mortal.kill)
    with unready(ServiceProcess(mortal.bootstrap, topic)) as service:
        await until_status(service, "waiting", f"the broker {mortal.bootstrap} cannot be reached")
        async with one_of_each(service, session) as clients:
            told = [client.controls("disconnect")[0] for client in clients]
            await asyncio.to_thread(mortal.start)
            for client in clients:
                await until_told(client, "ready")
            async with Numbers(mortal, topic) as numbers:
                await numbers.say(session, MANY)
                await until_all(clients, numbers, session)
        assert (service.health(), service.status()) == (200, "ready")
    assert [(1013, True)] * 4 == [(each["code"], each["reconnect"]) for each in told]
    assert [numbers.all_to(session)] * 4 == [heard(client.events) for client in clients]


async def test_killed_and_back_elsewhere(mortal: KafkaCluster, topic: str, session: str) -> None:
    """A broker that crashes, and comes back at another address of the list, is found; whoever reconnects meanwhile
    is let in and goes on like the others."""
    old = mortal.bootstrap
    with ServiceProcess(mortal.both_bootstraps, topic) as service:
        async with one_of_each(service, session) as clients, one_of_each(service, session) as wanderers:
            async with Numbers(mortal, topic) as numbers:
                await numbers.say(session, MANY)
                await asyncio.to_thread(mortal.kill)
            await until_status(service, "degraded", f"the broker {old} cannot be reached")
            assert service.health() == 200
            for wanderer in wanderers:
                await wanderer.cut()
            for wanderer in wanderers:
                await until_connections(wanderer, 2)
            mortal.move()
            await asyncio.to_thread(mortal.start)
            async with Numbers(mortal, topic) as again:
                await again.say(session, MANY)
                for client in (*clients, *wanderers):
                    await client.until_events(4 * MANY)
            await until_status(service, "ready")
    both = {name: list(range(MANY)) * 2 for name in ("java", "librdkafka")}
    assert [both] * 8 == [heard(client.events) for client in (*clients, *wanderers)]
    assert undisturbed(clients)
    assert [(2, [])] * 4 == [(len(wanderer.answers), wanderer.controls("reset")) for wanderer in wanderers]


async def test_frozen_and_thawed(mortal: KafkaCluster, topic: str, session: str) -> None:
    """A broker that takes connections and never answers is noticed; when it goes on, so does delivery."""
    with ServiceProcess(mortal.bootstrap, topic) as service:
        async with one_of_each(service, session) as clients, Numbers(mortal, topic) as numbers:
            await numbers.say(session, MANY)
            await until_all(clients, numbers, session)
            mortal.freeze()
            try:
                await until_status(service, "degraded", f"the broker {mortal.bootstrap} cannot be reached: no answer")
                assert service.health() == 200
            finally:
                mortal.thaw()
            await numbers.say(session, MANY)
            await until_all(clients, numbers, session)
            await until_status(service, "ready")
    assert [numbers.all_to(session)] * 4 == [heard(client.events) for client in clients]
    assert undisturbed(clients)


# Several brokers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def brokers() -> Iterator[EmbeddedBroker]:
    """Three brokers whose leaders can be moved, with a topic in two partitions."""
    with EmbeddedBroker(3) as made:
        made.create_topic("rivers", 2, replicas=3)
        for partition in range(2):
            made.set_leader("rivers", partition, 1 + partition)
        yield made


class Counting:
    """A producer that numbers what it says, in the order of each partition whoever leads it."""

    def __init__(self, bootstrap: str, session: str) -> None:
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1}
        quiet = {"log_level": 2, "error_cb": lambda _: None, "topic.metadata.refresh.interval.ms": 500}
        self._producer = Producer({**settings, **quiet})
        self._session = session
        self._numbers = itertools.count()

    @property
    def producer(self) -> Producer:
        return self._producer

    async def say(self, partition: int, count: int = 1) -> list[int]:
        """Say the next numbers; gives them once the brokers have them."""
        said = list(itertools.islice(self._numbers, count))
        for number in said:
            self._producer.produce("rivers", str(number), key=self._session, partition=partition)
        assert await asyncio.to_thread(self._producer.flush, 30) == 0
        return said


def numbers_of(client: Client, said: Sequence[int]) -> list[int]:
    """What the client heard of the numbers that were said, in the order of arrival."""
    return [int(event.data) for event in client.events if int(event.data) in said]


async def test_leaders_that_move(brokers: EmbeddedBroker, session: str) -> None:
    """Leaders move from broker to broker amid events: everything arrives once, in the order of its partition."""
    said: dict[int, list[int]] = {0: [], 1: []}
    with ServiceProcess(brokers.bootstrap, "rivers") as service:
        async with one_of_each(service, session) as clients:
            counting = Counting(brokers.bootstrap, session)
            for turn in range(8):
                for partition in said:
                    brokers.set_leader("rivers", partition, 1 + (turn + partition) % 3)
                    said[partition] += await counting.say(partition, 10)
            for client in clients:
                await client.until_events(160)
    assert [list(said.values())] * 4 == [[numbers_of(client, each) for each in said.values()] for client in clients]
    assert undisturbed(clients)


async def test_real_brokers_one_after_the_other(session: str) -> None:
    """Of three that replicate, one crashes and comes back, another is stopped: everything once, and in order."""
    with KafkaNodes() as nodes:
        nodes.create_topic("rivers", 2)
        said: dict[int, list[int]] = {0: [], 1: []}
        with ServiceProcess(nodes.bootstrap, "rivers") as service:
            async with one_of_each(service, session) as clients:
                counting = Counting(nodes.bootstrap, session)
                for end in (nodes.kill, nodes.stop):
                    await asyncio.to_thread(nodes.wait_until, lambda: nodes.in_sync("rivers"))
                    leader = (await asyncio.to_thread(nodes.leaders, "rivers"))[0]
                    saying = asyncio.create_task(keep_saying(counting, said))
                    await asyncio.to_thread(end, leader)
                    await asyncio.to_thread(until_led_by_another, nodes, leader)
                    await saying
                    nodes.start(leader)
                for client in clients:
                    await client.until_events(sum(map(len, said.values())))
                await until_status(service, "ready")
    assert [list(said.values())] * 4 == [[numbers_of(client, each) for each in said.values()] for client in clients]
    assert undisturbed(clients)


async def keep_saying(counting: Counting, said: dict[int, list[int]]) -> None:
    """Say something to every partition again and again."""
    for _ in range(20):
        for partition in said:
            said[partition] += await counting.say(partition, 5)


def until_led_by_another(nodes: KafkaNodes, leader: int) -> None:
    """Wait until the first partition's leader is another."""
    nodes.wait_until(lambda: nodes.leaders("rivers").get(0, leader) != leader)


async def test_a_partition_without_a_leader(brokers: EmbeddedBroker, session: str) -> None:
    """It alone waits, by name; the other partition is delivered meanwhile."""
    with ServiceProcess(brokers.bootstrap, "rivers") as service:
        async with one_of_each(service, session) as clients:
            counting = Counting(brokers.bootstrap, session)
            brokers.set_leader("rivers", 0, -1)
            await until_status(service, "degraded", "partition 0 of topic rivers has no leader")
            meanwhile = await counting.say(1, 10)
            for client in clients:
                await client.until_events(10)
            brokers.set_leader("rivers", 0, 3)
            after = await counting.say(0, 10)
            for client in clients:
                await client.until_events(20)
            await until_status(service, "ready")
    assert [meanwhile + after] * 4 == [[int(event.data) for event in client.events] for client in clients]
    assert undisturbed(clients)


async def test_no_leader_at_the_start(brokers: EmbeddedBroker, session: str) -> None:
    """A partition whose end nobody knows yet is named; when it has a leader, the service gets ready by itself."""
    brokers.set_leader("rivers", 0, -1)
    with unready(ServiceProcess(brokers.bootstrap, "rivers")) as service:
        await until_status(service, "waiting", "partition 0 of topic rivers has no leader")
        brokers.set_leader("rivers", 0, 2)
        await until_status(service, "ready")
        async with one_of_each(service, session) as clients:
            said = await Counting(brokers.bootstrap, session).say(0, 10)
            for client in clients:
                await client.until_events(10)
    assert [said] * 4 == [[int(event.data) for event in client.events] for client in clients]


async def test_a_broker_of_several_down(brokers: EmbeddedBroker, session: str) -> None:
    """While one broker is away its partitions wait, by its name; what the others lead is delivered."""
    with ServiceProcess(brokers.bootstrap, "rivers") as service:
        async with one_of_each(service, session) as clients:
            counting = Counting(brokers.bootstrap, session)
            brokers.down(1)
            await until_status(service, "degraded", f"the broker {brokers.bootstrap.split(',')[0]} cannot be reached")
            meanwhile = await counting.say(1, 10)
            for client in clients:
                await client.until_events(10)
            brokers.up(1)
            after = await counting.say(0, 10)
            for client in clients:
                await client.until_events(20)
            await until_status(service, "ready")
    assert [meanwhile + after] * 4 == [[int(event.data) for event in client.events] for client in clients]
    assert undisturbed(clients)


async def test_a_replay_of_a_broker_that_is_down(brokers: EmbeddedBroker, session: str) -> None:
    """What is lacked of its partition waits; what is lacked of another's comes meanwhile, and each in order."""
    counting = Counting(brokers.bootstrap, session)
    with ServiceProcess(brokers.bootstrap, "rivers", tail_max_bytes=MEMORY) as service:
        async with Client([service], [TRANSPORTS["websocket"]], ask(service, session)) as client:
            await counting.say(0), await counting.say(1)
            await client.until_events(2)
        missed = {partition: await counting.say(partition, 10) for partition in (0, 1)}
        await push_out(counting.producer, service, "rivers", 0)
        await push_out(counting.producer, service, "rivers", 1)
        brokers.down(1)
        await until_status(service, "degraded")
        async with those_back(service, session, client.last_id) as back:
            for each in back:
                await each.until_events(10)
            assert [missed[1]] * 4 == [[int(event.data) for event in each.events] for each in back]
            brokers.up(1)
            for each in back:
                await until_told(each, "live")
    assert [missed[1] + missed[0]] * 4 == [[int(event.data) for event in each.events] for each in back]
    assert undisturbed(back)
