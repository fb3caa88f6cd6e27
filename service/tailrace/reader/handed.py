"""What scans of the log have found for one reader, and it has not taken yet.

A scan serves a reader in one partition until it lets it go, or the reader turns away from it: what the log held is not
what it holds any more. From then on the reader does not listen to that scan, whatever it still brings. Does no I/O.
Lives as long as its reader is catching up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from tailrace.event import Event

Place = tuple[int, int]
"""Topic, by its number, and partition."""


class Gap(NamedTuple):
    """A stretch of a partition that cannot be read: where to go on, and why, as `tailrace.reset` says it."""

    place: Place
    offset: int
    reason: str


class Scan(Protocol):
    """A scan of one partition's log, as a reader that is served by it sees it. Lives longer than the reader listens."""

    at: int
    """The next offset that it will look at: all before it that is the reader's was handed to the reader."""


class Handed:
    """The events and gaps that wait, in the order in which they were found, and the scans that find them."""

    __slots__ = ("_items", "_scans", "bytes")

    def __init__(self) -> None:
        self._items: deque[Event | Gap] = deque()
        self._scans: dict[Place, Scan] = {}
        self.bytes = 0
        """Of the events that wait."""

    def __len__(self) -> int:
        """How many events and gaps wait."""
        return len(self._items)

    # The scans.

    def serve(self, place: Place, scan: Scan) -> None:
        """Listen to ``scan``, and to no other one of this partition."""
        self._scans[place] = scan

    def leave(self, place: Place, scan: Scan, offset: int) -> None:
        """The scan serves this reader no more; ``offset`` is the first that it has not looked at.

        It may be below where the reader began, who then has lost nothing.
        """
        if self._scans.get(place) is scan:
            self._scans[place] = Scanned(offset)

    def is_served(self, place: Place) -> bool:
        """Whether a scan is at work in the partition, or what one has scanned was not taken in full yet."""
        return place in self._scans

    def scanned(self) -> Iterator[tuple[Place, int]]:
        """Return how far each partition was scanned; once nothing waits, all before that was taken."""
        for place, scan in list(self._scans.items()):
            yield place, scan.at
            if isinstance(scan, Scanned):
                del self._scans[place]

    # What they have found.

    def add(self, scan: Scan, item: Event | Gap) -> None:
        """Keep what ``scan`` has found; nothing, where this reader does not listen to it."""
        if self._scans.get(place_of(item)) is scan:
            self._items.append(item)
            self.bytes += _bytes_of(item)

    def pop(self) -> Event | Gap:
        """Return what was found first."""
        item = self._items.popleft()
        self.bytes -= _bytes_of(item)
        return item

    def forget(self, topic: int) -> None:
        """Turn away from a topic that was deleted and made again."""
        self._keep([item for item in self._items if place_of(item)[0] != topic])
        self._scans = {place: scan for place, scan in self._scans.items() if place[0] != topic}

    def cut_back(self, place: Place, offset: int) -> None:
        """The log was cut off at ``offset``: turn away from a scan that has been beyond it, and drop what it found."""
        scan = self._scans.get(place)
        if scan is not None and scan.at > offset:
            self._scans[place] = Scanned(offset)
            self._keep([_before(offset, item) if place_of(item) == place else item for item in self._items])

    def _keep(self, items: Iterable[Event | Gap | None]) -> None:
        self._items = deque(item for item in items if item is not None)
        self.bytes = sum(map(_bytes_of, self._items))


class Scanned:
    """A scan that is over, as far as one reader is concerned."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at


def place_of(item: Event | Gap) -> Place:
    """Say in which partition it lies."""
    return item.place if isinstance(item, Gap) else (item.arrival.topic, item.arrival.partition)


def _before(offset: int, item: Event | Gap) -> Event | Gap | None:
    """Return what is left of ``item`` where the log ends at ``offset``: a gap may have begun below it."""
    if isinstance(item, Gap):
        return item._replace(offset=min(item.offset, offset))
    return item if item.offset < offset else None


def _bytes_of(item: Event | Gap) -> int:
    return 0 if isinstance(item, Gap) else item.size
