"""`Replay`: who waits for what, and how many at once.

Readers that lack about as much of a partition share a pass; those that come too late for it wait for the next one, and
share that. So none waits for much more to be read than it lacks. Which pass is at work is decided by what was read of
late for those whom it serves (`turns`): a pass gives way to those for whom less was read. A subject for whom much was
read has passes of its own, which rest while it is above its bound. Bounds are kept here: passes at work,
readers that wait, bytes that they may leave lying, records of one subject. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tailrace.errors import ReplayFull
from tailrace.event import Decoder
from tailrace.reader import Place, Reader
from tailrace.replay.accounts import Accounts, seconds_until
from tailrace.replay.passing import Pass, Shared
from tailrace.replay.scanning import Scanner
from tailrace.replay.turns import Turns
from tailrace.tail import Tail

logger = logging.getLogger(__name__)


READER_BYTES = 256 * 1024
"""Most that may lie for one reader, however few there are: four writes. Who does not take that much meanwhile loses
nothing by asking again."""
ALIKE_RECORDS = 4096
"""Readers that lack less than this of a partition lack about as much: it takes a few fetches."""
ALONE_RECORDS = 200_000
"""A subject that had so many read within the last minute, about a second of reading, has passes of its own. So nobody
else waits while it is read for, however far back it begins."""
RESTED = 0.95
"""A subject above its bound rests until its account is this part of the bound, which takes three seconds. Else it would
rest, and begin again, for each fetch."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much replay may take; each is the setting ``TAILRACE_REPLAY_MAX_<FIELD>``."""

    passes: int = 4
    readers: int = 10_000
    bytes: int = 64 * 1024**2
    records: int = 1_000_000
    records_per_subject: int = 6_000_000


class Replay:
    """Everyone who waits for what lies below the floor; what a `Reader` asks."""

    alike_records: ClassVar[int] = ALIKE_RECORDS
    alone_records: ClassVar[int] = ALONE_RECORDS
    """Named here so that tests need no long logs."""

    def __init__(
        self,
        scanner: Scanner,
        tail: Tail,
        decoder: Decoder,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scanner = scanner
        self._tail = tail
        self._decoder = decoder
        self._bounds = bounds
        self._accounts = Accounts(clock)
        self._turns = Turns(clock)
        self._begun: dict[Shared, Pass] = {}
        """Passes that were begun, at work or not, and that others may join, or have to wait for."""
        self._next: dict[Shared, Pass] = {}
        self._at_work: dict[Pass, None] = {}
        self._resting: dict[Pass, asyncio.TimerHandle] = {}
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
    def resting(self) -> int:
        """How many passes wait for a subject's bound."""
        return len(self._resting)

    @property
    def is_full(self) -> bool:
        """Whether no other reader may wait."""
        return len(self._passes) >= self._bounds.readers

    def _share(self) -> int:
        """Return how many bytes may lie for each of those who wait, before a pass goes on without them."""
        return min(READER_BYTES, self._bounds.bytes // max(1, self.waiting))

    def ask(self, reader: Reader, place: Place, offset: int) -> None:
        """Have all that lies from ``offset`` up to the floor handed to ``reader``. Raises `ReplayFull`."""
        if reader not in self._passes and self.is_full:
            raise ReplayFull
        used = self._accounts.used(reader.subject)
        lacks = max(self.alike_records, self._tail.floor(*place) - offset)
        shared = Shared(place, lacks.bit_length(), reader.subject if used >= self.alone_records else "")
        one = self._on_its_way(shared, offset, lacks) or self._waiting_pass(shared, used)
        one.join(reader, offset)
        self._passes.setdefault(reader, set()).add(one)
        self._turns.prefer(one, used)
        if (rest := self._resting.pop(one, None)) is not None:
            rest.cancel()
            self._wait_for_turn(one)

    def _on_its_way(self, shared: Shared, offset: int, lacks: int) -> Pass | None:
        """Return a pass, already begun, that has at most ``lacks`` to read before it comes to ``offset``; or None."""
        for reach in range(shared.reach, max(shared.reach, self._bounds.records.bit_length()) + 1):
            one = self._begun.get(Shared(shared.place, reach, shared.subject))
            if one is not None and not one.is_over() and one.at <= offset <= one.at + lacks:
                return one
        return None

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
        """Serve until cancelled: as many passes at once as there may be, those first for whom least was read."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._bounds.passes):
                    tasks.create_task(self._work(), name=f"replay {number}")
        finally:
            for rest in self._resting.values():
                rest.cancel()
            await self._scanner.close()

    def _waiting_pass(self, shared: Shared, used: float) -> Pass:
        if shared not in self._next:
            one = Pass(self._tail, self._decoder, shared, self._share, self._forget, self._charge)
            one.used = used
            self._next[shared] = one
            if shared not in self._begun:
                self._turns.put(one)
        return self._next[shared]

    # Whose turn it is.

    def _charge(self, one: Pass, records: int) -> None:
        self._accounts.charge(one.subjects, records)
        self._weigh(one)
        if one.used >= self.alone_records and not one.shared.subject:
            self._part(one)

    def _weigh(self, one: Pass) -> None:
        one.used = min(map(self._accounts.used, one.subjects), default=0.0)

    def _part(self, one: Pass) -> None:
        """From now on nobody joins a pass that was begun, or waits for its end."""
        if self._begun.get(one.shared) is one:
            del self._begun[one.shared]
            if one.shared in self._next:
                self._turns.put(self._next[one.shared])

    def _gives_way(self, one: Pass) -> bool:
        """Whether a pass has to rest, or to let others go on who had less."""
        return one.used > self._bounds.records_per_subject or self._turns.concern(one)

    def _wait_for_turn(self, one: Pass) -> None:
        """Let a pass that has begun wait for its turn; before that for its subjects to be below their bound."""
        self._resting.pop(one, None)
        self._weigh(one)
        bound = self._bounds.records_per_subject
        if one.used > bound:
            seconds = seconds_until(RESTED * bound, one.used)
            self._resting[one] = asyncio.get_running_loop().call_later(seconds, self._wait_for_turn, one)
        else:
            self._turns.put(one)

    async def _work(self) -> None:
        while True:
            one = self.begin(await self._turns.get())
            try:
                await self._scanner.scan(one, self._gives_way)
            except Exception as error:
                logger.exception("a replay failed: topic %s, partition %d", *one.named)
                for reader in one.dissolve():
                    reader.fail(error)
            finally:
                readers = self.end(one)
            await self._scanner.serve(readers)

    def begin(self, one: Pass) -> Pass:
        """Set the pass whose turn it is to work: nobody joins it any more from behind."""
        if self._next.get(one.shared) is one:
            self._begun[one.shared] = self._next.pop(one.shared)
        self._at_work[one] = None
        return one

    def end(self, one: Pass) -> list[Reader]:
        """Take note that the pass is over, or gives way. Return the readers that it serves no more."""
        del self._at_work[one]
        if not one.is_over():
            self._wait_for_turn(one)
            return []
        self._part(one)
        return one.dissolve()
