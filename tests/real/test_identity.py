"""Topics that come, grow, go and come back, under clients that stay or return: ids hold across all of it.

The broker makes topics by itself when they are asked for; none of this may depend on that, nor bring it about.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster, produce
from real.clients import Client
from real.producing import Numbers, ask, fresh, heard
from real.service import ServiceProcess
from real.transports import TRANSPORTS, sse, sse_h2, websocket, websocket_h2

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.kafka

ROUNDS = 150
"""Of a producer, while topics change: so that the change happens amid events."""


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic of the test's own, in two partitions. Its name comes before that of every `fresh` ``other``."""
    name = fresh("identity")
    kafka.create_topic(name, 2)
    return name


@pytest.fixture
def other() -> str:
    """The name of a topic that does not exist."""
    return fresh("other")


def say(kafka: KafkaCluster, topic: str, session: str, *words: str, partition: int = 0) -> None:
    produce(kafka.producer(), topic, partition, [word.encode() for word in words], key=session)


def words(client: Client) -> list[str]:
    return [event.data for event in client.events]


def reasons(client: Client) -> list[str]:
    return [told["reason"] for told in client.controls("reset")]


async def test_a_topic_that_does_not_exist_yet(kafka: KafkaCluster, topic: str, other: str, session: str) -> None:
    """The service says so and serves the others; waiting does not make it; once it is there nothing of it is missed."""
    with ServiceProcess(kafka.bootstrap, f"{topic},{other}") as service:
        async with Client([service], [websocket_h2], ask(service, session)) as client:
            say(kafka, topic, session, "one")
            await client.until_events(1)
            before = client.last_id
            told = service.words()
            made_by_waiting = kafka.exists(other)
            kafka.create_topic(other, 2)
            say(kafka, other, session, "two", "three")
            say(kafka, other, session, "four", partition=1)
            await client.until_events(4)
        service.wait_until(lambda: service.status() == "ready")
        async with Client([service], [sse], ask(service, session, before)) as late:
            await late.until_events(3)
    assert (f"topic {other} does not exist", False) == (told, made_by_waiting)
    assert ("~0", 4) == (before[-2:], client.last_id.partition("~")[2].count(".") + 2)
    assert ["four", "one", "three", "two"] == sorted(words(client))
    assert ["four", "three", "two"] == sorted(words(late))
    assert [[], []] == [reasons(client), reasons(late)]


async def test_growth_amid_the_flow(kafka: KafkaCluster, topic: str, other: str, session: str) -> None:
    """A topic grows twice and another one is made while clients hop between replicas: nothing is lost or repeated."""
    topics = f"{topic},{other}"
    with (
        ServiceProcess(kafka.bootstrap, topics) as one,
        ServiceProcess(kafka.bootstrap, topics) as two,
    ):
        hopper = Client([one, two], [sse, websocket_h2, websocket, sse_h2], ask(one, session))
        stayer = Client([two], [websocket], ask(two, session))
        async with Numbers(kafka, topic) as numbers, hopper, stayer:
            flow = asyncio.create_task(numbers.keep_saying([session], ROUNDS))
            for total in (3, 6):
                await asyncio.to_thread(kafka.create_partitions, topic, total)
                await hopper.until_events(len(hopper.events) + 20)
                await hopper.cut()
            await asyncio.to_thread(kafka.create_topic, other, 2)
            await asyncio.to_thread(say, kafka, other, session, *[f"other {number}" for number in range(10)])
            await hopper.cut()
            await flow
            await spread(kafka, topic, session)
            for client in (hopper, stayer):
                await client.until_events(2 * ROUNDS + 16)
    for client in (hopper, stayer):
        expected = [*(f"{name} {number}" for name in ("java", "librdkafka") for number in range(ROUNDS))]
        expected += [*(f"other {number}" for number in range(10)), *(f"late {number}" for number in range(6))]
        assert sorted(expected) == sorted(words(client))
        assert [] == reasons(client)
    assert [7, 3] == [len(group.split(".")) for group in client.last_id.removeprefix("v1.").split("~")]


async def spread(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Say something into each of six partitions, so that new ones are used whatever the producers' partitioners do."""
    for partition in range(6):
        await asyncio.to_thread(say, kafka, topic, session, f"late {partition}", partition=partition)


async def test_deleted_and_made_again_beside_another(kafka: KafkaCluster, topic: str, other: str, session: str) -> None:
    """A deleted topic disconnects nobody and is not made by waiting; made again it is one reset, and the topic beside
    it loses and repeats nothing."""
    kafka.create_topic(other, 2)
    with ServiceProcess(kafka.bootstrap, f"{topic},{other}") as service:
        async with Client([service], [sse], ask(service, session)) as client, Numbers(kafka, topic) as numbers:
            flow = asyncio.create_task(numbers.keep_saying([session], ROUNDS))
            say(kafka, other, session, "old 0", "old 1", "old 2")
            await client.until(lambda: "old 2" in words(client))
            await asyncio.to_thread(kafka.delete_topic, other)
            await asyncio.to_thread(
                service.wait_until, lambda: f"topic {other} does not exist" in service.words().split("\n")
            )
            made_by_waiting = await asyncio.to_thread(kafka.exists, other)
            await asyncio.to_thread(kafka.create_topic, other, 1)
            await asyncio.to_thread(say, kafka, other, session, *[f"new {number}" for number in range(5)])
            await flow
            await client.until_events(2 * ROUNDS + 3 + 5)
    assert (False, [200], ["epoch"]) == (made_by_waiting, client.answers, reasons(client))
    beside = [event for event in client.events if event.data.split()[0] in ("java", "librdkafka")]
    assert numbers.all_to(session) == heard(beside)
    assert [f"old {number}" for number in range(3)] + [f"new {number}" for number in range(5)] == [
        word for word in words(client) if word.split()[0] in ("old", "new")
    ]


async def test_made_again_and_outgrown_in_a_moment(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A service that was frozen meanwhile gives nothing of the new topic away as the old one's, though it has what
    would come next: it tells of the new one, and then all that is in it."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            await asyncio.to_thread(say, kafka, topic, session, "old 0", "old 1", partition=0)
            await client.until_events(2)
            service.signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(kafka.delete_topic, topic)
                await asyncio.to_thread(kafka.create_topic, topic, 2)
                new = [f"new {number}" for number in range(5)]
                await asyncio.to_thread(say, kafka, topic, session, *new, partition=0)
            finally:
                service.signal(signal.SIGCONT)
            await client.until_events(2 + len(new))
    told = [item.name if item.name.startswith("tailrace.reset") else item.data for item in client.items[-6:]]
    assert (["tailrace.reset", *new], ["epoch"]) == (told, reasons(client))


async def test_made_again_while_everyone_was_away(kafka: KafkaCluster, topic: str, session: str) -> None:
    """An id from before the service's restart is recognised as one of another topic, on every transport."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            say(kafka, topic, session, "old", "old", "old")
            await client.until_events(3)
        await asyncio.to_thread(service.stop)
        kafka.delete_topic(topic)
        kafka.create_topic(topic, 2)
        say(kafka, topic, session, "new", "newer", "newest", "last")
        await asyncio.to_thread(service.start)
        found: list[tuple[Sequence[str], Sequence[str]]] = []
        for transport in TRANSPORTS.values():
            async with Client([service], [transport], ask(service, session, client.last_id)) as late:
                await late.until_events(4)
            found.append((words(late), reasons(late)))
    assert [(["new", "newer", "newest", "last"], ["epoch"])] * len(TRANSPORTS) == found
