"""How much of something a peer has done of late: above its `Allowance` it is too much.

What was added is forgotten at so many a second; what was earned is kept, up to a bound. Knows neither what is counted
nor the time.
"""

from __future__ import annotations

from tailrace.server.settings import Allowance


class Level:
    """The account of one peer and one thing. ``now`` is always in seconds, of any origin."""

    __slots__ = ("_allowance", "_at", "_level")

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._at = now
        self._level = 0.0

    def add(self, amount: float, now: float) -> bool:
        """Count ``amount``, which is earned where it is below 0; return whether there is too much."""
        self._level = max(self.left(now) + amount, -self._allowance.saved)
        self._at = now
        return self._level > self._allowance.burst

    def left(self, now: float) -> float:
        """Return how much still counts; below 0 where more was earned."""
        if self._level <= 0:
            return self._level
        return max(0.0, self._level - (now - self._at) * self._allowance.per_second)
