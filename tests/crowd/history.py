"""What was really produced, and what was done to the logs: the facts that ledgers are judged by.

Producers say what they send and what became of it; whoever damages a log says so *before* doing it. Every fact has its
time, and means "from now on this may be": what was then told to a client earlier was told without a cause.

What was sent and never acknowledged is *doubtful*: it may be in the log or not. Once one client was given it, it is,
and everybody else must have it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from crowd.ids import Log

KEPT_RECORDS = 200
"""Of a session that nobody reads: whoever comes next may begin a little before its end."""


class Kind(Enum):
    """How a record must arrive."""

    EVENT = "an event"
    SKIPPED = "tailrace.skipped"
    END = "the session's end"
    """Told only where nothing comes after it; otherwise nobody misses it."""


class Record(NamedTuple):
    """Where something came to lie. ``era`` counts how often the log had been cut off before."""

    log: Log
    offset: int
    number: int
    kind: Kind = Kind.EVENT
    era: int = 0
    at_ms: int = 0
    """Kafka's time for it, where that is known."""

    def __str__(self) -> str:
        return f"number {self.number} (offset {self.offset} in partition {self.log[1]} of {self.log[0]})"


class Gap(NamedTuple):
    """What a log may no longer give from ``at`` on: the offsets from ``first`` to before ``next``."""

    first: int
    next: int
    reason: str
    at: float


class Cut(NamedTuple):
    """From ``at`` on a log may end at ``end``, and grow anew from there."""

    end: int
    at: float


class Sequence:
    """The records of one session in one log, by offset."""

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._records: list[Record] = []
        self.forgotten_below = 0
        """What lies below is not known any more."""

    def add(self, record: Record) -> None:
        at = bisect_left(self._offsets, record.offset)
        self._offsets.insert(at, record.offset)
        self._records.insert(at, record)

    def between(self, first: int, end: int) -> Iterator[Record]:
        """Give the records from the offset ``first`` to before ``end``."""
        at = bisect_left(self._offsets, first)
        while at < len(self._records) and self._offsets[at] < end:
            yield self._records[at]
            at += 1

    def at(self, offset: int) -> Record | None:
        return next(self.between(offset, offset + 1), None)

    @property
    def end(self) -> int:
        """The offset after its last record."""
        return self._offsets[-1] + 1 if self._offsets else self.forgotten_below

    def cut_off(self, end: int) -> None:
        """Forget what lies at ``end`` and beyond."""
        at = bisect_left(self._offsets, end)
        del self._offsets[at:], self._records[at:]

    def forget(self, below: int, keep: int) -> list[Record]:
        """Forget what lies below an offset, but for the newest; gives what it was."""
        at = min(bisect_left(self._offsets, below), len(self._offsets) - keep)
        if at <= 0:
            return []
        self.forgotten_below = self._offsets[at - 1] + 1
        gone = self._records[:at]
        del self._offsets[:at], self._records[:at]
        return gone


class Said:
    """All that was said to one session. ``sent`` is how many numbers were given out."""

    def __init__(self) -> None:
        self.sent = 0
        self.logs: dict[Log, Sequence] = defaultdict(Sequence)
        self.doubtful: set[int] = set()
        self._by_number: dict[int, Record] = {}
        self._under_way: dict[int, None] = {}

    @property
    def settled_below(self) -> int:
        """Of every number below this it is known what became of it."""
        return next(iter(self._under_way), self.sent)

    def send(self) -> int:
        number = self.sent
        self.sent += 1
        self._under_way[number] = None
        return number

    def add(self, record: Record) -> None:
        self._under_way.pop(record.number, None)
        self.doubtful.discard(record.number)
        self._by_number[record.number] = record
        self.logs[record.log].add(record)

    def doubt(self, number: int) -> None:
        self._under_way.pop(number, None)
        self.doubtful.add(number)

    def take_back(self, number: int) -> None:
        self._under_way.pop(number, None)

    def find(self, number: int) -> Record | None:
        return self._by_number.get(number)

    def forget(self, log: Log, below: int, *, keep: int = 0) -> None:
        for record in self.logs[log].forget(below, keep):
            self._by_number.pop(record.number, None)


