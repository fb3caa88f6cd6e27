"""Readers whose id lies beyond the end of the log: it was cut off while they were away, and they would wait for ever.

Or until other records stand where theirs did, which they would then be thought to have. A reader that is ahead of this
replica mostly comes from a faster one, and what it waits for is here in a moment. So only those that still wait when
somebody looks are held against a fresh high watermark. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tailrace.ahead import Waiting
from tailrace.consumer.asking import Asking
from tailrace.consumer.intake import Intake
from tailrace.consumer.topology import Topology
from tailrace.kafka import HIGH_WATERMARK
from tailrace.tail import Tail
from tailrace.view import Follower

LOOK_SECONDS = 2.0
"""How long a reader is taken to wait for this replica before the log is suspected."""
READERS_AT_ONCE = 500
"""So many are looked at in one turn of the loop, and the others the next time."""

Place = tuple[str, int]


class Beyond:
    """Looks for such readers, and sends them back to where this replica is. ``refreshed`` asks Kafka who it is; False
    when it does not answer."""

    def __init__(
        self,
        asking: Asking,
        tail: Tail,
        topology: Topology,
        intake: Intake,
        refreshed: Callable[[], Awaitable[bool]],
    ) -> None:
        self._asking = asking
        self._refreshed = refreshed
        self._tail = tail
        self._topology = topology
        self._intake = intake

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if waiting := self._tail.waiting[:READERS_AT_ONCE]:
                await self._look(waiting)

    async def _look(self, waiting: Sequence[Waiting]) -> None:
        """Cut back those of ``waiting`` that are beyond the end of the log.

        First only the ends of the partitions that they wait for are asked for. A reader that is beyond one of them may
        be beyond others as well, so then all are asked for. A reader that has left in between ignores being cut back,
        and one of a topic that was made again is not ahead any more.
        """
        ends = await self._asking.known(HIGH_WATERMARK, {self._named(each.place) for each in waiting})
        beyond = [each.reader for each in waiting if each.offset > ends.get(self._named(each.place), each.offset)]
        if not beyond:
            return
        ends = await self._asking.known(HIGH_WATERMARK, self._asking.everywhere())
        if not await self._refreshed():  # of a topic that was made again, the ends are another topic's
            return
        async with self._intake.turn():
            for reader in beyond:
                self._cut_back(reader, ends)

    def _named(self, place: tuple[int, int]) -> Place:
        return self._tail.topics[place[0]], place[1]

    def _cut_back(self, reader: Follower, ends: Mapping[Place, int]) -> None:
        position, tail = reader.position, self._tail
        for (name, partition), end in ends.items():
            topic = self._topology.number(name)
            at, entry = tail.next_offset(topic, partition), position.entry(topic, partition)
            if entry > max(at, end):
                reader.cut_back(topic, partition, at, "truncated")
        tail.release(reader)
