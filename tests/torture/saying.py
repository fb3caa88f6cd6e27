"""A worker of somebody else, in a process of its own: ``python -m torture.saying BOOTSTRAP TOPIC COMPRESSION``.

Says by aiokafka what it is told line by line (session, number, size), and answers each with where Kafka has it. It ends
when nothing comes of something for long: this library knows only brokers that it has met, and seeks one that has moved
for ever. Whoever runs it starts it again, as with any worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from crowd.producing import said

STUCK_SECONDS = 15.0
"""Longer than a broker is away that comes back."""
REFRESH_MS = 1000
"""How soon it knows of a partition that was added."""
AGAIN_SECONDS = 0.5


async def connected(bootstrap: str, compression: str) -> AIOKafkaProducer:
    """Give a producer that has found Kafka; it batches, retries and chooses partitions as Java's does."""
    while True:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap.split(","),
            compression_type=None if compression == "none" else compression,
            enable_idempotence=True,
            linger_ms=2,
            metadata_max_age_ms=REFRESH_MS,
        )
        with contextlib.suppress(KafkaError, OSError):  # `TimeoutError` is one
            async with asyncio.timeout(STUCK_SECONDS):
                await producer.start()
                return producer
        with contextlib.suppress(KafkaError, OSError):
            async with asyncio.timeout(STUCK_SECONDS):
                await producer.stop()
        await asyncio.sleep(AGAIN_SECONDS)


async def say(producer: AIOKafkaProducer, topic: str, line: bytes) -> None:
    """Say what one line asks for, and answer it; ends the process where that comes to nothing."""
    session, number, size = json.loads(line)
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            value = said(session, number, size, "aiokafka")
            placed = await producer.send_and_wait(topic, value, key=session.encode())
    except (KafkaError, OSError):  # `TimeoutError` is one
        os._exit(1)  # nobody knows any more what became of whatever is under way
    # It has no offset for what it has offered twice: the broker then says only that it has it already.
    place = [placed.partition, placed.offset, placed.timestamp or 0] if placed.offset >= 0 else None
    print(json.dumps([session, number, len(value), place]), flush=True)


async def main(bootstrap: str, topic: str, compression: str) -> None:
    """Say all that stdin asks for."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    producer = await connected(bootstrap, compression)
    under_way = set[asyncio.Task[None]]()
    async for line in lines:
        task = asyncio.create_task(say(producer, topic, line))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # it tells each attempt to reach a broker that is down
    asyncio.run(main(*sys.argv[1:]))
