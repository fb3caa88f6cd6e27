"""The place of a reader that is not live: a vector of next offsets *taken*, and what is due by it.

Below the floor a partition's events are handed over by a scan of the log; from the floor on they are in the session's
view. Each partition is handed over to the tail by itself: one may be there while another is still being scanned. Does
no I/O and writes nothing; `flushing` takes what is due. Lives until the reader goes live, or leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from tailrace.event import Event
from tailrace.position import Position, Vector
from tailrace.tail import Tail
from tailrace.view import View


class Below(NamedTuple):
    """A partition whose next offset lies below the floor; the topic by its number."""

    topic: int
    partition: int
    offset: int


class Gap(NamedTuple):
    """A stretch of a partition that cannot be read: where to go on, and why, as `tailrace.reset` says it."""

    topic: int
    partition: int
    offset: int
    reason: str


class Scan(Protocol):
    """A scan of one partition's log, as a reader that is served by it sees it."""

    at: int
    """The next offset that it will look at: all before it that is the reader's was handed to the reader."""


class CatchingUp:
    """What one reader has taken, and what it lacks."""

    __slots__ = ("_handed", "_scans", "_tail", "_taken", "_view", "handed_bytes", "place")

    def __init__(self, tail: Tail, view: View, taken: Sequence[Sequence[int]]) -> None:
        self._tail = tail
        self._view = view
        self._taken = Vector(taken)
        self._handed: deque[Event | Gap] = deque()
        self._scans: dict[tuple[int, int], Scan] = {}
        self.handed_bytes = 0
        """Of what was handed over and not taken yet."""
        self.place = view.first

    # What was taken.

    @property
    def position(self) -> Position:
        """Exactly what the client has been given, and rule 6: nothing else."""
        self._note_scans()
        self._pad()
        return Position(self._tail.epochs, self._taken.offsets)

    def id_of(self, event: Event) -> bytes:
        """Write the id of an event just taken: this reader's own, because no other has taken the same."""
        self._pad()
        mark = (event.arrival.topic, event.arrival.partition)
        return Position(self._tail.epochs, self._taken.offsets).text(mark=mark).encode()

    def pass_over(self, topic: int, partition: int, offset: int) -> None:
        """Go on at ``offset``; events of the partition that were not due before may be so now: look at all again."""
        self._taken.set(topic, partition, offset)
        self.look_again()

    def look_again(self) -> None:
        """Look at the view from its beginning."""
        self.place = self._view.first

    def forget(self, topic: int) -> None:
        """Begin at the beginning of a topic that was deleted and made again."""
        self._pad()
        self._taken.clear(topic)
        self._handed = deque(item for item in self._handed if topic_of(item) != topic)
        self.handed_bytes = sum(item.size for item in self._handed if isinstance(item, Event))
        self._scans = {place: scan for place, scan in self._scans.items() if place[0] != topic}

    def cut_back(self, topic: int, partition: int, offset: int) -> bool:
        """The log was cut off at ``offset``, which lies above the floor: no scan goes there. Whether more was taken."""
        if self._taken.entry(topic, partition) <= offset:
            return False
        self._taken.set(topic, partition, offset)
        return True

    def settle(self, max_records: int) -> list[str]:
        """Move past what no scan could give; gives the reasons, as `tailrace.reset` says them."""
        reasons = []
        for topic, partition, offset in self.below:
            if not self.is_served(topic, partition):
                for target, reason in self._beyond_reach(topic, partition, offset, max_records):
                    if target > self._taken.entry(topic, partition):
                        self.pass_over(topic, partition, target)
                        reasons.append(reason)
        return reasons

    def _beyond_reach(self, topic: int, partition: int, offset: int, max_records: int) -> Iterator[tuple[int, str]]:
        tail = self._tail
        yield tail.beyond_gap(topic, partition, offset)
        yield tail.start(topic, partition), "retention"
        yield tail.floor(topic, partition) - max_records, "bounded"

    # What is due.

    def due(self) -> Iterator[Event | Gap]:
        """Give the events that the client lacks, and the gaps between them, and count each as taken."""
        while self._handed:
            item = self._handed.popleft()
            if isinstance(item, Gap):
                self.pass_over(*item[:3])
            else:
                self.handed_bytes -= item.size
                self._take(item)
            yield item
        self._note_scans()
        self.place = max(self.place, self._view.first)
        for event in self._view.since(self.place):
            self.place += 1
            if self.is_due(event):
                self._take(event)
                yield event

    def _take(self, event: Event) -> None:
        self._taken.set(event.arrival.topic, event.arrival.partition, event.offset + 1)

    def is_due(self, event: Event) -> bool:
        """Whether the client lacks ``event`` of the view, and rule 2: it lacks nothing that lies below the floor."""
        topic, partition = event.arrival.topic, event.arrival.partition
        return event.offset >= self._taken.entry(topic, partition) >= self._tail.floor(topic, partition)

    def move_to_cut(self) -> None:
        """Nothing is due: whatever lies between an entry and the replica's cut is not this session's."""
        for topic, partition, entry in self._entries():
            cut = self._tail.next_offset(topic, partition)
            if self._tail.floor(topic, partition) <= entry < cut:
                self._taken.set(topic, partition, cut)

    def may_go_live(self) -> bool:
        """Rule 3: every entry is at or above the floor, and the replica's cut has reached every entry."""
        reached = (self._tail.next_offset(*place) >= entry for *place, entry in self._entries())
        return not self._handed and not self.below and all(reached)

    def has_nothing_to_come(self) -> bool:
        """Whether nothing is due, and the reader would go live."""
        return self.may_go_live() and not any(self.is_due(event) for event in self._view.events)

    @property
    def below(self) -> list[Below]:
        """Where the next offset lies below the floor: only Kafka has what comes next."""
        floor = self._tail.floor
        return [Below(topic, number, entry) for topic, number, entry in self._entries() if entry < floor(topic, number)]

    # What is handed over.

    @property
    def has_asked(self) -> bool:
        """Whether any scan serves it."""
        return bool(self._scans)

    def hand(self, item: Event | Gap) -> None:
        """Take over what a scan has found; the events of one partition come in order, and each once."""
        if isinstance(item, Gap):
            if item.offset > self._taken.entry(item.topic, item.partition):
                self._handed.append(item)
        elif item.offset >= self._taken.entry(item.arrival.topic, item.arrival.partition):
            self._handed.append(item)
            self.handed_bytes += item.size

    def served_by(self, topic: int, partition: int, scan: Scan) -> None:
        """A scan hands over what it finds in the partition, from the reader's own offset on."""
        self._scans[topic, partition] = scan

    def left_by(self, topic: int, partition: int, offset: int) -> None:
        """The scan serves this reader no more; ``offset`` is the first that it has not looked at for it."""
        if self._scans.pop((topic, partition), None) is not None:
            self._scans[topic, partition] = Scanned(offset)

    def is_served(self, topic: int, partition: int) -> bool:
        """Whether a scan is at work in the partition, or what one has scanned was not taken in full yet."""
        return (topic, partition) in self._scans

    def _note_scans(self) -> None:
        """Move to where the scans are, once all that they handed over was taken; the view may have more for us then."""
        if self._handed or not self._scans:
            return
        for (topic, partition), scan in list(self._scans.items()):
            self._taken.set(topic, partition, max(scan.at, self._taken.entry(topic, partition)))
            if isinstance(scan, Scanned):
                del self._scans[topic, partition]
        self.look_again()

    # Within.

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        """Give (topic, partition, entry), for every partition that the vector or this replica knows."""
        self._pad()
        return iter(self._taken)

    def _pad(self) -> None:
        """Rule 4: a partition that the id did not know has entry 0; one that this replica does not know is kept."""
        self._taken.pad(map(self._tail.partitions, range(len(self._tail.topics))))


def topic_of(item: Event | Gap) -> int:
    """Give the number of its topic."""
    return item.topic if isinstance(item, Gap) else item.arrival.topic


class Scanned:
    """A scan that is over, as far as one reader is concerned."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at
