"""Where to begin in each partition, and when the tail is warm.

Reading begins some seconds before the end, so that a restart under ten thousand clients costs one scan and not ten
thousand: most reconnects are then answered from memory. Until every partition's end was known once and has been
reached, streams are told to come back. Lives as long as the service; after the start it has nothing more to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from tailrace.consumer.topology import Topology
from tailrace.errors import KafkaTrouble
from tailrace.kafka import EARLIEST, LATEST
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
        self._ends: dict[tuple[str, int], int] = {}

    def expect(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Hold back until these have begun."""
        for place in partitions:
            self._unbegun[place] = "{}/{}: its end is not known yet".format(*place)

    @property
    def waiting(self) -> list[str]:
        """What it waits for, a sentence each; empty when warm."""
        if not self._topology.known:
            return ["Kafka has not answered yet"]
        behind = [place for place, end in self._ends.items() if self._next(place) < end]
        return [
            *self._unbegun.values(),
            *("{}/{}: reading what came before the start".format(*place) for place in behind),
        ]

    def begun(self, place: tuple[str, int]) -> bool:
        """Whether the partition may be read."""
        return place not in self._unbegun

    async def begin(self, kafka: Offsets, node: int) -> None:
        """Ask ``node`` where its partitions end, and begin before that; one that cannot say is asked again later."""
        mine = [place for place in self._topology.led_by(node) if place in self._unbegun]
        if not mine:
            return
        ends = await kafka.offsets(node, mine, LATEST)
        starts = await kafka.offsets(node, mine, EARLIEST)
        since = await kafka.offsets(node, mine, int((time.time() - self._seconds) * 1000))
        for place in mine:
            end, start, by_time = ends.get(place), starts.get(place), since.get(place)
            if isinstance(end, int) and isinstance(start, int):
                self._begin(place, start, end, by_time if isinstance(by_time, int) else end)
            else:
                self._unbegun[place] = f"{place[0]}/{place[1]}: {end if isinstance(end, KafkaTrouble) else start}"

    def _begin(self, place: tuple[str, int], start: int, end: int, by_time: int) -> None:
        partitions = max(1, sum(self._tail.partitions(number) for number in range(len(self._tail.topics))))
        share = self._tail.max_bytes // partitions // LEAST_EVENT_BYTES
        back = min(max(end - by_time, LEAST_RECORDS), share)
        self._tail.begin(self._topology.number(place[0]), place[1], max(start, end - back))
        self._ends[place] = end
        del self._unbegun[place]

    def _next(self, place: tuple[str, int]) -> int:
        return self._tail.next_offset(self._topology.number(place[0]), place[1])
