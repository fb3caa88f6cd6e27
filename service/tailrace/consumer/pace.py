"""How long a fetch may wait at the broker: the less there is to do, the sooner it is told. And how pauses are spread.

A fetch costs much the same whatever it brings. While fetches are rare each goes out at once and comes back with the
first record; above some 200 a second the broker is left to gather for two milliseconds, which halves the cost of an
event and adds a millisecond or two to its way. Pure but for the dice; the clock is passed in.
"""

import random
from collections.abc import Callable

IDLE_WAIT_MS = 500
"""An idle long poll costs next to nothing; longer would only delay noticing that a partition has a new leader."""
BUSY_WAIT_MS = 2
BUSY_MIN_BYTES = 64 * 1024
WINDOW_SECONDS = 0.1
BUSY_ABOVE = 20
"""Fetches in a window, 200 a second, from which on gathering pays."""
QUIET_BELOW = 10
"""Fetches in a window below which it does not; lower than `BUSY_ABOVE`, or gathering would end itself."""


class Pace:
    """The present pace of one leader's fetches. Lives as long as the task that fetches."""

    def __init__(self, clock: Callable[[], float], idle_wait_ms: int = IDLE_WAIT_MS) -> None:
        self._clock = clock
        self._idle_wait_ms = idle_wait_ms
        self._since = clock()
        self._fetches = 0
        self.busy = False

    def next(self) -> tuple[int, int]:
        """Count one fetch; give its (max_wait_ms, min_bytes)."""
        self._fetches += 1
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            rate = self._fetches * WINDOW_SECONDS / (now - self._since)
            self.busy = rate > (QUIET_BELOW if self.busy else BUSY_ABOVE)
            self._since, self._fetches = now, 0
        return (BUSY_WAIT_MS, BUSY_MIN_BYTES) if self.busy else (self._idle_wait_ms, 1)


def jittered(seconds: float) -> float:
    """Spread what many replicas would otherwise do at the same instant: half the time at least, all of it at most."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311  not a secret
