"""Producers that number what they say to each session, and write down in the history where it came to lie.

Two kinds, because their partitioners differ: librdkafka's own and Java's put the same session into different
partitions, so that most sessions lie in two. They are idempotent: nothing is in a log twice.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from crowd.history import History, Kind
from kafka_cluster import ADMIN_SECONDS, QUIET, patiently
from tailrace.position import epoch_of

POLL_SECONDS = 0.01
PARTITIONERS = ("consistent_random", "murmur2_random")
SETTINGS = {
    "enable.idempotence": True,
    "linger.ms": 2,
    "delivery.timeout.ms": 30_000,
    "queue.buffering.max.messages": 1_000_000,
}
ILLEGAL_TYPE = [("event", b"no\nline break may stand in a type")]


def epoch_at(bootstrap: str, topic: str) -> str:
    """Ask Kafka for the topic's present epoch, as the topic's ids have it. Blocks."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    cluster_id = str(patiently(lambda: admin.list_topics(topic, timeout=ADMIN_SECONDS)).cluster_id)
    described = patiently(lambda: admin.describe_topics(TopicCollection([topic]))[topic].result(ADMIN_SECONDS))
    halves = (described.topic_id.get_most_significant_bits(), described.topic_id.get_least_significant_bits())
    return epoch_of(cluster_id, topic, b"".join(half.to_bytes(8, "big", signed=True) for half in halves).hex())


class Delivered(Protocol):
    """What librdkafka calls."""

    def __call__(self, error: KafkaError | None, message: Message) -> None: ...


class Source:
    """Says things to sessions of one topic, whose epoch is known. Its `run` must run beside it."""

    def __init__(
        self, history: History, bootstrap: str, topic: str, epoch: str, rng: random.Random, **settings: Any
    ) -> None:
        self._history = history
        self._topic = topic
        self._epoch = epoch
        self._rng = rng
        more = {key.replace("_", "."): value for key, value in settings.items()}
        self._producers = [
            Producer({"bootstrap.servers": bootstrap, "partitioner": partitioner, **SETTINGS, **QUIET, **more})
            for partitioner in PARTITIONERS
        ]
        self._quiet = asyncio.Event()
        self.said = 0
        self.failed = 0
        self.max_event_bytes = 2**20
        """What is larger must be told as skipped."""

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, in ``size`` more bytes."""
        number = self._history.sending(session)
        value = said(session, number, size)
        kind = Kind.EVENT if len(value) <= self.max_event_bytes else Kind.SKIPPED
        self._produce(session, number, value, kind)

    def say_wrongly(self, session: str) -> None:
        """Say something that cannot be delivered, and must be told as skipped."""
        self._produce(session, self._history.sending(session), b"", Kind.SKIPPED, headers=ILLEGAL_TYPE)

    def end(self, session: str) -> None:
        """Say that the session has ended."""
        self._produce(session, self._history.sending(session), None, Kind.END)

    @property
    def under_way(self) -> int:
        """Of how much it is not known yet what became of it."""
        return sum(map(len, self._producers))

    async def run(self) -> None:
        """Hear what became of everything, until cancelled."""
        while True:
            for producer in self._producers:
                producer.poll(0)
            if not self.under_way:
                self._quiet.set()
            await asyncio.sleep(POLL_SECONDS)

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Speak no more; waits until all that is under way has settled."""
        for producer in self._producers:
            await asyncio.to_thread(producer.close)

    def _produce(self, session: str, number: int, value: bytes | None, kind: Kind, **more: Any) -> None:
        delivered: Delivered = partial(self._delivered, session, number, kind)
        producer = self._rng.choice(self._producers)
        try:
            producer.produce(self._topic, value, key=session.encode(), on_delivery=delivered, **more)
        except (BufferError, KafkaException):  # it does not take it at all
            self._history.taken_back(session, number)
        else:
            self._quiet.clear()
            self.said += 1

    def _delivered(self, session: str, number: int, kind: Kind, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self.failed += 1
            self._history.doubtful(session, number)
        else:
            _, at_ms = message.timestamp()
            self._history.acknowledged((self._epoch, partition), offset, session, number, kind, at_ms)


def said(session: str, number: int, size: int, by: str = "librdkafka") -> bytes:
    """Give the value that says a number to a session, in ``size`` more bytes; ``by`` is for whoever reads it."""
    return saying(session, number) + f"{by} {'x' * size}".encode()


def saying(session: str, number: int) -> bytes:
    """Give how the value begins that says a number to a session."""
    return f"{session} {number} ".encode()
