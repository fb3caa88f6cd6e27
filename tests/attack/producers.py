"""Records that are meant to harm, by somebody who may write one key of a topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from attack.batches import GZIP, ZSTD, batch, of_zeros, record, with_empty_headers
from attack.wires import Scene
from kafka_cluster import KafkaCluster
from real.raw import appending, produced

PARTITIONS, PARTITION = 3, 0
"""Of the topic, and that of the victim: what is told to all readers of a partition is told to it."""
KEY = b"attacker"
VICTIM_KEY = b"victim"
MIB = 2**20
LARGE_TYPE = 4 * MIB
EMOJI = "😀"
KEYS, KEYS_A_BATCH = 66_000, 1000
YEAR_MS = 365 * 86_400_000
Made = Callable[[], bytes] | Callable[[], Iterator[bytes]]
PAST_EVENTS, PAST_BYTES = 100_000, 250


def gzip_bomb() -> bytes:
    """Return 261 kB that unpack to 256 MiB."""
    return batch(of_zeros(KEY, 256 * MIB), 1, codec=GZIP)


def zstd_bomb() -> bytes:
    """Return 32 kB that unpack to 1000 MiB."""
    return batch(of_zeros(KEY, 1000 * MIB), 1, codec=ZSTD)


def header_bomb() -> bytes:
    """Return 4 kB that hold twenty records with a million empty headers each."""
    return batch((with_empty_headers(number, KEY, 1_000_000) for number in range(20)), 20, codec=ZSTD)


def strange_header_keys() -> bytes:
    """Return a batch of three records for the victim, the second with header keys that are not UTF-8."""
    names = [[], [(b"\xff\xfe", b"x"), ("nom-dé".encode("latin-1"), b"x")], []]
    return batch((record(number, VICTIM_KEY, b"x", each) for number, each in enumerate(names)), 3)


def large_types() -> Iterator[bytes]:
    """Yield 200 batches, some hundred bytes each, whose ``event`` headers have 4 MiB and are all different."""
    for number in range(200):
        name = b"%d" % number + b"t" * LARGE_TYPE
        yield batch([record(0, KEY, b"x", [(b"event", name)])], 1, codec=ZSTD)


def many_keys() -> Iterator[bytes]:
    """Yield batches with 66 000 records, each of a session of its own, whose names are as long as may be."""
    for first in range(0, KEYS, KEYS_A_BATCH):
        keys = (f"{first + each:05}".ljust(256, EMOJI).encode() for each in range(KEYS_A_BATCH))
        yield batch((record(each, key) for each, key in enumerate(keys)), KEYS_A_BATCH, codec=ZSTD)


def strange_times() -> Iterator[bytes]:
    """Yield batches for the victim with time stamps that cannot be, or are of next year."""
    for at_ms in (0, 1, -1, int(time.time() * 1000) + YEAR_MS):
        yield batch([record(0, VICTIM_KEY)], 1, at_ms=at_ms)


async def send(scene: Scene, made: Made) -> None:
    """Send all of these batches, spread over half of the time, and the whole again for each of ``times``."""
    found = made()
    batches = ([found] if isinstance(found, bytes) else list(found)) * scene.sized(1)
    scene.start()
    pause = scene.seconds / 2 / len(batches)
    async with appending(scene.bootstrap, scene.topic, PARTITION) as append:
        scene.tally.connections += 1
        for data in batches:
            code, _ = await append(data)
            scene.tally.notes["taken by Kafka" if code == 0 else f"refused by Kafka, error {code}"] += 1
            scene.tally.requests += 1
            scene.tally.bytes += len(data)
            await scene.pause(pause)
    await scene.pause(scene.seconds)


def past_of_bombs(kafka: KafkaCluster, topic: str) -> int:
    """Let three bombs lie in the log before the service is started, and behind them more than it reads at its start."""
    bombs = (gzip_bomb(), zstd_bomb(), header_bomb())
    asyncio.run(produced(kafka.bootstrap, topic, *bombs, partition=PARTITION))
    return past_of_events(kafka, topic, PAST_EVENTS // 5)


def past_of_events(kafka: KafkaCluster, topic: str, count: int = PAST_EVENTS) -> int:
    """Let events of other sessions lie in the log before the service is started; returns when the last fifth came,
    Unix milliseconds."""
    producer, began = kafka.producer(linger_ms=5, queue_buffering_max_messages=2 * count), 0
    for number in range(count):
        if number == count * 4 // 5:
            began = int(time.time() * 1000)
        producer.produce(topic, b"x" * PAST_BYTES, key=b"past %d" % (number % 100), partition=PARTITION)
    producer.flush()
    return began


@contextmanager
def events_going_on(scene: Scene, per_second: float) -> Iterator[Callable[[], None]]:
    """Yield what produces as many events, in turn to each partition, as are due when it is called."""
    loop = asyncio.get_running_loop()
    producer = Producer({"bootstrap.servers": scene.bootstrap, "linger.ms": 0})
    began, said = loop.time(), 0

    def say() -> None:
        nonlocal said
        due = int((loop.time() - began) * per_second)
        for number in range(said, due):
            producer.produce(scene.topic, b"x" * PAST_BYTES, key=b"others", partition=number % PARTITIONS)
        said = due
        producer.poll(0)

    try:
        yield say
    finally:
        producer.flush(10)
