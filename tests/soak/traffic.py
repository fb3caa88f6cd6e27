"""Who is told how much, when: it is quiet, it flows, and now and then a lot comes at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

TICK_SECONDS = 0.02
PHASES = {"quiet": (5, 3.0), "steady": (200, 6.0), "busy": (600, 3.0)}
"""Events a second, and how many seconds it goes on so on the average."""
SMALL_BYTES = (0, 20, 200, 1000)
BIG_BYTES = 8 * 1024
BIG_BURST, SMALL_BURST = 40, 500
"""A burst of big ones is a third of a megabyte to one session: more than all buffers of a connection hold, so that a
client which does not read is noticed. One of small ones goes to all sessions alike."""
BURSTS_A_SECOND = 0.5
WRONG_OF_ALL = 0.005
"""So much of everything cannot be delivered."""


class Speaker(Protocol):
    """Who says it: a `crowd.producing.Source`, or somebody who has several."""

    def say(self, session: str, size: int = 0) -> None: ...
    def say_wrongly(self, session: str) -> None: ...


class Traffic:
    """Speaks to ``sessions``, who may change meanwhile; bursts of big ones go to those in ``heavy``. ``size`` chooses
    how many bytes everything else has."""

    def __init__(
        self,
        source: Speaker,
        rng: random.Random,
        sessions: Sequence[str],
        heavy: Sequence[str],
        size: Callable[[random.Random], int] = lambda rng: rng.choice(SMALL_BYTES),
    ) -> None:
        self._source = source
        self._size = size
        self._rng = rng
        self._sessions = sessions
        self._heavy = heavy
        self._loop = asyncio.get_running_loop()
        self.made: Counter[str] = Counter()

    async def flow(self, seconds: float) -> None:
        """Speak for so long."""
        end = self._loop.time() + seconds
        while self._loop.time() < end:
            name = self._rng.choice(list(PHASES))
            self.made[name] += 1
            rate, average = PHASES[name]
            await self._flow_at(rate, min(end, self._loop.time() + average * self._rng.uniform(0.5, 1.5)))

    async def _flow_at(self, rate: float, end: float) -> None:
        begun, said = self._loop.time(), 0
        while (now := self._loop.time()) < end:
            while said < (now - begun) * rate:
                self._say(self._rng.choice(self._sessions))
                said += 1
            if self._rng.random() < BURSTS_A_SECOND * TICK_SECONDS:
                self._burst()
            await asyncio.sleep(TICK_SECONDS)

    def _say(self, session: str) -> None:
        if self._rng.random() < WRONG_OF_ALL:
            self._source.say_wrongly(session)
        else:
            self._source.say(session, self._size(self._rng))

    def _burst(self) -> None:
        if self._rng.random() < 0.5:
            self.made["burst of big ones"] += 1
            session = self._rng.choice(self._heavy)
            for _ in range(BIG_BURST):
                self._source.say(session, BIG_BYTES)
        else:
            self.made["burst of small ones"] += 1
            for _ in range(SMALL_BURST):
                self._say(self._rng.choice(self._sessions))
