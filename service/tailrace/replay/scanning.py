"""Reads one partition for one pass, from where it begins to where it ends, whatever happens to Kafka meanwhile.

A broker that is away delays the pass and ends nothing. What the log no longer holds, and a batch that cannot be read,
is passed over, and whoever lacks it is told. The topic's identity is asked for before and after, so that records of a
topic that was made again are not taken for those of the old one. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from tailrace.consumer import CORRUPT_TRIES, Cluster, jittered
from tailrace.errors import KafkaTrouble
from tailrace.kafka import EARLIEST, CorruptBatch, NotLeader, OffsetOutOfRange, OversizedBatch, Stretch
from tailrace.metrics import Metrics
from tailrace.position import epoch_of
from tailrace.reader import Reader
from tailrace.replay.passing import Pass
from tailrace.tail import WAKE_SLICE_SECONDS, Tail

logger = logging.getLogger(__name__)

FETCH_BYTES = 256 * 1024
"""Of one answer: some two milliseconds of the event loop, which live reading has to wait for."""
FETCH_WAIT_MS = 100
"""How long the broker may wait for a record below the floor; one is there, unless all of them were compacted away."""
TAKEN_AT_ONCE = 4096
"""Records handed over before the loop has a turn: a millisecond, where few of them are for a reader. Mostly an answer
brings fewer; a large batch comes whole."""
BACKOFF_SECONDS = (0.1, 2.0)
"""Pause after trouble, doubled each time between these, with jitter."""
PARSE_SECONDS = 3e-6
"""What a record has cost before we see it. A pass rests for as long as it works, so that it takes at most half of the
loop from live reading, and all passes together at most as much for each of them."""


class MadeAgain(KafkaTrouble):
    """The topic is not the one that readers asked for: they will be told by the tail."""


class Scanner:
    """Reads for passes. ``kafka`` has connections of its own; ``refreshed`` waits for the tail to know the cluster's
    present identity."""

    def __init__(
        self,
        kafka: Cluster,
        tail: Tail,
        *,
        refreshed: Callable[[], Awaitable[object]],
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._kafka = kafka
        self._tail = tail
        self._refreshed = refreshed
        self._metrics = metrics
        self._clock = clock

    async def scan(self, one: Pass, gives_way: Callable[[Pass], bool] = lambda _: False) -> None:
        """Read until the pass is over, or ``gives_way``. Never raises for what Kafka does."""
        pause = BACKOFF_SECONDS[0]
        while not (one.is_over() or gives_way(one)):
            at = one.at
            try:
                await self._read(one, gives_way)
            except KafkaTrouble:
                self._metrics.count_failure()
                pause = min(pause * 2, BACKOFF_SECONDS[1]) if one.at == at else BACKOFF_SECONDS[0]
                await asyncio.sleep(jittered(pause))

    async def _read(self, one: Pass, gives_way: Callable[[Pass], bool]) -> None:
        """Read until the pass is over or gives way, or there is trouble."""
        node, ids = await self._leader(one)
        tries = Counter[int]()
        while not (one.is_over() or gives_way(one)):
            stretch = await self._fetched(one, node, ids)
            began, at = self._clock(), one.at
            await self._take(one, stretch)
            if isinstance(stretch.trouble, OversizedBatch):
                await self.serve(one.skip(stretch.trouble.next_offset, "oversized"))
            elif isinstance(stretch.trouble, CorruptBatch):
                await self._look_at_damage(one, stretch.trouble, tries)
            elif isinstance(stretch.trouble, OffsetOutOfRange):
                await self._find_start(one, node, stretch.trouble)
            elif stretch.trouble is not None:
                raise stretch.trouble
            worked = self._clock() - began + len(stretch.records) * PARSE_SECONDS
            del stretch  # which may be large, and the rest may be long
            await asyncio.sleep(worked if one.at > at else jittered(BACKOFF_SECONDS[0]))
        await self._leader(one)

    async def _leader(self, one: Pass) -> tuple[int, Mapping[str, str]]:
        """Return the node that leads the partition, and the topic's id, having seen that it is the one asked for."""
        identity = await self._kafka.identity()
        said = identity.topics[one.name]
        if said.trouble is not None:
            raise said.trouble
        if epoch_of(identity.cluster_id, one.name, said.id) != one.epoch:
            await self._refreshed()
            raise MadeAgain(f"topic {one.name} was deleted and made again")
        leader = said.leaders[one.partition] if one.partition < len(said.leaders) else None
        if leader is None:
            raise NotLeader(one.name, one.partition)
        return leader, {} if said.id is None else {one.name: said.id}

    async def _fetched(self, one: Pass, node: int, ids: Mapping[str, str]) -> Stretch:
        limits = {"max_wait_ms": FETCH_WAIT_MS, "min_bytes": 1, "max_bytes": FETCH_BYTES}
        stretches = await self._kafka.fetch(node, {one.named: one.at}, ids, **limits)
        if not stretches:
            raise NotLeader(one.name, one.partition)
        self._metrics.count_scan(len(stretches[0].records))
        one.count(len(stretches[0].records))
        return stretches[0]

    async def _take(self, one: Pass, stretch: Stretch) -> None:
        """Hand over what ``stretch`` brings, some records at a time."""
        records, begin = stretch.records, 0
        while len(records) - begin > TAKEN_AT_ONCE:
            end = begin + TAKEN_AT_ONCE
            some = stretch._replace(records=records[begin:end], next_offset=records[end].offset)
            await self.serve(one.take(some))
            await asyncio.sleep(0)
            begin = end
        await self.serve(one.take(stretch._replace(records=records[begin:])))

    async def _look_at_damage(self, one: Pass, trouble: CorruptBatch, tries: Counter[int]) -> None:
        tries[trouble.first_offset] += 1
        if tries[trouble.first_offset] == CORRUPT_TRIES:
            logger.error("a replay jumps from %d to %d: %s", trouble.first_offset, trouble.next_offset, trouble)
            await self.serve(one.skip(trouble.next_offset, "unreadable"))

    async def _find_start(self, one: Pass, node: int, trouble: OffsetOutOfRange) -> None:
        """Go on where the log begins now: retention has overtaken whoever waits."""
        start = (await self._kafka.offsets(node, [one.named], EARLIEST)).get(one.named)
        if not isinstance(start, int) or start <= one.at:
            raise trouble  # it was cut off, which live reading finds, too
        await self._leader(one)  # or it is the start of a topic that was made again
        if one.epoch == self._tail.epochs[one.topic]:
            self._tail.note_start(*one.place, start)
            await self.serve(one.skip(start, "retention"))

    async def close(self) -> None:
        """Close the connections."""
        await self._kafka.close()

    async def serve(self, readers: Iterable[Reader]) -> None:
        """Flush each of ``readers``; an exception ends one of them."""
        slice_ends = self._clock() + WAKE_SLICE_SECONDS
        for reader in readers:
            try:
                reader.flush()
            except Exception as error:  # noqa: BLE001  one reader's trouble is its own
                reader.fail(error)
            if self._clock() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = self._clock() + WAKE_SLICE_SECONDS
