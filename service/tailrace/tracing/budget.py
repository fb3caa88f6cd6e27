"""How many spans there may be: per second for the process, per record for its deliveries.

Pure; knows no spans. One sampled record with ten thousand readers would otherwise be ten thousand spans, and a thousand
spans a second already delay the event loop by about a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

RECORDS_PER_SECOND = 200
"""Sampled records that become spans; the deliveries of the others do not either."""
DELIVERIES_PER_SECOND = 600
SLOW_PER_SECOND = 100
"""Deliveries that took long have their own budgets: they are what is looked for, and rarely come first."""
SUMMARIES_PER_SECOND = 100
"""Spans that stand for the deliveries left out."""

DELIVERIES_PER_RECORD = 100
SLOW_PER_RECORD = 20
MAX_RECORDS = 10 * RECORDS_PER_SECOND
"""Records whose deliveries are counted: the newest. What comes later, to clients that resume, is a beginning again."""


class Bucket:
    """A token bucket: ``per_second`` on average, and as many at once. Lives as long as the service."""

    __slots__ = ("_clock", "_left", "_per_second", "_since")

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._per_second = per_second
        self._left = float(per_second)
        self._since = clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Shares:
    """What the deliveries of each record may have, those that took long apart. Lives as long as the service."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: dict[Hashable, list[int]] = {}

    def take(self, record: Hashable, *, slow: bool) -> bool:
        """Take one of the record's, if there is one left."""
        taken = self._taken.get(record) or self._begin(record)
        if taken[slow] >= (SLOW_PER_RECORD if slow else DELIVERIES_PER_RECORD):
            return False
        taken[slow] += 1
        return True

    def _begin(self, record: Hashable) -> list[int]:
        if len(self._taken) >= MAX_RECORDS:
            del self._taken[next(iter(self._taken))]
        self._taken[record] = taken = [0, 0]
        return taken
