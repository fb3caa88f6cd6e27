"""Where to begin in each partition, and when the tail is warm.

Reading begins some seconds before the end, so that a restart under ten thousand clients costs one scan and not ten
thousand: most reconnects are then answered from memory. Until every partition's end was known once and has been
reached, streams are told to come back. Lives as long as the service; after the start it has nothing more to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from tailrace.consumer.topology import Topology
from tailrace.errors import KafkaTrouble
from tailrace.kafka import EARLIEST, LATEST, Stretch
from tailrace.tail import Tail

LEAST_RECORDS = 1000
"""Read back at least so many, however old: a quiet topic's last words are what its clients come back for."""
LEAST_EVENT_BYTES = 500
"""What an event costs the tail at the very least: more than its share would be read only to be evicted."""

Answer = Mapping[tuple[str, int], int | KafkaTrouble | None]


class Offsets(Protocol):
    """Who knows where partitions begin and end: `Kafka.offsets`."""

    async def offsets(self, node: int, partitions: list[tuple[str, int]], when: int) -> Answer: ...


class Warmup:
    """What is still missing until the tail is warm."""

    def __init__(self, tail: Tail, topology: Topology, *, seconds: float) -> None:
        self._tail = tail
        self._topology = topology
        self._seconds = seconds
        self._unbegun: dict[tuple[str, int], str] = {}
        self._ends: dict[tuple[str, int], tuple[str, int]] = {}
        """Where each partition ended at the start, and in which epoch: a topic made again ends elsewhere."""

    def expect(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Hold back until these have begun."""
        for place in partitions:
            self._note_trouble(place, None)

    @property
    def waiting(self) -> list[str]:
        """What it waits for, a sentence each; empty when warm."""
        if not self._topology.known:
            return ["Kafka has not answered yet"]
        behind = {place: self._left(place, end[1]) for place, end in self._ends.items() if self._is_behind(place, *end)}
        return [
            *self._topology.unmet,
            *(why for place, why in self._unbegun.items() if self._exists(place)),
            *(f"{_named(place)} has {left} offsets left to read" for place, left in behind.items()),
        ]

    def note(self, stretch: Stretch) -> None:
        """Take a partition that has nothing more to give for warm: its end may lie lower than it was told at first,
        after an unclean leader election for one. A broker that is not asked as read_committed gives no last stable
        offset."""
        end = stretch.high_watermark if stretch.last_stable < 0 else stretch.last_stable
        if self._ends and stretch.trouble is None and 0 <= end <= stretch.next_offset:
            self._ends.pop((stretch.topic, stretch.partition), None)

    @property
    def unbegun(self) -> AbstractSet[tuple[str, int]]:
        """Partitions that may not be read yet."""
        return self._unbegun.keys()

    def begun(self, place: tuple[str, int]) -> bool:
        """Whether the partition may be read."""
        return place not in self._unbegun

    async def begin(self, kafka: Offsets, node: int, mine: list[tuple[str, int]]) -> None:
        """Ask ``node`` where ``mine`` end, and begin before that; one that cannot say has not begun then."""
        if not mine:
            return
        epochs = self._tail.epochs
        ends = await kafka.offsets(node, mine, LATEST)
        starts = await kafka.offsets(node, mine, EARLIEST)
        since = await kafka.offsets(node, mine, int((time.time() - self._seconds) * 1000))
        if self._tail.epochs != epochs:
            return  # said of a topic that was made again meanwhile
        for place in mine:
            end, start, by_time = ends.get(place), starts.get(place), since.get(place)
            if isinstance(end, int) and isinstance(start, int):
                self._begin(place, start, end, by_time if isinstance(by_time, int) else end)
            else:
                self._note_trouble(place, end if isinstance(end, KafkaTrouble) else start)

    def _note_trouble(self, place: tuple[str, int], trouble: object) -> None:
        known = isinstance(trouble, KafkaTrouble)  # it names its place itself
        self._unbegun[place] = str(trouble) if known else f"{_named(place)} has not told its end yet"

    def _begin(self, place: tuple[str, int], start: int, end: int, by_time: int) -> None:
        partitions = max(1, sum(self._tail.partitions(number) for number in range(len(self._tail.topics))))
        share = self._tail.max_bytes // partitions // LEAST_EVENT_BYTES
        back = min(max(end - by_time, LEAST_RECORDS), share)
        self._tail.begin(self._topology.number(place[0]), place[1], max(start, end - back))
        self._tail.note_start(self._topology.number(place[0]), place[1], start)
        self._ends[place] = (self._epoch(place), end)
        del self._unbegun[place]

    def _is_behind(self, place: tuple[str, int], epoch: str, end: int) -> bool:
        return epoch == self._epoch(place) and self._exists(place) and self._left(place, end) > 0

    def _left(self, place: tuple[str, int], end: int) -> int:
        return end - self._tail.next_offset(self._topology.number(place[0]), place[1])

    def _epoch(self, place: tuple[str, int]) -> str:
        return self._tail.epochs[self._topology.number(place[0])]

    def _exists(self, place: tuple[str, int]) -> bool:
        known = self._tail.partitions(self._topology.number(place[0]))
        return place[1] < known and not self._topology.is_gone(place[0])


def _named(place: tuple[str, int]) -> str:
    return "topic {}, partition {}".format(*place)
