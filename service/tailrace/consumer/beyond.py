"""Readers whose id lies beyond the end of the log: it was cut off while they were away, and they would wait for ever.

Or until other records stand where theirs did, which they would then be thought to have. A reader that is ahead of this
replica mostly comes from a faster one, and what it waits for is here in a moment. So only those that still wait when
somebody looks are held against a fresh high watermark. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

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
            readers = self._tail.waiting[:READERS_AT_ONCE]
            places = [place for node in self._topology.leaders for place in self._topology.led_by(node)]
            if ahead := {place for reader in readers for place in self._ahead(reader, places)}:
                await self._look(readers, ahead)

    async def _look(self, readers: Sequence[Follower], ahead: set[Place]) -> None:
        """Cut ``readers`` back, who waited before the question, where they are beyond its answer.

        Who left meanwhile takes no notice, and who reads a topic that was made again is ahead no more.
        """
        ends = await self._asking.known(HIGH_WATERMARK, ahead)
        if not any(entry > ends[place] for reader in readers for place, entry in self._ahead(reader, ends).items()):
            return
        if not await self._refreshed():  # of a topic that was made again, the ends are another topic's
            return
        async with self._intake.turn():
            for reader in readers:
                for place, entry in self._ahead(reader, ends).items():
                    if entry > ends[place]:
                        self._cut_back(reader, place)

    def _ahead(self, reader: Follower, places: Iterable[Place]) -> dict[Place, int]:
        """Give those of ``places`` where the reader is ahead of this replica, with its next offset."""
        position, number = reader.position, self._topology.number
        entries = {place: position.entry(number(place[0]), place[1]) for place in places}
        return {
            place: entry
            for place, entry in entries.items()
            if entry > self._tail.next_offset(number(place[0]), place[1])
        }

    def _cut_back(self, reader: Follower, place: Place) -> None:
        topic = self._topology.number(place[0])
        reader.cut_back(topic, place[1], self._tail.next_offset(topic, place[1]), "truncated")
