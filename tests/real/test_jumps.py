"""Where the log itself has a hole, its readers are told so, once, and all around it is delivered.

The service is frozen meanwhile, so that the log changes under it while its readers are connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster, produce
from kafka_logs import batches
from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import sse, sse_h2, websocket, websocket_h2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from real.transports import Item

pytestmark = pytest.mark.kafka

HOLE, WHOLE = 0, 1
"""The partition that gets a hole, and the one beside it."""


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("jumps")
    kafka.create_topic(name, 2)
    return name


@contextlib.contextmanager
def frozen(service: ServiceProcess) -> Iterator[None]:
    """Let the service stand still; its connections stay open."""
    service.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.signal(signal.SIGCONT)


def say(kafka: KafkaCluster, topic: str, session: str, numbers: Sequence[int]) -> None:
    """Say numbers into both partitions, each in a batch of its own."""
    producer = kafka.producer(batch_num_messages=1)
    for partition in (HOLE, WHOLE):
        produce(producer, topic, partition, [b"%d of %d" % (number, partition) for number in numbers], key=session)


def heard(events: Sequence[Item], partition: int) -> list[int]:
    """Give the numbers of one partition, in the order of arrival."""
    said = [event.data.split(" of ") for event in events]
    return [int(number) for number, where in said if int(where) == partition]


def reasons(client: Client) -> list[str]:
    return [told["reason"] for told in client.controls("reset")]


def before_reset(client: Client) -> list[Item]:
    """Give the events that came before the first reset."""
    first = [item.name for item in client.items].index("tailrace.reset")
    return client.events[: sum(item in client.events for item in client.items[:first])]


async def test_retention_overtakes_the_service(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Reading goes on at the log's start with one reset; its id, and an old one, are good for what is left."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            say(kafka, topic, session, range(2))
            await client.until_events(4)
            old = client.last_id
            with frozen(service):
                say(kafka, topic, session, range(2, 50))
                kafka.delete_records(topic, HOLE, before=30)
            await client.until(lambda: {49} == {heard(client.events, each)[-1] for each in (HOLE, WHOLE)})
        at_reset = client.controls("reset")[0]["id"]
        async with Client([service], [websocket], ask(service, session, at_reset)) as again:
            await again.until(lambda: heard(again.events, HOLE)[-1:] == [49])
        async with Client([service], [websocket_h2], ask(service, session, old)) as late:
            await late.until_events(48 + 20)
    seen = heard(client.events, HOLE)
    caught = len(seen) - 20  # what the service had asked for before it stood still
    assert (caught < 30, [*range(caught), *range(30, 50)], list(range(50))) == (
        True,
        seen,
        heard(client.events, WHOLE),
    )
    assert (list(range(30, 50)), list(range(2, 50))) == (heard(late.events, HOLE), heard(late.events, WHOLE))
    assert list(range(30, 50)) == heard(again.events, HOLE)
    assert (["retention"], [], ["retention"]) == (reasons(client), reasons(again), reasons(late))


async def test_a_batch_that_cannot_be_read(ours: KafkaCluster, topic: str, session: str) -> None:
    """It alone is passed over, with one reset; the partition beside it waits for nothing, nor does a service that
    starts over such a log."""
    with ServiceProcess(ours.bootstrap, topic) as service:
        async with Client([service], [websocket], ask(service, session)) as client:
            say(ours, topic, session, [0])
            await client.until_events(2)
            old = client.last_id
            with frozen(service):
                say(ours, topic, session, range(1, 6))
                list(batches(ours.segment(topic, HOLE)))[3].damage()
            await client.until_events(2 * 6 - 1)
        await asyncio.to_thread(service.restart)
        async with Client([service], [sse_h2], ask(service, session, old)) as late:
            await late.until_events(4 + 5)
    before = before_reset(client)
    assert ([0, 1, 2], list(range(6))) == (heard(before, HOLE), heard(before, WHOLE))
    assert ([0, 1, 2, 4, 5], ["unreadable"]) == (heard(client.events, HOLE), reasons(client))
    assert ([1, 2, 4, 5], list(range(1, 6)), ["unreadable"]) == (
        heard(late.events, HOLE),
        heard(late.events, WHOLE),
        reasons(late),
    )


async def test_a_log_that_was_cut_off(ours: KafkaCluster, topic: str, session: str) -> None:
    """Reading goes on at the log's end, with one reset, and nobody is disconnected: as by an unclean election. Who was
    away comes back with an id that lies beyond the log, and is told, too."""
    with ServiceProcess(ours.bootstrap, topic) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            say(ours, topic, session, range(5))
            await client.until_events(10)
            beyond = client.last_id
            await asyncio.to_thread(ours.stop)
            segment = ours.segment(topic, HOLE)
            with segment.open("r+b") as file:
                file.truncate(list(batches(segment))[3].begin)
            await asyncio.to_thread(ours.start)
            await client.until(lambda: bool(client.controls("reset")))
            async with Client([service], [websocket_h2], ask(service, session, beyond)) as late:
                await late.until(lambda: bool(late.controls("live")))
                say(ours, topic, session, [5, 6])
                await asyncio.gather(client.until_events(14), late.until_events(4))
    assert (list(range(7)), list(range(7))) == (heard(client.events, HOLE), heard(client.events, WHOLE))
    assert ([5, 6], [5, 6]) == (heard(late.events, HOLE), heard(late.events, WHOLE))
    assert (["truncated"], ["truncated"], [200]) == (reasons(client), reasons(late), client.answers)
    assert "-4" == next(event.id for event in client.events if event.data == f"5 of {HOLE}").split(".")[2]
