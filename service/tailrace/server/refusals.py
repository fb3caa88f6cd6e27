"""How often one connection was refused, and what becomes of one that is only ever refused.

A client whose token is wrong learns so at once. One that goes on is heard less and less often, and then not at all.
Knows no connection and no request; `standing` counts here while none of the connection's streams is admitted.
"""

from __future__ import annotations

from collections.abc import Callable

from tailrace.server.settings import REFUSALS, SLOWED_AFTER_REFUSALS


class Refusals:
    """The account of one connection, until a stream of it is admitted; ``clock`` gives seconds of any origin."""

    __slots__ = ("_clock", "_level", "_max_pause_seconds", "_since")

    def __init__(self, clock: Callable[[], float], max_pause_seconds: float) -> None:
        self._clock = clock
        self._max_pause_seconds = max_pause_seconds
        self._level = 0.0
        self._since = clock()

    def add(self) -> None:
        """Count one more."""
        self._level = self._left() + 1

    @property
    def too_many(self) -> bool:
        """Whether the connection is to end."""
        return self._level > REFUSALS.burst

    @property
    def pause_seconds(self) -> float:
        """How long its next request has to wait."""
        beyond = self._left() - SLOWED_AFTER_REFUSALS
        return self._max_pause_seconds * max(0.0, min(1.0, beyond / (REFUSALS.burst - SLOWED_AFTER_REFUSALS)))

    def _left(self) -> float:
        now = self._clock()
        self._level = max(0.0, self._level - (now - self._since) * REFUSALS.per_second)
        self._since = now
        return self._level
