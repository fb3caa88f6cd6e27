"""Offsets with gaps: markers of transactions, what was taken back, what is still open, what compaction removed."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from kafka_cluster import ADMIN_SECONDS, PASSWORD, USER, KafkaCluster, produce
from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import sse, sse_h2, websocket, websocket_h2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Producer

pytestmark = pytest.mark.kafka

SAME = 20
COMPACTED: dict[str, Any] = {
    "cleanup_policy": "compact",
    "segment_ms": "50",
    "min_cleanable_dirty_ratio": "0.01",
    "max_compaction_lag_ms": "50",
}


@pytest.fixture
def topic() -> str:
    return fresh("gaps")


def words(client: Client) -> list[str]:
    return [event.data for event in client.events]


def continuity(client: Client) -> set[str]:
    return {ready["continuity"] for ready in client.controls("ready")}


def say(kafka: KafkaCluster, topic: str, session: str, *said: str) -> None:
    produce(kafka.producer(), topic, 0, [word.encode() for word in said], key=session)


class Transactions:
    """A producer that says nothing but in transactions."""

    def __init__(self, kafka: KafkaCluster, topic: str, session: str) -> None:
        self._producer: Producer = kafka.producer(transactional_id=fresh("transactions"))
        self._producer.init_transactions(ADMIN_SECONDS)
        self._where = topic, 0
        self._session = session

    def begin(self, *said: str) -> None:
        self._producer.begin_transaction()
        produce(self._producer, *self._where, [word.encode() for word in said], key=self._session)

    def commit(self) -> None:
        self._producer.commit_transaction(ADMIN_SECONDS)

    def abort(self) -> None:
        self._producer.abort_transaction(ADMIN_SECONDS)


@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_a_topic_of_nothing_but_transactions(kafka: KafkaCluster, topic: str, session: str, end: str) -> None:
    """The service becomes warm though a marker is the last there is, and live: for who comes new, and by an id."""
    kafka.create_topic(topic)
    transactions = Transactions(kafka, topic, session)
    transactions.begin("one", "two")
    transactions.commit()
    transactions.begin("three")
    getattr(transactions, end)()
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [websocket], ask(service, session, **{"from": "tail"})) as client:
            await client.until(lambda: bool(client.controls("live")))
            transactions.begin("taken back")
            transactions.abort()
            transactions.begin("four")
            transactions.commit()
            await client.until(lambda: "four" in words(client))
        async with Client([service], [sse], ask(service, session, client.events[1].id)) as late:
            await late.until(lambda: "four" in words(late))
    expected = ["one", "two", *(["three"] if end == "commit" else []), "four"]
    assert (expected, expected[2:]) == (words(client), words(late))


async def test_an_open_transaction_holds_up_nobody(kafka: KafkaCluster, topic: str, session: str) -> None:
    """The service is ready without its end; what it holds, and what lies behind it, comes with its end, in order."""
    kafka.create_topic(topic)
    transactions = Transactions(kafka, topic, session)
    say(kafka, topic, session, "before")
    transactions.begin("open")
    say(kafka, topic, session, "behind")
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with Client([service], [sse_h2], ask(service, session, **{"from": "tail"})) as client:
            await client.until_events(1)
            seen = words(client)
            transactions.commit()
            await client.until_events(3)
    assert (["before"], ["before", "open", "behind"]) == (seen, words(client))


def compacted(kafka: KafkaCluster, topic: str, session: str) -> Sequence[int]:
    """Say each offset; the first ones share a key. Give those that are left, once Kafka has removed all but one."""
    producer, give_up = kafka.producer(), time.monotonic() + 30
    for number in itertools.count():
        key = "same" if number < SAME else f"key {number}"
        produce(producer, topic, 0, [b"%d" % number], key=key, headers=[("to", session.encode())])
        if number > SAME and (left := offsets(kafka, topic, number + 1))[0] == SAME - 1:
            return left
        assert time.monotonic() < give_up
    raise AssertionError


def offsets(kafka: KafkaCluster, topic: str, end: int) -> Sequence[int]:
    """Give the offsets below ``end`` that a consumer still sees."""
    settings: dict[str, Any] = {"group.id": fresh("g"), "bootstrap.servers": kafka.bootstrap}
    consumer = Consumer({**settings, "enable.auto.commit": False, "fetch.wait.max.ms": 10})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    while not found or found[-1] < end - 1:
        message = consumer.poll(ADMIN_SECONDS)
        assert message is not None
        found.append(int(message.offset() or 0))
    consumer.close()
    return found


async def test_a_compacted_topic(kafka: KafkaCluster, topic: str, session: str) -> None:
    """What is left is delivered, once; clients are told that it is not all there was; new events go on."""
    kafka.create_topic(topic, **COMPACTED)
    left = await asyncio.to_thread(compacted, kafka, topic, session)
    with ServiceProcess(kafka.bootstrap, topic, session_from="header:to") as service:
        async with Client([service], [websocket_h2], ask(service, session, **{"from": "tail"})) as client:
            await client.until_events(len(left))
            produce(kafka.producer(), topic, 0, [b"new"], key="new", headers=[("to", session.encode())])
            await client.until_events(len(left) + 1)
    assert [*map(str, left), "new"] == words(client)
    assert {"compacted"} == continuity(client)


async def test_a_policy_that_may_not_be_seen(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Reading does without that right; the log says once what to grant, and clients hear that all is complete."""
    kafka.create_topic(topic, **COMPACTED)
    kafka.allow(topic, "READ")
    settings: dict[str, Any] = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_ca_file": kafka.ca_file,
    }
    with ServiceProcess(kafka.secure_bootstrap, topic, **settings) as service:
        async with Client([service], [sse], ask(service, session)) as client:
            say(kafka, topic, session, "word")
            await client.until_events(1)
        log = service.log
    assert ({"complete"}, 1) == (continuity(client), log.count("grant this user DescribeConfigs"))
