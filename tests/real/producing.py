"""Producers whose events are numbered, and what of them a client must have seen.

Two kinds, because their partitioners differ: librdkafka's own and Java's put the same session into different
partitions, and the promise must not depend on who produces.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from real.clients import Client
from real.transports import Ask, Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka_cluster import KafkaCluster
    from real.service import ServiceProcess

_count = itertools.count()


def fresh(word: str) -> str:
    """Give a name that no test has had before."""
    return f"{word}-{time.time_ns()}-{next(_count)}"


def ask(service: ServiceProcess, session: str, last_id: str = "", **query: str) -> Ask:
    return Ask(session, service.token(session), last_id, query)


class Numbers:
    """Producers of two kinds, whose partitioners differ; each numbers what it says to a session, from 0 on."""

    def __init__(self, kafka: KafkaCluster, topic: str) -> None:
        self._topic = topic
        self._librdkafka = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1})
        self._java_like = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        self.said: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._java_like.start()
        except BaseException:
            await self._java_like.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._java_like.stop()

    async def say(self, session: str, count: int = 1) -> None:
        """Say the next ``count`` numbers to a session by each producer, and wait until Kafka has them."""
        first = self.said.get(session, 0)
        self.said[session] = first + count
        key = session.encode()
        sent = []
        for number in range(first, first + count):
            self._librdkafka.produce(self._topic, f"librdkafka {number}", key=key)
            sent.append(await self._java_like.send(self._topic, f"java {number}".encode(), key=key))
        await asyncio.gather(*sent)
        assert await asyncio.to_thread(self._librdkafka.flush, 30) == 0

    async def keep_saying(self, sessions: Sequence[str], rounds: int) -> None:
        """Say something to every session again and again, so that what happens meanwhile happens amid events."""
        for _ in range(rounds):
            await asyncio.gather(*(self.say(session) for session in sessions))
            await asyncio.sleep(0.01)

    def all_to(self, session: str) -> dict[str, list[int]]:
        """Give what a client must have seen in all, by producer."""
        return {name: list(range(self.said[session])) for name in ("java", "librdkafka")}


def heard(events: Sequence[Item]) -> dict[str, list[int]]:
    """Sort what came by producer, in the order of arrival."""
    by_name: dict[str, list[int]] = {"java": [], "librdkafka": []}
    for event in events:
        name, number = event.data.split()
        by_name[name].append(int(number))
    return by_name


async def until_all(clients: Sequence[Client], numbers: Numbers, session: str) -> None:
    """Wait until every client has as much as was said to its session."""
    for client in clients:
        await client.until_events(2 * numbers.said[session])
