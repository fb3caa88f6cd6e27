"""Readers whose position this replica has yet to reach, each by one partition that it waits for.

A reader is woken when that partition has been read as far as the reader's own entry, not by what comes in others; then
it looks for the next one that it is ahead in. So what a batch costs does not depend on how many entries a reader has.
Does no I/O. Kept by `tail`; lives as long as it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tailrace.view import Follower


class Waiting(NamedTuple):
    """Who waits, for which partition (its topic's number and its own), and until which next offset."""

    reader: Follower
    place: tuple[int, int]
    offset: int


class Ahead:
    """Who waits for what."""

    __slots__ = ("_moved", "_places", "_readers", "_released")

    def __init__(self) -> None:
        self._places: dict[Follower, tuple[int, int]] = {}
        self._readers: dict[tuple[int, int], dict[Follower, int]] = {}
        self._moved: set[tuple[int, int]] = set()
        self._released: dict[Follower, None] = {}

    @property
    def everyone(self) -> tuple[Waiting, ...]:
        """All who wait."""
        return tuple(Waiting(reader, place, self._readers[place][reader]) for reader, place in self._places.items())

    def wait(self, reader: Follower, place: tuple[int, int], offset: int) -> None:
        """Let ``reader`` wait until the next offset of ``place`` is ``offset``, and for nothing else."""
        self.leave(reader)
        self._places[reader] = place
        self._readers.setdefault(place, {})[reader] = offset

    def leave(self, reader: Follower) -> None:
        """Let ``reader`` wait for nothing. Harmless where it does not."""
        self._released.pop(reader, None)
        if (place := self._places.pop(reader, None)) is not None:
            self._readers[place].pop(reader)
            if not self._readers[place]:
                del self._readers[place]

    def release(self, reader: Follower) -> None:
        """Let ``reader``, if it waits, be among those whom `reached` returns next: it is ahead no more."""
        if reader in self._places:
            self.leave(reader)
            self._released[reader] = None

    def note(self, place: tuple[int, int]) -> None:
        """Remember that ``place`` is being read on."""
        if place in self._readers:
            self._moved.add(place)

    def reached(self, next_offset: Callable[[int, int], int]) -> tuple[Follower, ...]:
        """Return those who have waited long enough; they wait no more."""
        moved, self._moved = self._moved, set()
        for place in moved:
            for reader, offset in list(self._readers.get(place, {}).items()):
                if offset <= next_offset(*place):
                    self.release(reader)
        released, self._released = self._released, {}
        return tuple(released)
