"""`Replay`: who waits for what, and how many at once.

One pass is at work in a partition at any time, and serves all who wait there; whoever comes too late for it waits for
the next, together with all the others who do. Bounds are kept here: passes at work, readers that wait, bytes that they
may leave lying. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from tailrace.errors import ReplayFull
from tailrace.event import Decoder
from tailrace.reader import Place, Reader
from tailrace.replay.passing import Pass
from tailrace.replay.scanning import Scanner
from tailrace.tail import Tail

logger = logging.getLogger(__name__)


READER_BYTES = 256 * 1024
"""Most that may lie for one reader, however few there are: four writes. Who does not take that much meanwhile loses
nothing by asking again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much replay may take; each is the setting ``TAILRACE_REPLAY_MAX_<FIELD>``."""

    passes: int = 4
    readers: int = 10_000
    bytes: int = 64 * 1024**2
    records: int = 1_000_000


class Replay:
    """Everyone who waits for what lies below the floor; what a `Reader` asks."""

    def __init__(self, scanner: Scanner, tail: Tail, decoder: Decoder, bounds: Bounds) -> None:
        self._scanner = scanner
        self._tail = tail
        self._decoder = decoder
        self._bounds = bounds
        self._at_work: dict[Place, Pass] = {}
        self._next: dict[Place, Pass] = {}
        self._queue: asyncio.Queue[Place] = asyncio.Queue()
        self._passes: dict[Reader, set[Pass]] = {}
        self.max_records = bounds.records

    @property
    def waiting(self) -> int:
        """How many readers wait, or are being served."""
        return len(self._passes)

    @property
    def at_work(self) -> int:
        """How many passes read now."""
        return len(self._at_work)

    @property
    def is_full(self) -> bool:
        """Whether no other reader may wait."""
        return len(self._passes) >= self._bounds.readers

    def _share(self) -> int:
        """Give how many bytes may lie for each of those who wait, before a pass goes on without them."""
        return min(READER_BYTES, self._bounds.bytes // max(1, self.waiting))

    def ask(self, reader: Reader, place: Place, offset: int) -> None:
        """Have all that lies from ``offset`` up to the floor handed to ``reader``. Raises `ReplayFull`."""
        if reader not in self._passes and self.is_full:
            raise ReplayFull
        one = self._at_work.get(place)
        if one is None or one.is_over() or one.at > offset:
            one = self._waiting_pass(place)
        one.join(reader, offset)
        self._passes.setdefault(reader, set()).add(one)

    def leave(self, reader: Reader) -> None:
        """Hand ``reader`` nothing more."""
        for one in list(self._passes.get(reader, ())):
            one.leave(reader)

    def _forget(self, reader: Reader, one: Pass) -> None:
        passes = self._passes[reader]
        passes.discard(one)
        if not passes:
            del self._passes[reader]

    async def run(self) -> None:
        """Serve until cancelled: as many passes at once as there may be, in the order in which they were asked for."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._bounds.passes):
                    tasks.create_task(self._work(), name=f"replay {number}")
        finally:
            await self._scanner.close()

    def _waiting_pass(self, place: Place) -> Pass:
        if place not in self._next:
            self._next[place] = Pass(self._tail, self._decoder, place, self._share, self._forget)
            if place not in self._at_work:
                self._queue.put_nowait(place)
        return self._next[place]

    async def _work(self) -> None:
        while True:
            one = self.begin(await self._queue.get())
            try:
                await self._scanner.scan(one)
            except Exception as error:
                logger.exception("a replay failed: topic %s, partition %d", *one.named)
                for reader in one.dissolve():
                    reader.fail(error)
            finally:
                readers = self.end(one)
            await self._scanner.serve(readers)

    def begin(self, place: Place) -> Pass:
        """Set the pass that waits for ``place`` to work: nobody joins it any more from behind."""
        one = self._at_work[place] = self._next.pop(place)
        return one

    def end(self, one: Pass) -> list[Reader]:
        """The pass is over; gives the readers that it has served, and sets the next one in the queue."""
        del self._at_work[one.place]
        if one.place in self._next:
            self._queue.put_nowait(one.place)
        return one.dissolve()