class History:
    """What happened. Lives as long as the run; ``clock`` is that of the ledgers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.sessions: dict[str, Said] = defaultdict(Said)
        self.gaps: dict[Log, list[Gap]] = {}
        self.cuts: dict[Log, list[Cut]] = {}
        self.held = False
        """Whether judgement waits, because facts are still to come that began earlier."""
        self.forgetful = False
        """Whether memory may hold less than all of a topic that was made again: whoever is told so begins there."""
        self._left: dict[str, float] = {}

    # What producers say.

    def sending(self, session: str) -> int:
        """Something is about to be said to a session; gives its number."""
        return self.sessions[session].send()

    def acknowledged(
        self, log: Log, offset: int, session: str, number: int, kind: Kind = Kind.EVENT, at_ms: int = 0
    ) -> None:
        """Kafka has it, there, with this time."""
        self.sessions[session].add(Record(log, offset, number, kind, len(self.cuts.get(log, ())), at_ms))

    def doubtful(self, session: str, number: int) -> None:
        """Nobody will ever say whether Kafka has it."""
        self.sessions[session].doubt(number)

    def taken_back(self, session: str, number: int) -> None:
        """It was said in a transaction that was aborted, or not at all: nobody may be given it."""
        self.sessions[session].take_back(number)

    # What is done to the logs: say it first, do it then. Who learns it only afterwards (a crash that cost a log its
    # end) holds the judgement meanwhile, and says since when it is so.

    def shortened(self, log: Log, start: int, reason: str, *, at: float | None = None) -> None:
        """Nothing below ``start`` need be readable any more: ``retention`` in Kafka, ``bounded`` in memory."""
        self._add_gap(log, Gap(0, start, reason, self._time(at)))

    def damaged(self, log: Log, first: int, next_: int, *, at: float | None = None) -> None:
        """The batch from ``first`` to before ``next_`` cannot be read (``unreadable``)."""
        self._add_gap(log, Gap(first, next_, "unreadable", self._time(at)))

    def cut_off(self, log: Log, end: int, *, at: float | None = None) -> None:
        """The log loses what lies at ``end`` and beyond, and what is acknowledged from now on takes its place
        (``truncated``). So nothing may be under way to it."""
        self.cuts.setdefault(log, []).append(Cut(end, self._time(at)))
        for said in self.sessions.values():
            if log in said.logs:
                said.logs[log].cut_off(end)

    def remade(self, epoch: str, *, at: float | None = None) -> None:
        """The topic of this epoch is deleted; if it is made again, it has another one (``epoch``)."""
        self._left[epoch] = self._time(at)

    def _add_gap(self, log: Log, gap: Gap) -> None:
        self.gaps.setdefault(log, []).append(gap)

    def _time(self, at: float | None) -> float:
        return self.clock() if at is None else at

    # What the judge asks.

    def is_left(self, epoch: str, at: float) -> bool:
        """Whether the topic of this epoch was deleted by then."""
        return epoch in self._left and self._left[epoch] <= at

    def gap_over(self, record: Record, at: float) -> Gap | None:
        """Give a cause for which a reader may by then lack the record, and must be told."""
        gaps = self.gaps.get(record.log, ())
        return next((gap for gap in gaps if gap.first <= record.offset < gap.next and gap.at <= at), None)

    def holes(self, epoch: str) -> dict[int, list[int]]:
        """Give, by partition of a topic, where one goes on behind each batch that cannot be read."""
        return {
            partition: [gap.next for gap in gaps if gap.reason == "unreadable"]
            for (of, partition), gaps in self.gaps.items()
            if of == epoch
        }

    def era(self, log: Log, at: float) -> int:
        """Say how often the log had been cut off by then."""
        return sum(cut.at <= at for cut in self.cuts.get(log, ()))

    def backs(self, reason: str, place: Mapping[Log, int], eras: Mapping[Log, int], at: float) -> bool:
        """Whether a reader that stood at ``place`` may by then be told a reset for this reason."""
        if reason == "epoch":
            return any(self.is_left(epoch, at) for epoch, _ in place)
        if reason == "truncated":
            return any(self.cut_below(log, offset, eras.get(log, 0), at) for log, offset in place.items())
        return any(
            gap.reason == reason and gap.at <= at and place.get(log, 0) < gap.next
            for log, gaps in self.gaps.items()
            for gap in gaps
        )

    def cut_below(self, log: Log, offset: int, era: int, at: float) -> bool:
        """Whether the log, which had been cut off ``era`` times, has by then lost what lies before ``offset``."""
        return any(cut.end < offset and cut.at <= at for cut in self.cuts.get(log, [])[era:])
