"""What happens to topics while clients listen: several, new partitions, made anew, transactions, odd records."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster, produce
from real.clients import Client
from real.producing import Numbers, ask, fresh, heard, until_all
from real.service import ServiceProcess
from real.transports import sse, sse_h2, websocket, websocket_h2

if TYPE_CHECKING:
    from confluent_kafka import Producer

pytestmark = pytest.mark.kafka

MANY = 40


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic of the test's own, in two partitions."""
    name = fresh("topics")
    kafka.create_topic(name, 2)
    return name


async def test_two_topics(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A session's events come from all topics, and one id resumes in all of them."""
    other = fresh("other")
    kafka.create_topic(other, 3)
    with ServiceProcess(kafka.bootstrap, f"{topic},{other}") as service:
        async with (
            Numbers(kafka, topic) as first,
            Numbers(kafka, other) as second,
            Client([service], [sse, websocket], ask(service, session)) as client,
        ):
            for part in range(1, 6):
                await asyncio.gather(first.say(session, MANY), second.say(session, MANY))
                await client.until_events((part - 1) * 4 * MANY + MANY)
                await client.cut()
            await client.until_events(5 * 4 * MANY)
    assert len(client.last_id.split("~")) == 2
    said = [f"{name} {number}" for name in ("java", "librdkafka") for number in range(5 * MANY)]
    assert sorted(said * 2) == sorted(event.data for event in client.events)
    assert len(client.events) == len({event.id for event in client.events})


async def test_partitions_added(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A topic that grows is read on, from the beginning of what is new; an id from before still resumes exactly."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse_h2], ask(service, session)) as client:
            async with Numbers(kafka, topic) as numbers:
                await numbers.say(session, MANY)
                await until_all([client], numbers, session)
            before, old = client.last_id, len(client.events)
            kafka.create_partitions(topic, 5)
            values = [f"java {number}".encode() for number in range(MANY)]
            for partition in range(5):
                produce(kafka.producer(), topic, partition, values, key=session)
            await client.until_events(old + 5 * MANY)
        async with Client([service], [websocket], ask(service, session, before)) as late:
            await late.until_events(5 * MANY)
    assert (2, 5) == (before.count(".") - 1, client.last_id.count(".") - 1)
    for each in (client.events[old:], late.events):
        assert sorted(list(range(MANY)) * 5) == sorted(heard(each)["java"])
        assert len(each) == len({event.id for event in each})
    assert [[], []] == [client.controls("reset"), late.controls("reset")]


async def test_made_anew(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A topic that was deleted and made again is a reset, for who is connected and for who comes back."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [websocket_h2], ask(service, session)) as client:
            produce(kafka.producer(), topic, 0, [b"old"], key=session)
            await client.until_events(1)
            before = client.last_id
            kafka.delete_topic(topic)
            kafka.create_topic(topic, 2)
            await client.until(lambda: bool(client.controls("reset")))
            produce(kafka.producer(), topic, 0, [b"new"], key=session)
            await client.until_events(2)
        async with Client([service], [sse], ask(service, session, before)) as late:
            await late.until_events(1)
    assert ["old", "new"] == [event.data for event in client.events]
    assert ["new"] == [event.data for event in late.events]
    assert [["epoch"], ["epoch"]] == [[told["reason"] for told in each.controls("reset")] for each in (client, late)]
    assert len({client.events[0].id.split(".")[1], client.events[1].id.split(".")[1]}) == 2


async def test_transactions(kafka: KafkaCluster, topic: str, session: str) -> None:
    """What a producer took back reaches nobody; what it committed does, once."""
    producer = kafka.producer(transactional_id=topic)
    producer.init_transactions(30)
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse, websocket], ask(service, session)) as client:
            for number in range(10):
                transact(producer, topic, session, number, commit=number % 3 == 0)
                await client.cut()
            await client.until_events(4)
            async with Numbers(kafka, topic) as numbers:
                await numbers.say(session)
            await client.until_events(6)
    committed = [f"java {number}" for number in (100, 103, 106, 109)]
    assert sorted([*committed, "java 0", "librdkafka 0"]) == sorted(event.data for event in client.events)


def transact(producer: Producer, topic: str, session: str, number: int, *, commit: bool) -> None:
    """Say a number in a transaction, and then mean it or not."""
    producer.begin_transaction()
    produce(producer, topic, 0, [f"java {100 + number}".encode()], key=session)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


async def test_what_cannot_be_delivered(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A record that is too large, or no text, is told of in its place, on each transport and after a cut."""
    values = [b"before", b"x" * 3000, b"\xff\xfe", b"after"]
    with ServiceProcess(kafka.bootstrap, topic, max_event_bytes=2000) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            start = client.last_id
            produce(kafka.producer(), topic, 1, values, key=session)
            await client.until_events(2)
        async with Client([service], [websocket], ask(service, session, start)) as late:
            await late.until_events(2)
    for each in (client, late):
        assert [("before", 0), ("after", 3)] == [(event.data, int(offset_in(event.id)) - 1) for event in each.events]
        assert [(topic, 1, 1), (topic, 1, 2)] == [
            (told["topic"], told["partition"], told["offset"]) for told in each.controls("skipped")
        ]


def offset_in(id_: str) -> str:
    """Give the next offset of the event's own partition, which its id marks."""
    return id_.partition("-")[2].partition(".")[0]


async def test_session_in_a_header_and_bytes(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Where a header names the session the key does not count; bytes go out in base64, and `ready` says so."""
    values = [bytes(range(256)), b""]
    with ServiceProcess(kafka.bootstrap, topic, session_from="header:to", value="base64") as service:
        async with Client([service], [websocket], ask(service, session)) as client:
            produce(kafka.producer(), topic, 0, [b"not for us"], key=session)
            produce(kafka.producer(), topic, 0, values, key=b"any", headers=[("to", session.encode())])
            await client.until_events(2)
    assert values == [base64.b64decode(event.data) for event in client.events]
    assert ["base64"] == [ready["encoding"] for ready in client.controls("ready")]
