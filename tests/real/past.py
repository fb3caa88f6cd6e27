"""What was said while a client was away, and has left the service's memory since: it has to be read from Kafka again.

Every partition of every topic counts for itself, so that nothing can go missing, twice or out of order unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from kafka_cluster import KafkaCluster, produce
from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import TRANSPORTS, sse, websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from confluent_kafka import Producer

    from real.transports import Item, Transport

MEMORY = 2**20
"""The least that a service may be given, in bytes."""
OTHERS, OTHER_BYTES = 40, 50_000
"""Records that leave no room in it for anything else, and their size."""

BEFORE = 5
"""Numbers said in each partition before a client goes."""

Place = tuple[str, int]
"""Topic and partition."""


def service_of(kafka: KafkaCluster, *topics: str, **settings: Any) -> ServiceProcess:
    """Make a service with a short memory, that knows both addresses of the broker."""
    return ServiceProcess(kafka.both_bootstraps, ",".join(topics), **{"tail_max_bytes": MEMORY, **settings})


class Past:
    """Numbers said to one session, in each partition of ``topics`` from 0 on; ``config`` is a producer's."""

    def __init__(self, kafka: KafkaCluster, session: str, topics: Mapping[str, int], **config: Any) -> None:
        self._kafka = kafka
        self._session = session
        self._config = config
        self.said: dict[Place, int] = {}
        for topic, partitions in topics.items():
            self.grow(topic, partitions)

    def grow(self, topic: str, partitions: int) -> None:
        """Say something to these partitions of the topic, too."""
        self.said |= {(topic, number): self.said.get((topic, number), 0) for number in range(partitions)}

    def say(self, count: int = 1, *, size: int = 0, **more: Any) -> None:
        """Say the next ``count`` numbers in every partition, each in so many bytes, and wait until Kafka has them."""
        producer = self._kafka.producer(**self._config)
        for (topic, partition), first in self.said.items():
            values = [f"{topic} {partition} {first + each} ".encode().ljust(size, b".") for each in range(count)]
            produce(producer, topic, partition, values, key=self._session, **more)
            self.said[topic, partition] = first + count

    @property
    def total(self) -> int:
        """How much was said."""
        return sum(self.said.values())

    def since(self, first: int) -> dict[Place, list[int]]:
        """Give what comes from a number on, by partition."""
        return {place: list(range(first, end)) for place, end in self.said.items()}

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Say more, again and again, as long as the block lasts."""
        over = asyncio.Event()

        async def go_on() -> None:
            while not over.is_set():
                await asyncio.to_thread(self.say)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            over.set()
            await task


def heard(events: Iterable[Item]) -> dict[Place, list[int]]:
    """Sort what came by partition, in the order of arrival."""
    found: dict[Place, list[int]] = defaultdict(list)
    for event in events:
        topic, partition, number, *_ = event.data.split(" ")
        found[topic, int(partition)].append(int(number))
    return dict(found)


async def id_before(service: ServiceProcess, past: Past, session: str, **more: Any) -> str:
    """Let a client hear the first numbers, said as `Past.say` is told; give the id that it leaves with."""
    async with Client([service], [websocket], ask(service, session)) as client:
        await asyncio.to_thread(past.say, BEFORE, **more)
        await client.until_events(past.total)
    return client.last_id


@contextlib.asynccontextmanager
async def those_back(
    service: ServiceProcess, session: str, last_id: str, transports: Sequence[Transport] = tuple(TRANSPORTS.values())
) -> AsyncIterator[list[Client]]:
    """A client over each transport that comes back with ``last_id``."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client([service], [transport], ask(service, session, last_id)))
            for transport in transports
        ]


async def push_out(producer: Producer, service: ServiceProcess, topic: str, partition: int = 0) -> None:
    """Have the service read so much of another session that it remembers nothing of what came before."""
    others = fresh("others")
    async with Client([service], [sse], ask(service, others)) as witness:
        values = [b"x" * OTHER_BYTES] * OTHERS
        await asyncio.to_thread(
            produce, producer, topic, partition, values, key=others, headers=[("to", others.encode())]
        )
        await witness.until_events(OTHERS)


def reasons(client: Client) -> list[str]:
    """Give why the client was told of gaps."""
    return [told["reason"] for told in client.controls("reset")]


def resumed(client: Client) -> list[bool]:
    """Give what each of its connections was told at first."""
    return [told["resumed"] for told in client.controls("ready")]


def replayed(client: Client) -> list[int]:
    """Give of how many events each of its connections was told, once it was live."""
    return [told["replayed"] for told in client.controls("live")]


def before_reset(client: Client) -> Sequence[Item]:
    """Give the events that came before the first reset."""
    first = [item.name for item in client.items].index("tailrace.reset")
    return client.events[: sum(item in client.events for item in client.items[:first])]


async def until_live(client: Client) -> None:
    """Wait until the client was told that it has all there was."""
    await client.until(lambda: bool(client.controls("live")))
