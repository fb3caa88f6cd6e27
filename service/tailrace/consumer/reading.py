"""`Consumer`: the tasks that read. One asks who the leaders are; one per leader fetches, one request at a time.

A broker that is away disconnects no client and delays only its own partitions; reading goes on from the tail's next
offset when it is back. Nothing is paused for ever. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from tailrace.consumer.asking import Asking
from tailrace.consumer.beyond import Beyond
from tailrace.consumer.continuity import Continuity, Policies
from tailrace.consumer.intake import Batch, Intake
from tailrace.consumer.pace import IDLE_WAIT_MS, Pace, jittered
from tailrace.consumer.topology import Topology
from tailrace.consumer.warmup import Offsets, Warmup
from tailrace.consumer.withheld import Withheld
from tailrace.errors import KafkaTrouble
from tailrace.event import Decoder, Event
from tailrace.kafka import EARLIEST, LATEST, CorruptBatch, Identity, NotLeader, OffsetOutOfRange, Stretch, UnknownTopic
from tailrace.metrics import Metrics
from tailrace.tail import Tail

logger = logging.getLogger(__name__)

IDENTITY_SECONDS = 2.0
"""How often the cluster is asked who it is: how soon new partitions and leaders are noticed."""
IDENTITY_AT_LEAST_SECONDS = 0.25
"""However many ask for it, no more often than this."""
BACKOFF_SECONDS = (0.1, 2.0)
"""Pause after trouble with a broker, doubled each time between these, with jitter."""
MAX_FETCH_BYTES = 4 * 1024 * 1024
"""Of one answer: parsing runs on the event loop, and this is some ten milliseconds of it."""
CORRUPT_TRIES = 3
"""A batch that could not be read so often is jumped over."""


class Cluster(Offsets, Policies, Protocol):
    """Whom to ask: `Kafka`, or what tests put in its place."""

    async def identity(self) -> Identity: ...
    async def fetch(
        self,
        node: int,
        offsets: Mapping[tuple[str, int], int],
        ids: Mapping[str, str],
        *,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
    ) -> list[Stretch]: ...
    async def close(self) -> None: ...


class Consumer:
    """Reads all partitions of the topics into the tail: any client may be here, so every replica reads everything."""

    def __init__(
        self,
        kafka: Cluster,
        tail: Tail,
        decoder: Decoder,
        *,
        warmup_seconds: float,
        idle_wait_ms: int = IDLE_WAIT_MS,
        clock: Callable[[], float] = time.monotonic,
        on_sampled: Callable[[Event, int], None] = lambda _event, _readers: None,
        metrics: Metrics | None = None,
    ) -> None:
        self._kafka = kafka
        self._tail = tail
        self._idle_wait_ms = idle_wait_ms
        self._clock = clock
        self._metrics = metrics or Metrics()
        self.intake = Intake(tail, decoder, clock, self._note, on_sampled, self._metrics)
        self._topology = Topology(tail)
        self._warmup = Warmup(tail, self._topology, seconds=warmup_seconds)
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._continuity = Continuity(kafka, tail)
        self.asking = Asking(kafka, tail, self._topology)
        self._beyond = Beyond(self.asking, tail, self._topology, self.intake, self.refreshed)
        self._corrupt: dict[tuple[str, int], tuple[int, int]] = {}
        """By partition, the offset of the batch that cannot be read, and how often it could not."""
        self._astray: set[tuple[str, int]] = set()
        """Partitions that do not hold the offset asked for."""
        self._withheld = Withheld(clock)
        self._cluster_trouble = ""
        self._node_troubles: dict[int, str] = {}
        self._place_troubles: dict[tuple[str, int], str] = {}
        self._ask_now = asyncio.Event()
        self._asked: asyncio.Future[bool] | None = None
        self._was_warm = False

    # What others want to know.

    @property
    def waiting(self) -> list[str]:
        """What streams have to wait for, in words an operator can act on; once empty, empty for ever."""
        self._was_warm = self._was_warm or not (waiting := self._warmup.waiting or self._continuity.waiting)
        return [] if self._was_warm else ([self._cluster_trouble] if self._cluster_trouble else waiting)

    @property
    def degraded(self) -> list[str]:
        """What is wrong with Kafka now, though clients stay connected."""
        cluster = [self._cluster_trouble] if self._cluster_trouble else []
        led = [why for place, why in self._place_troubles.items() if self._topology.is_led(place)]
        places = [*self._topology.troubles.values(), *led]
        return list(dict.fromkeys([*cluster, *self._node_troubles.values(), *places]))

    @property
    def continuity(self) -> str:
        """Whether Kafka keeps what it was given: ``complete``, or ``compacted`` for one topic at least."""
        return self._continuity.word

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of every partition whose reading has begun."""
        return {
            (name, partition): self._tail.next_offset(number, partition)
            for number, name in enumerate(self._tail.topics)
            for partition in range(self._tail.partitions(number))
            if self._warmup.begun((name, partition))
        }

    async def refreshed(self) -> bool:
        """Wait for an identity asked for from now on, shared by all who wait; False when Kafka does not answer."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._ask_now.set()
        return await asyncio.shield(self._asked)

    # The tasks.

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._continuity.run(), name="ask for policies")
                tasks.create_task(self._beyond.run(), name="look for readers beyond the log")
                while True:
                    await self._ask_identity(tasks)
                    await self._pause_identity()
        finally:
            await self._kafka.close()

    async def _ask_identity(self, tasks: asyncio.TaskGroup) -> None:
        self._ask_now.clear()
        number, waiting, self._asked = self._withheld.ask(), self._asked, None
        try:
            identity = await self._kafka.identity()
        except KafkaTrouble as trouble:
            self._cluster_trouble = str(trouble)
            self._metrics.count_failure()
        else:
            self._cluster_trouble = ""
            async with self.intake.turn():
                self._warmup.expect(self._topology.take_up(identity))
                self._withheld.known(number)
            self._continuity.look()
            self._start_readers(tasks)
        if waiting is not None and not waiting.done():
            waiting.set_result(not self._cluster_trouble)

    async def _pause_identity(self) -> None:
        await asyncio.sleep(IDENTITY_AT_LEAST_SECONDS)
        try:
            async with asyncio.timeout(IDENTITY_SECONDS - IDENTITY_AT_LEAST_SECONDS):
                await self._ask_now.wait()
        except TimeoutError:
            pass

    def _start_readers(self, tasks: asyncio.TaskGroup) -> None:
        for node in self._topology.leaders:
            if node not in self._readers or self._readers[node].done():
                self._readers[node] = tasks.create_task(self._read(node), name=f"read from node {node}")

    async def _read(self, node: int) -> None:
        """Read what ``node`` leads until it leads nothing; after trouble with it, pause and go on."""
        pause = BACKOFF_SECONDS[0]
        while node in self._topology.leaders:
            try:
                await self._find_places(node)
                await self.intake.consume(self._batches(node))
                if self._next_offsets(node):
                    continue  # it ended only to ask where a partition begins or ends
                pause = BACKOFF_SECONDS[0]
            except KafkaTrouble as trouble:
                pause = min(pause * 2, BACKOFF_SECONDS[1]) if node in self._node_troubles else BACKOFF_SECONDS[0]
                self._node_troubles[node] = str(trouble)
                self._metrics.count_failure()
                self._ask_now.set()
            await asyncio.sleep(jittered(pause))
        self._node_troubles.pop(node, None)

    async def _batches(self, node: int) -> AsyncIterator[Batch]:
        """Fetch from ``node``, one request at a time, until a partition needs to be asked where it begins or ends."""
        pace = Pace(self._clock, self._idle_wait_ms)
        while asked := self._next_offsets(node):
            epochs, ids = self._tail.epochs, self._topology.ids
            max_wait_ms, min_bytes = pace.next()
            stretches = await self._kafka.fetch(
                node, asked, ids, max_wait_ms=max_wait_ms, min_bytes=min_bytes, max_bytes=MAX_FETCH_BYTES
            )
            self._node_troubles.pop(node, None)
            self._metrics.count_fetch(sum([len(stretch.records) for stretch in stretches]))
            yield Batch(epochs, asked, stretches)
            del stretches  # which may be large, and the next ones are long in coming
            if self._unplaced(node):
                return

    def _next_offsets(self, node: int) -> Mapping[tuple[str, int], int]:
        """Return what to ask ``node`` for; one partition's trouble holds back that partition only."""
        led, next_offset = self._topology.led_by(node), self._tail.next_offset
        if left_out := self._astray | self._warmup.unbegun | self._withheld.now():
            led = {place: number for place, number in led.items() if place not in left_out}
        return {place: next_offset(number, place[1]) for place, number in led.items()}

    def _unplaced(self, node: int) -> list[tuple[str, int]]:
        """Return the partitions of which it must be asked, now, where they begin and end."""
        unplaced = self._astray | self._warmup.unbegun
        if not unplaced:
            return []
        unplaced -= self._withheld.now()
        return [place for place in self._topology.led_by(node) if place in unplaced]

    async def _find_places(self, node: int) -> None:
        """Find out where to begin and where to go on; a partition that cannot say is held back and asked again."""
        places = self._unplaced(node)
        await self._warmup.begin(self._kafka, node, [place for place in places if not self._warmup.begun(place)])
        await self._go_where_the_log_is(node, [place for place in places if place in self._astray])
        for place in places:
            if place in self._astray or not self._warmup.begun(place):
                self._withheld.hold(place)

    # Trouble with one partition.

    def _note(self, stretch: Stretch) -> None:
        """Remember what is wrong with a partition; ask who leads it now. Called within an intake's turn.

        Where the log is not what it was, nothing more is asked of it before a fresh identity has told whether the
        topic was made again: what would come then, or a jump, would be told in the name of the old one.
        """
        place, trouble = (stretch.topic, stretch.partition), stretch.trouble
        self.asking.note(stretch)
        if trouble is None:
            if self._place_troubles.pop(place, None) is not None:
                self._corrupt.pop(place, None)
            self._warmup.note(stretch)
            return
        self._place_troubles[place] = str(trouble)
        self._withheld.hold(place)
        self._ask_now.set()
        if isinstance(trouble, OffsetOutOfRange | UnknownTopic | NotLeader):
            self._withheld.doubt(place)
        if isinstance(trouble, OffsetOutOfRange):
            self._astray.add(place)
        elif isinstance(trouble, CorruptBatch):
            self._note_corrupt(place, trouble)

    def _note_corrupt(self, place: tuple[str, int], trouble: CorruptBatch) -> None:
        first_offset, tries = self._corrupt.pop(place, (trouble.first_offset, 0))
        tries = tries + 1 if first_offset == trouble.first_offset else 1
        if tries < CORRUPT_TRIES:
            self._corrupt[place] = (trouble.first_offset, tries)
        else:
            logger.error("jumping from %d to %d: %s", trouble.first_offset, trouble.next_offset, trouble)
            self.intake.jump(self._topology.number(place[0]), place[1], trouble.next_offset, "unreadable")

    async def _go_where_the_log_is(self, node: int, places: list[tuple[str, int]]) -> None:
        """Jump where the next offset lies outside the log: its start overtook reading, or its end was cut off."""
        if not places:
            return
        epochs = self._tail.epochs
        starts = await self._kafka.offsets(node, places, EARLIEST)
        ends = await self._kafka.offsets(node, places, LATEST)
        async with self.intake.turn():
            if self._tail.epochs != epochs:
                return  # said of a topic that was made again meanwhile
            for place in places:
                start, end = starts.get(place), ends.get(place)
                if isinstance(start, int) and isinstance(end, int):
                    self._astray.discard(place)
                    self._jump_into(place, start, end)

    def _jump_into(self, place: tuple[str, int], start: int, end: int) -> None:
        topic = self._topology.number(place[0])
        at = self._tail.next_offset(topic, place[1])
        target, reason = (start, "retention") if at < start else (end, "truncated")
        if at < start or at > end:
            logger.error(
                "jumping from %d to %d in partition %d of topic %s: %s", at, target, place[1], place[0], reason
            )
            self.intake.jump(topic, place[1], target, reason)
