"""One wheel of timers for everything that waits: heartbeats, token expiries, send time-outs.

Ten thousand connections would be tens of thousands of entries in the event loop's heap; here arming and cancelling is a
dictionary's work, and one wake-up a second serves all that is due, in slices: one event for all of them, and ten
thousand heartbeats fall into the same tick. Knows nothing of what it calls. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""Fine enough for a stream to end with its token "to the second"; coarse enough to cost nothing."""

SLICE_SECONDS = 0.002
"""Longest stretch of callbacks without a turn of the event loop in between. Measured without it, with 10 000 heartbeats
in one tick: nobody else was served for 317 ms."""


class Timer:
    """One call to come. Lives until it has fired or was cancelled."""

    __slots__ = ("_slot", "callback")

    def __init__(self, callback: Callable[[], None], slot: dict[Timer, None]) -> None:
        self.callback = callback
        self._slot = slot

    def cancel(self) -> None:
        """Never fire; harmless when it has fired already."""
        self._slot.pop(self, None)
        if not self._slot:
            self._slot.clear()  # a dictionary keeps its size: of all who came in one second, until their tokens end


class Wheel:
    """Calls back after whole ticks; a callback that raises is logged and disturbs no other."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.now = 0
        """Ticks since the wheel was made."""
        self._clock = clock
        self._slots: dict[int, dict[Timer, None]] = {}

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, at least one tick from now, at the first tick that is not before ``seconds``."""
        tick = self.now + max(1, math.ceil(seconds / TICK_SECONDS))
        slot = self._slots.setdefault(tick, {})
        timer = Timer(callback, slot)
        slot[timer] = None
        return timer

    def turn(self) -> None:
        """Move on by one tick and call what is due. A callback may arm and cancel timers."""
        for _ in self.slices():
            pass

    def slices(self) -> Iterator[None]:
        """Do the same; yields whenever a slice of time is used up: give the event loop a turn and go on."""
        self.now += 1
        due = self._slots.pop(self.now, {})
        slice_ends = self._clock() + SLICE_SECONDS
        while due:
            timer, _ = due.popitem()
            try:
                timer.callback()
            except Exception:
                logger.exception("a timer failed")
            if self._clock() > slice_ends:
                yield
                slice_ends = self._clock() + SLICE_SECONDS

    async def run(self) -> None:
        """Turn once per tick, for ever; after a stall of the loop catch up tick by tick: nothing is left out."""
        loop = asyncio.get_running_loop()
        start = loop.time() - self.now * TICK_SECONDS
        while True:
            await asyncio.sleep(start + (self.now + 1) * TICK_SECONDS - loop.time())
            while start + (self.now + 1) * TICK_SECONDS <= loop.time():
                for _ in self.slices():
                    await asyncio.sleep(0)
