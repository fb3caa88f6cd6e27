"""The place of a reader that is not live: a vector of next offsets *taken*, and what is due by it.

Below the floor a partition's events are handed over by a scan of the log; from the floor on they are in the session's
view. Each partition is handed over to the tail by itself: one may be there while another is still being scanned. Does
no I/O and writes nothing; `flushing` takes what is due. Lives until the reader goes live, or leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress, count, repeat
from operator import gt, lt

from tailrace.event import Event
from tailrace.position import Position, Vector
from tailrace.reader.handed import Gap, Handed, Place, Scan, place_of
from tailrace.tail import Tail
from tailrace.view import View


class CatchingUp:
    """What one reader has taken, and what it lacks."""

    __slots__ = ("_handed", "_tail", "_taken", "_view", "place")

    def __init__(self, tail: Tail, view: View, taken: Sequence[Sequence[int]]) -> None:
        self._tail = tail
        self._view = view
        self._taken = Vector(taken)
        self._handed = Handed()
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
        return self._taken.id_at(self._tail.epochs, event.arrival.topic, event.arrival.partition)

    def pass_over(self, place: Place, offset: int) -> None:
        """Go on at ``offset``. From the floor on, events of the view that were not due before are so now: look at all
        again; below it none is, and a view may be long."""
        self._taken.set(*place, offset)
        if offset >= self._tail.floor(*place):
            self.look_again()

    def look_again(self) -> None:
        """Look at the view from its beginning."""
        self.place = self._view.first

    def forget(self, topic: int) -> None:
        """Begin at the beginning of a topic that was deleted and made again."""
        self._pad()
        self._taken.clear(topic)
        self._handed.forget(topic)

    def cut_back(self, place: Place, offset: int) -> bool:
        """The log was cut off at ``offset``: what was found beyond it is no more. Whether the client has some of it."""
        self._handed.cut_back(place, offset)
        if self._taken.entry(*place) <= offset:
            return False
        self._taken.set(*place, offset)
        return True

    def settle(self, max_records: int) -> list[str]:
        """Move past what no scan could give; gives the reasons, as `tailrace.reset` says them."""
        reasons = []
        for place, offset in self.below:
            if not self.is_served(place):
                for target, reason in self._beyond_reach(place, offset, max_records):
                    if target > self._taken.entry(*place):
                        self.pass_over(place, target)
                        reasons.append(reason)
        return reasons

    def _beyond_reach(self, place: Place, offset: int, max_records: int) -> Iterator[tuple[int, str]]:
        """Say where to go on, and why; never above the floor, because from there on the tail has everything."""
        tail = self._tail
        floor = tail.floor(*place)
        yield tail.beyond_gap(*place, offset)
        yield min(tail.start(*place), floor), "retention"
        yield floor - max_records, "bounded"

    # What is due.

    def due(self) -> Iterator[Event | Gap]:
        """Return the events that the client lacks, and the gaps between them, and count each as taken."""
        while self._handed:
            item = self._handed.pop()
            self.pass_over(place_of(item), after(item))
            yield item
        self._note_scans()
        self.place = max(self.place, self._view.first)
        for event in self._view.since(self.place):
            self.place += 1
            if self.is_due(event):
                self._taken.set(event.arrival.topic, event.arrival.partition, event.offset + 1)
                yield event

    def is_due(self, event: Event) -> bool:
        """Whether the client lacks ``event`` of the view, and rule 2: it lacks nothing that lies below the floor."""
        topic, partition = event.arrival.topic, event.arrival.partition
        return event.offset >= self._taken.entry(topic, partition) >= self._tail.floor(topic, partition)

    def move_to_cut(self) -> None:
        """Nothing is due: whatever lies between an entry and the replica's cut is not this session's."""
        for topic, entries in self._entries():
            floors, cuts = self._tail.spans(topic)
            if any(map(lt, entries, cuts)):
                for number, (entry, floor, cut) in enumerate(zip(entries, floors, cuts, strict=False)):
                    if floor <= entry < cut:
                        self._taken.set(topic, number, cut)

    def may_go_live(self) -> bool:
        """Rule 3: every entry is at or above the floor, and the replica's cut has reached every entry."""
        return not self.below and self.ahead is None

    def has_nothing_to_come(self) -> bool:
        """Whether nothing is due, and the reader would go live."""
        return self.may_go_live() and not any(self.is_due(event) for event in self._view.events)

    @property
    def below(self) -> list[tuple[Place, int]]:
        """Where the next offset lies below the floor, and that offset: only Kafka has what comes next."""
        return [
            ((topic, number), entry)
            for topic, entries in self._entries()
            if any(map(lt, entries, self._tail.spans(topic)[0]))  # mostly none is: the others need a closer look
            for number, (entry, floor) in enumerate(zip(entries, self._tail.spans(topic)[0], strict=False))
            if entry < floor
        ]

    @property
    def ahead(self) -> tuple[Place, int] | None:
        """The first partition whose next offset lies beyond the replica's cut, and that offset; None if none does."""
        for topic, entries in self._entries():
            is_ahead = map(gt, entries, chain(self._tail.spans(topic)[1], repeat(0)))
            for number in compress(count(), is_ahead):
                return (topic, number), entries[number]
        return None

    # What is handed over.

    def served_by(self, place: Place, scan: Scan) -> None:
        """``scan`` hands over what it finds in the partition, from the reader's own offset on."""
        self._handed.serve(place, scan)

    def left_by(self, place: Place, scan: Scan, offset: int) -> None:
        """``scan`` serves this reader no more; ``offset`` is the first that it has not looked at for it."""
        self._handed.leave(place, scan, offset)

    def is_served(self, place: Place) -> bool:
        """Whether a scan is at work in the partition, or what one has scanned was not taken in full yet."""
        return self._handed.is_served(place)

    def hand(self, scan: Scan, item: Event | Gap) -> None:
        """Take over what ``scan`` has found, unless it was taken from the tail already: a scan goes on for a while."""
        if after(item) > self._taken.entry(*place_of(item)):
            self._handed.add(scan, item)

    @property
    def lying_bytes(self) -> int:
        """Of what was handed over and not taken yet."""
        return self._handed.bytes

    def _note_scans(self) -> None:
        """Move to where the scans are, once all that they handed over was taken; the view may have more for us then."""
        if not self._handed:
            for place, offset in self._handed.scanned():
                if offset > self._taken.entry(*place):
                    self.pass_over(place, offset)

    # Within.

    def _entries(self) -> Iterator[tuple[int, Sequence[int]]]:
        """Return each topic's number and its entries, one for every partition that the vector or this replica knows."""
        self._pad()
        return enumerate(self._taken)

    def _pad(self) -> None:
        """Rule 4: a partition that the id did not know has entry 0; one that this replica does not know is kept."""
        self._taken.pad(map(self._tail.partitions, range(len(self._tail.topics))))


def after(item: Event | Gap) -> int:
    """Return where its reader goes on once it has taken it."""
    return item.offset if isinstance(item, Gap) else item.offset + 1
