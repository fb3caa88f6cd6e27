"""One batch into the tail: decode, append, wake. Takes any batches: `reading` feeds it from Kafka, tests from a list.

A batch is appended whole, then each touched session is woken once; the next batch is appended only when that is done,
or a tail at its bound would evict what nobody had the chance to take. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from tailrace.event import SKIPPED, Arrival, Decoder, Event, Record
from tailrace.kafka import OversizedBatch, Stretch
from tailrace.log import Seldom
from tailrace.metrics import Lag, Metrics
from tailrace.position import NO_TOPIC
from tailrace.session import Unaddressed
from tailrace.tail import Tail

logger = logging.getLogger(__name__)

RECORDS_AT_ONCE = 4096
"""Appended before the loop has a turn: some ten milliseconds. Mostly an answer brings fewer."""


class Batch(NamedTuple):
    """One fetch: the epochs of all topics when it was asked, the offsets asked for, by (topic, partition), and what
    came."""

    epochs: tuple[str, ...]
    asked: Mapping[tuple[str, int], int]
    stretches: Sequence[Stretch]


class Turn:
    """One turn at the tail, as ``async with`` takes it."""

    __slots__ = ("_lock", "_tail")

    def __init__(self, lock: asyncio.Lock, tail: Tail) -> None:
        self._lock = lock
        self._tail = tail

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for _slice in self._tail.wake() if kind is None else ():
                await asyncio.sleep(0)
        finally:
            self._lock.release()


class Intake:
    """Decodes and appends. ``on_stretch`` is told of each stretch once it has been appended, ``on_sampled`` of each
    event whose producer asked for a trace, with how many read its session."""

    def __init__(
        self,
        tail: Tail,
        decoder: Decoder,
        clock: Callable[[], float],
        on_stretch: Callable[[Stretch], None] = lambda _: None,
        on_sampled: Callable[[Event, int], None] = lambda _event, _readers: None,
        metrics: Metrics | None = None,
    ) -> None:
        self._tail = tail
        self._decoder = decoder
        self._on_stretch = on_stretch
        self._on_sampled = on_sampled
        self._numbers = {name: number for number, name in enumerate(tail.topics)}
        self._turn = asyncio.Lock()
        self._seldom = Seldom(logger, clock)
        self._metrics = metrics or Metrics()
        self._epochs = tail.epochs
        self.lag = Lag()

    async def consume(self, batches: AsyncIterator[Batch]) -> None:
        """Take in batch after batch. Several leaders may be consumed side by side: they take turns."""
        async for epochs, asked, stretches in batches:
            await self._take_in(epochs, asked, stretches)
            del stretches  # while the next ones come: they may be large

    async def _take_in(
        self, epochs: tuple[str, ...], asked: Mapping[tuple[str, int], int], stretches: Sequence[Stretch]
    ) -> None:
        async with self.turn():
            now = self._tail.epochs
            if now != self._epochs:
                self._note_epochs(now)
            for stretch in stretches:
                topic = self._numbers[stretch.topic]
                if epochs[topic] == now[topic]:  # or it is of the topic that was here before
                    await self._append(topic, asked, stretch)

    def turn(self) -> Turn:
        """Change the tail alone, then serve everyone whom the changes concern."""
        return Turn(self._turn, self._tail)

    def jump(self, topic: int, partition: int, offset: int, reason: str) -> None:
        """Pass over a stretch of the log, as `Tail.jump` does, and count it. Call it within a turn."""
        self._metrics.count_jump(reason)
        self._tail.jump(topic, partition, offset, reason)

    def _note_epochs(self, now: tuple[str, ...]) -> None:
        for name, before, epoch in zip(self._tail.topics, self._epochs, now, strict=True):
            if before not in {epoch, NO_TOPIC}:
                logger.warning("topic %s was deleted and made again", name)
                self._metrics.count_identity_change()
                self.lag.forget(name)
        self._epochs = now

    async def _append(self, topic: int, asked: Mapping[tuple[str, int], int], stretch: Stretch) -> None:
        tail, partition = self._tail, stretch.partition
        if tail.next_offset(topic, partition) != asked.get((stretch.topic, partition)):
            return  # the partition jumped while this was under way
        if stretch.records:
            arrival = tail.arrival(topic, partition)
            for begin in range(0, len(stretch.records), RECORDS_AT_ONCE):
                if begin:
                    await asyncio.sleep(0)  # it is our turn: until its end nobody else changes the tail
                self._append_some(stretch, arrival, stretch.records[begin : begin + RECORDS_AT_ONCE])
        tail.advance(topic, partition, stretch.next_offset)
        if stretch.log_start >= 0:
            tail.note_start(topic, partition, stretch.log_start)
        self._measure(stretch)
        if isinstance(stretch.trouble, OversizedBatch):  # nothing is wrong with the partition, and nothing holds it up
            self._on_stretch(stretch._replace(trouble=None))
            self.jump(topic, partition, stretch.trouble.next_offset, "oversized")
        else:
            self._on_stretch(stretch)

    def _append_some(self, stretch: Stretch, arrival: Arrival, records: Sequence[Record]) -> None:
        tail, decode, append = self._tail, self._decoder.decode, self._tail.append
        for record in records:
            try:
                event = decode(record, arrival)
            except Unaddressed as trouble:
                self._complain(trouble.reason, stretch, record.offset)
                continue
            append(event)
            if event.kind is SKIPPED:
                self._metrics.count_skipped(event.type)
            if event.trace is not None:
                self._on_sampled(event, tail.readers(event.session))

    def _measure(self, stretch: Stretch) -> None:
        """Note how much of the log is left; a transaction that is still open holds it back for everyone."""
        if stretch.trouble is not None and not isinstance(stretch.trouble, OversizedBatch):
            self._metrics.count_failure()
        if stretch.high_watermark >= 0:
            newest_ms = stretch.records[-1].timestamp if stretch.records else None
            self.lag.note(stretch.topic, stretch.partition, stretch.high_watermark - stretch.next_offset, newest_ms)

    def _complain(self, reason: str, stretch: Stretch, offset: int) -> None:
        self._metrics.count_unaddressed(reason)
        where = (stretch.topic, stretch.partition, offset)
        told = "left out a record without a session (%s): topic %s, partition %d, offset %d"
        self._seldom.log(logging.WARNING, reason, told, reason, *where)
