"""What is kept where things happen: plain numbers, no locks, no labels to look up.

Everything here is called on the event loop and costs a fraction of a microsecond; `collecting` reads it at a scrape.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

DELIVERY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. An idle service needs one millisecond; after ten, a reader has stopped waiting."""
CLOCKS_DIFFER_SECONDS = 5.0
"""So far ahead of ours a producer's clock may be. NTP keeps clocks within a tenth of a second; beyond this a timestamp
is no clock's."""
LATE_SECONDS = 86_400.0
"""So late a live write may be to be measured: a service that is a day behind says so by its lag. An older timestamp is
that of something else, or none."""
HISTORY_SECONDS = 30 * 86_400.0
"""So old a record that is read may be: Kafka keeps a week unless it is told otherwise."""


class Histogram:
    """How often a value fell into each bucket; ``bounds`` are upper ones, inclusive, ascending."""

    __slots__ = ("_bounds", "_counts", "_last", "_last_above", "_last_to", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._last, self._last_above, self._last_to = 0, 0.0, 0.0  # the bucket of the last value, and what it holds
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value. Below zero it counts as zero: two clocks were compared."""
        if not self._last_above < value <= self._last_to:  # mostly it is like the last one
            self._find(value)
        self._counts[self._last] += 1
        if value > 0:
            self.total += value

    def _find(self, value: float) -> None:
        self._last = bisect_left(self._bounds, value)
        self._last_above = self._bounds[self._last - 1] if self._last else -math.inf
        self._last_to = self._bounds[self._last] if self._last < len(self._bounds) else math.inf

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Return (suffix, labels, value) as the text format wants them: each bucket holds the smaller ones as well."""
        count = 0
        for bound, here in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            count += here
            yield "_bucket", {"le": str(bound)}, count
        yield "_count", {}, count
        yield "_sum", {}, self.total


class Deliveries:
    """What the wires of one transport have accepted: they took the bytes, which is no proof of receipt."""

    __slots__ = ("bytes", "events", "latency", "untimed")

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.untimed = 0
        """Live writes whose timestamp is not to be believed: one of 1970 would be in the sum for good."""
        self.latency = Histogram(DELIVERY_BOUNDS)

    def count(self, events: int, size: int, latency_seconds: float) -> None:
        """Count one live write of ``size`` bytes; the latency is since the Kafka timestamp of its oldest event."""
        self.events += events
        self.bytes += size
        if -CLOCKS_DIFFER_SECONDS <= latency_seconds <= LATE_SECONDS:
            self.latency.observe(latency_seconds)
        else:
            self.untimed += 1

    def count_history(self, events: int, size: int) -> None:
        """Count one write of what a reader had missed; how old that is says nothing about the service."""
        self.events += events
        self.bytes += size


def believed_age(now: float, timestamp_ms: float, otherwise: float) -> float:
    """Return the age in seconds that a timestamp says, by a clock that says ``now``, or ``otherwise`` where it is no
    time of this month. Never less than 0."""
    age = now - timestamp_ms / 1000
    return max(0.0, age if -CLOCKS_DIFFER_SECONDS <= age <= HISTORY_SECONDS else otherwise)


class Lag:
    """How far reading is behind the log, by topic and partition, as of the last answer of each leader."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._behind: dict[tuple[str, int], int] = {}
        self._newest_ms: dict[tuple[str, int], float] = {}

    def note(self, topic: str, partition: int, behind: int, newest_ms: int | None) -> None:
        """``behind`` records are left to read; ``newest_ms`` is the timestamp of the last one read, where any was.

        Where that is not to be believed, it counts as written when it was read: at least it shows if reading stops.
        """
        place = (topic, partition)
        self._behind[place] = behind
        if newest_ms is not None:
            now = self._clock()
            self._newest_ms[place] = (now - believed_age(now, newest_ms, 0.0)) * 1000

    def forget(self, topic: str) -> None:
        """The topic was deleted and made again: its partitions may be others."""
        for place in [each for each in self._behind if each[0] == topic]:
            del self._behind[place]
            self._newest_ms.pop(place, None)

    def records(self) -> dict[tuple[str, str], int]:
        """Records that lie in the log and have not been read."""
        return {(topic, str(partition)): behind for (topic, partition), behind in self._behind.items()}

    def seconds(self) -> dict[tuple[str, str], float]:
        """Age of the last record read, where more lie behind it; otherwise 0."""
        now = self._clock()
        return {
            (place[0], str(place[1])): max(0.0, now - self._newest_ms.get(place, now * 1000) / 1000) if behind else 0.0
            for place, behind in self._behind.items()
        }
