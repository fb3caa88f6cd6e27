"""One batch into the tail: decode, append, wake. Takes any batches: `reading` feeds it from Kafka, tests from a list.

A batch is appended whole, then each touched session is woken once; the next batch is appended only when that is done,
or a tail at its bound would evict what nobody had the chance to take. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from tailrace.event import Decoder, Unaddressed
from tailrace.kafka import Stretch
from tailrace.tail import Tail

logger = logging.getLogger(__name__)

COMPLAIN_EVERY_SECONDS = 60.0
"""A producer that forgets the key would otherwise write as much log as data."""

Batch = tuple[Mapping[tuple[str, int], int], Sequence[Stretch]]
"""What was asked for, offsets by (topic, partition), and what came."""


class Intake:
    """Decodes and appends. ``on_stretch`` is told of each stretch, once it has been appended."""

    def __init__(
        self,
        tail: Tail,
        decoder: Decoder,
        clock: Callable[[], float],
        on_stretch: Callable[[Stretch], None] = lambda _: None,
    ) -> None:
        self._tail = tail
        self._decoder = decoder
        self._clock = clock
        self._on_stretch = on_stretch
        self._numbers = {name: number for number, name in enumerate(tail.topics)}
        self._turn = asyncio.Lock()
        self._complained: dict[str, float] = {}
        self.unaddressed: Counter[str] = Counter()
        """Records that belong to no session, by reason."""

    async def consume(self, batches: AsyncIterator[Batch]) -> None:
        """Take in batch after batch. Several leaders may be consumed side by side: they take turns."""
        async for asked, stretches in batches:
            async with self.turn():
                for stretch in stretches:
                    self._append(asked, stretch)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Change the tail alone, then serve everyone whom the changes concern."""
        async with self._turn:
            yield
            for _ in self._tail.wake():
                await asyncio.sleep(0)

    def _append(self, asked: Mapping[tuple[str, int], int], stretch: Stretch) -> None:
        tail, partition = self._tail, stretch.partition
        topic = self._numbers[stretch.topic]
        if tail.next_offset(topic, partition) != asked.get((stretch.topic, partition)):
            return  # the partition jumped while this was under way
        if stretch.records:
            arrival, decode, append = tail.arrival(topic, partition), self._decoder.decode, tail.append
            for record in stretch.records:
                try:
                    append(decode(record, arrival))
                except Unaddressed as trouble:
                    self._complain(trouble.reason, stretch, record.offset)
        tail.advance(topic, partition, stretch.next_offset)
        self._on_stretch(stretch)

    def _complain(self, reason: str, stretch: Stretch, offset: int) -> None:
        self.unaddressed[reason] += 1
        now = self._clock()
        if now - self._complained.get(reason, -COMPLAIN_EVERY_SECONDS) >= COMPLAIN_EVERY_SECONDS:
            self._complained[reason] = now
            where = (stretch.topic, stretch.partition, offset)
            logger.warning(
                "left out a record without a session (%s): topic %s, partition %d, offset %d", reason, *where
            )
