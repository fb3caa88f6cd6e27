"""Questions about offsets, put to whoever leads the partitions: where the log ends now, and where it was at some time.

For those who are about to be admitted, many at once: one question about ends serves all who came before it was asked.
Lives as long as the service; knows no reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tailrace.consumer.topology import Topology
from tailrace.errors import KafkaTrouble
from tailrace.kafka import EARLIEST, HIGH_WATERMARK, LATEST, BrokerError, NotLeader, Stretch
from tailrace.tail import Tail

if TYPE_CHECKING:
    from tailrace.consumer.warmup import Offsets

ANSWER_SECONDS = 1.0
"""For the log's ends. Whoever asks is about to be admitted, and can be without an answer: others look again later."""

EARLIER_MS = (1000, 60_000, 3_600_000)
"""How much earlier a time is asked for where nothing can be said of the one that is wanted: mostly a batch is short."""

Place = tuple[str, int]


class Asking:
    """Asks each leader once, for all of its partitions."""

    def __init__(self, kafka: Offsets, tail: Tail, topology: Topology) -> None:
        self._kafka = kafka
        self._tail = tail
        self._topology = topology
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0
        self._ends: dict[Place, int] = {}
        self._newest: dict[Place, tuple[str, int]] = {}
        """By partition, in which epoch this replica has read it, and the greatest timestamp (Unix ms) that it met."""

    def note(self, stretch: Stretch) -> None:
        """Learn how new the records are that this replica has read. Call it for each stretch once it was appended."""
        place = stretch.topic, stretch.partition
        if stretch.newest_ms > self._newest_ms(place):
            self._newest[place] = self._epoch(place), stretch.newest_ms

    async def ends(self) -> list[list[int]]:
        """Return high watermarks asked for from now on, by topic and partition; a topic without an answer has none."""
        came = self._asked
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turn:
                if self._answered <= came:
                    self._asked += 1
                    number = self._asked
                    self._ends = await self.known(HIGH_WATERMARK, self.everywhere())
                    self._answered = number
        except TimeoutError:
            return [[] for _ in self._tail.topics]
        return self._by_topic(self._ends)

    async def since(self, when_ms: int) -> list[list[int]]:
        """Return the offsets of the first records that are not older than ``when_ms``, by topic and partition.

        Where there is none, that is where this replica was before it asked: what comes meanwhile is one. Where a leader
        cannot read what lies there, or has deleted it, it may be an earlier one.

        Raises `KafkaTrouble` when a leader does not tell, or does not see yet what this replica has read: one that has
        just begun to lead may for a moment know of an earlier end, and of nothing behind it.
        """
        here = {place: self._here(place) for place in self.everywhere()}
        answers = await self._by_time(when_ms, here)
        ends = dict[Place, int | None]()
        if none := [place for place, offset in answers.items() if offset is None]:
            # One that has just come back sees all a moment later: its end is asked for in between, not before or after.
            ends = await self._told(LATEST, none)
            answers |= await self._by_time(when_ms, none)
        # Kafka looks only into the first segment whose greatest timestamp is not older. Where DeleteRecords (KIP-107)
        # has taken what was not older there, it says that there is none, whatever later segments hold.
        hidden = [place for place in none if answers[place] is None and self._newest_ms(place) >= when_ms]
        answers |= await self._told(EARLIEST, hidden)
        found: dict[Place, int] = {}
        for place, offset in answers.items():
            if offset is None and (ends.get(place) or 0) < here[place]:
                raise NotLeader(*place)
            found[place] = here[place] if offset is None else offset
        rows = self._by_topic(found)
        for number, (name, row) in enumerate(zip(self._tail.topics, rows, strict=True)):
            if len(row) < self._tail.partitions(number):
                raise NotLeader(name, len(row))
        return rows

    async def _told(self, when: int, places: Iterable[Place]) -> dict[Place, int | None]:
        """Return what every leader answers. Raises `KafkaTrouble` where one does not."""
        return {place: _good(offset) for place, offset in (await self._ask(when, places, tolerant=False)).items()}

    async def _by_time(self, when_ms: int, places: Iterable[Place]) -> dict[Place, int | None]:
        """Return what every leader answers to a time.

        A leader that would have to read a batch, and cannot, says only that something is wrong; then it is asked for
        earlier times, and at last where the log begins.
        """
        found: dict[Place, int | None] = {}
        for when in (when_ms, *(max(0, when_ms - earlier) for earlier in EARLIER_MS), EARLIEST):
            answers = await self._ask(when, places, tolerant=False)
            places = [
                place for place, offset in answers.items() if isinstance(offset, BrokerError) and when != EARLIEST
            ]
            found |= {place: _good(offset) for place, offset in answers.items() if place not in places}
            if not places:
                break
        return found

    async def known(self, when: int, places: Iterable[Place]) -> dict[Place, int]:
        """Return what can be had now of `Kafka.offsets` for ``places``."""
        answers = await self._ask(when, places, tolerant=True)
        return {place: offset for place, offset in answers.items() if isinstance(offset, int)}

    async def _ask(
        self, when: int, places: Iterable[Place], *, tolerant: bool
    ) -> dict[Place, int | KafkaTrouble | None]:
        wanted, found = set(places), dict[Place, int | KafkaTrouble | None]()
        for node in self._topology.leaders:
            if mine := [place for place in self._topology.led_by(node) if place in wanted]:
                try:
                    found |= await self._kafka.offsets(node, mine, when)
                except KafkaTrouble:
                    if not tolerant:
                        raise
        if not tolerant and (unasked := wanted - found.keys()):
            raise NotLeader(*min(unasked))
        return found

    def everywhere(self) -> list[Place]:
        """Return all partitions that are led by somebody."""
        return [place for node in self._topology.leaders for place in self._topology.led_by(node)]

    def is_told(self, topic: int) -> bool:
        """Whether the cluster, when it was last asked who it is, told the topic's partitions, or that it has none."""
        return self._topology.is_told(self._tail.topics[topic])

    def _here(self, place: Place) -> int:
        return self._tail.next_offset(self._topology.number(place[0]), place[1])

    def _epoch(self, place: Place) -> str:
        return self._tail.epochs[self._topology.number(place[0])]

    def _newest_ms(self, place: Place) -> int:
        epoch, newest_ms = self._newest.get(place, ("", -1))
        return newest_ms if epoch == self._epoch(place) else -1

    def _by_topic(self, offsets: dict[Place, int]) -> list[list[int]]:
        """Arrange by topic; as far as a topic's partitions are told without a hole."""
        found: list[list[int]] = []
        for name in self._tail.topics:
            row: list[int] = []
            while (offset := offsets.get((name, len(row)))) is not None:
                row.append(offset)
            found.append(row)
        return found


def _good(offset: int | KafkaTrouble | None) -> int | None:
    if isinstance(offset, KafkaTrouble):
        raise offset
    return offset
