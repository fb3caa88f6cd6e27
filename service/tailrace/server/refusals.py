"""How often one connection was refused, and what becomes of one that is only ever refused.

A client whose token is wrong learns so at once. The requests of one that goes on wait longer and longer; at last its
connection is ended.
Knows no connection and no request; `standing` counts here while none of the connection's streams is admitted.
"""

from __future__ import annotations

from collections.abc import Callable

from tailrace.server.level import Level
from tailrace.server.settings import REFUSALS, SLOWED_AFTER_REFUSALS


class Refusals:
    """The account of one connection, until a stream of it is admitted; ``clock`` gives seconds of any origin."""

    __slots__ = ("_clock", "_level", "_max_pause_seconds", "too_many")

    def __init__(self, clock: Callable[[], float], max_pause_seconds: float) -> None:
        self._clock = clock
        self._max_pause_seconds = max_pause_seconds
        self._level = Level(REFUSALS, clock())
        self.too_many = False
        """Whether the connection is to end; for good, because its peer was told so."""

    def add(self) -> None:
        """Count one more."""
        self.too_many = self._level.add(1, self._clock()) or self.too_many

    @property
    def pause_seconds(self) -> float:
        """How long its next request has to wait."""
        beyond = self._level.left(self._clock()) - SLOWED_AFTER_REFUSALS
        return self._max_pause_seconds * max(0.0, min(1.0, beyond / (REFUSALS.burst - SLOWED_AFTER_REFUSALS)))
