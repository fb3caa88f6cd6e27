"""Whose turn it is: of the passes that wait, the one for whose readers least was read of late.

Passes for whose readers little was read take turns in the order in which they came. Accounts fade while a pass waits,
so none waits for ever behind others that come and go. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple

from tailrace.replay.accounts import FADE_SECONDS
from tailrace.replay.passing import Pass

SLICE_RECORDS = 50_000
"""Some tenths of a second of reading. A pass gives way to another only if so much more was read for its own readers, as
it costs two questions to Kafka to begin again. Less than this counts as little."""


class _Waiting(NamedTuple):
    rank: float
    number: int
    one: Pass


class Turns:
    """The passes that wait. ``clock`` is that of the accounts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[_Waiting] = []
        self._numbers = count()
        self._there = asyncio.Semaphore(0)

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, one: Pass) -> None:
        """Let a pass wait, by what it has `Pass.used`."""
        heappush(self._heap, _Waiting(self._rank(one.used), next(self._numbers), one))
        self._there.release()

    def prefer(self, one: Pass, used: float) -> None:
        """Take note that a reader for whom only ``used`` was read has joined a pass, which may wait here."""
        if used < one.used:
            one.used = used
            rank = self._rank(used)
            self._heap = [each._replace(rank=min(rank, each.rank)) if each.one is one else each for each in self._heap]
            heapify(self._heap)

    async def get(self) -> Pass:
        """Wait for a pass, and return the one whose turn it is."""
        await self._there.acquire()
        return self.pop()

    def pop(self) -> Pass:
        """Return the one whose turn it is. Raises `IndexError` where none waits."""
        return heappop(self._heap).one

    def concern(self, one: Pass) -> bool:
        """Whether ``one`` gives way: a pass waits for whose readers less was read, by more than `SLICE_RECORDS`."""
        if not self._heap:
            return False
        least = math.exp(self._heap[0].rank - self._clock() / FADE_SECONDS)
        return least + SLICE_RECORDS < one.used

    def _rank(self, used: float) -> float:
        """Return what passes are compared by. It need not change while they wait, as all accounts fade alike."""
        return math.log(max(used, SLICE_RECORDS)) + self._clock() / FADE_SECONDS
