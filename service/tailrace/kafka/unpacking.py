"""`Unpacking`: one partition's bytes into a stretch, without holding the event loop; live reading and replay share it.

Small batches, as almost all are, are opened at once. A large one is opened in a thread, and never two at a time,
whether live reading or a replay asks: so together they take the memory of one. What was found oversized is remembered,
and not opened again. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from tailrace.kafka.batches import Batches, Cause, Mark, batches_in
from tailrace.kafka.fetch import Stretch, stretch_of
from tailrace.kafka.opening import Limits, Opening, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tailrace.event import Record
    from tailrace.kafka.batches import Outcome
    from tailrace.kafka.fetch_wire import Slice

MAX_PASSED = 10_000
"""Batches that are remembered, some two megabytes of memory; the oldest is forgotten first, and then opened once more,
up to its bound."""

logger = logging.getLogger(__name__)


class Passed:
    """Which batches were found oversized, by topic, partition, first offset and checksum: in a topic that was made
    again, another batch has that place."""

    def __init__(self, at_most: int = MAX_PASSED) -> None:
        self._at_most = at_most
        self._order: deque[tuple[tuple[str, int], Mark]] = deque()
        self._known: dict[tuple[str, int], set[Mark]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def of(self, topic: str, partition: int) -> Collection[Mark]:
        """Return those of one partition."""
        return self._known.get((topic, partition), ())

    def add(self, topic: str, partition: int, mark: Mark) -> bool:
        """Remember one; return whether it was not known before."""
        if mark in self.of(topic, partition):
            return False
        if len(self._order) >= self._at_most:
            place, oldest = self._order.popleft()
            self._known[place].discard(oldest)
        self._order.append(((topic, partition), mark))
        self._known.setdefault((topic, partition), set()).add(mark)
        return True


class Unpacking:
    """Reads what a fetch brought. ``limits`` are those of one batch, and of what one answer gives at once. ``opened``
    opens a large batch, in a thread."""

    def __init__(
        self, limits: Limits | None = None, opened: Callable[[Opening], Sequence[Record] | Exception] = Opening.outcome
    ) -> None:
        self._limits = limits or Limits()
        self._opened = opened
        self._scratch = scratch()
        self._turn = asyncio.Lock()
        self.passed = Passed()

    async def stretches(self, asked: Sequence[tuple[Slice, int, str]]) -> list[Stretch]:
        """Make a stretch of each part of an answer, given with the offset asked for and the topic's name.

        Once they take as much memory as one batch may, those that follow are as if nothing had come for them: they are
        asked for again, and another one comes first then.
        """
        found, left = [], self._limits.batch_bytes
        for part, offset, topic in asked:
            batches = Batches((), offset, -1, None)
            if part.data and not part.error_code and left > 0:
                batches = await self._read(part, offset, topic)
                left -= batches.kept
            found.append(stretch_of(part, batches, topic))
        return found

    async def _read(self, part: Slice, offset: int, topic: str) -> Batches:
        passed = self.passed.of(topic, part.partition)
        steps = batches_in(part.data, offset, part.aborted, self._limits, self._scratch, passed)
        outcome: Outcome = None
        try:
            while True:
                opening = steps.send(outcome)
                outcome = await (asyncio.sleep(0, None) if opening is None else self._elsewhere(opening))
        except StopIteration as end:
            batches: Batches = end.value
        finally:
            steps.close()
        bad = batches.unreadable
        if bad is not None and bad.cause is Cause.OVERSIZED and self.passed.add(topic, part.partition, bad.mark):
            place = f"topic {topic}, partition {part.partition}"
            told = "passing over the batch from offset %d up to %d of %s for good: %s (TAILRACE_MAX_BATCH_BYTES)"
            logger.error(told, bad.first_offset, bad.next_offset, place, bad.reason)
        return batches

    async def _elsewhere(self, opening: Opening) -> Sequence[Record] | Exception:
        """Open a batch in a thread, when its turn has come; who is cancelled waits until the thread has ended."""
        async with self._turn:
            job = asyncio.ensure_future(asyncio.to_thread(self._opened, opening))
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                opening.stop()
                await asyncio.wait([job])
                raise
