"""A producer that chooses partitions as Java's does, and batches and retries in its own way: aiokafka's."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import DuplicateSequenceNumber, KafkaError

from crowd.history import History, Kind
from crowd.producing import said

REFRESH_MS = 1000
"""How soon it knows of a partition that was added."""
STUCK_SECONDS = 30.0
START_SECONDS = 30.0
ABANDON_SECONDS = 5.0
BROKEN = (OSError, RuntimeError)
"""How connections are broken: uvloop's also by a `RuntimeError`; `TimeoutError` is an `OSError`."""
POLL_SECONDS = 0.5


class JavaLike:
    """Says things to sessions of one topic, whose epoch is known. A `torture.voices.Voice`; idempotent."""

    def __init__(self, history: History, bootstrap: str, topic: str, epoch: str, compression: str) -> None:
        self._history = history
        self._topic = topic
        self._epoch = epoch
        self._settings = {
            "bootstrap_servers": bootstrap.split(","),
            "compression_type": None if compression == "none" else compression,
            "enable_idempotence": True,
            "linger_ms": 2,
            "metadata_max_age_ms": REFRESH_MS,
        }
        self._producer: AIOKafkaProducer | None = None
        self._started = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self.max_event_bytes = 2**20
        self.said = 0
        self.failed = 0

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, in ``size`` more bytes."""
        number = self._history.sending(session)
        self.said += 1
        task = asyncio.create_task(self._send(session, number, said(session, number, size, "aiokafka")))
        self._sending.add(task)
        task.add_done_callback(partial(self._over, session, number))

    @property
    def under_way(self) -> int:
        """Of how much it is not known yet what became of it."""
        return len(self._sending)

    async def run(self) -> None:
        """Connect once somebody answers, and again when what is under way is stuck, until cancelled."""
        while True:
            self._producer = await self._connected()
            self._started.set()
            await self._until_stuck()
            self._started.clear()
            await abandon(self._producer)
            for task in self._sending:
                task.cancel()

    async def _connected(self) -> AIOKafkaProducer:
        while True:
            producer = AIOKafkaProducer(**self._settings)
            try:
                async with asyncio.timeout(START_SECONDS):
                    await producer.start()
            except (KafkaError, *BROKEN):
                await abandon(producer)
            except asyncio.CancelledError:
                await abandon(producer)
                raise
            else:
                return producer

    async def _until_stuck(self) -> None:
        """Wait until nothing has moved for long. This library knows only brokers that it has met: one that has moved
        it never finds again, and it tries without end."""
        still, before = 0.0, set[asyncio.Task[None]]()
        while still < STUCK_SECONDS:
            await asyncio.sleep(POLL_SECONDS)
            still = still + POLL_SECONDS if self._sending and self._sending >= before else 0.0
            before = before if still else set(self._sending)

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def close(self) -> None:
        """Speak no more."""
        if self._producer is not None:
            await abandon(self._producer)

    async def _send(self, session: str, number: int, value: bytes) -> None:
        await self._started.wait()
        assert self._producer is not None
        placed = await self._producer.send_and_wait(self._topic, value, key=session.encode())
        if placed.offset < 0:
            raise DuplicateSequenceNumber  # the broker was offered it twice, and does not say where it has it
        kind = Kind.EVENT if len(value) <= self.max_event_bytes else Kind.SKIPPED
        log = (self._epoch, placed.partition)
        self._history.acknowledged(log, placed.offset, session, number, kind, placed.timestamp or 0)

    def _over(self, session: str, number: int, task: asyncio.Task[None]) -> None:
        """Whatever has kept it, also if it was cancelled before it had begun: nobody knows what became of it."""
        self._sending.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.failed += 1
            self._history.doubtful(session, number)


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer, whatever it still has to say: its own `stop` would wait for that."""
    producer._closed = True  # or it complains of having been left
    with contextlib.suppress(*BROKEN):
        async with asyncio.timeout(ABANDON_SECONDS):
            await producer.client.close()
    if tasks := [task for task in asyncio.all_tasks() if of_sender(task, producer)]:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ABANDON_SECONDS)


def of_sender(task: asyncio.Task[Any], producer: AIOKafkaProducer) -> bool:
    """Whether the producer has begun the task to send something: it keeps no list of them, and some never end."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame is not None and frame.f_locals.get("self") is producer._sender
