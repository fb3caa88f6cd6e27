"""One session's part of the tail: its events, oldest first, and who reads them.

Numbers its events, so that a reader's place is one number; knows no bound, no floor and no other session. Made by
`tail` for a session's first event or reader, and forgotten when it has neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from tailrace.event import Event
from tailrace.position import Position

VIEW_BYTES = 1000
"""Memory of one session, beside its events: mostly the deque. A tail of short sessions would be twice its bound."""


class Follower(Protocol):
    """What the tail knows of a reader."""

    live: bool
    place: int

    @property
    def position(self) -> Position: ...

    def flush(self) -> None: ...
    def fail(self, error: Exception) -> None: ...
    def overtaken(self, event: Event) -> None: ...
    def leave(self) -> None: ...
    def forget(self, topic: int) -> None: ...
    def look_again(self) -> None: ...
    def cut_back(self, topic: int, partition: int, offset: int, reason: str) -> None: ...


_NO_EVENTS: deque[Event] = deque(maxlen=0)
"""Shared by all views that hold nothing: an empty deque is most of what a quiet session would cost."""


class View:
    """One session's events, oldest first. ``first`` and ``end`` number them; forgotten when empty and unread."""

    __slots__ = ("end", "events", "first", "readers", "session", "slowest")

    def __init__(self, session: str) -> None:
        self.session = session
        self.events = _NO_EVENTS
        self.first = 0
        self.end = 0
        self.readers: dict[Follower, None] = {}
        self.slowest = 0
        """No live reader's place is before this: eviction looks at readers only when it comes so far."""

    def begin(self) -> deque[Event]:
        """Return the place for the first event of one that holds none."""
        self.events = deque()
        return self.events

    def evict(self) -> None:
        """Let the oldest event go."""
        self.events.popleft()
        self.first += 1
        if not self.events:
            self.events = _NO_EVENTS

    def since(self, place: int) -> Iterator[Event]:
        """Return the events from number ``place`` on, found from the nearer end: a view may be long."""
        skipped, due = place - self.first, self.end - place
        if skipped <= due:
            return islice(self.events, skipped, None)
        return reversed(list(islice(reversed(self.events), due)))

    def overtake(self, event: Event) -> None:
        """Send back every live reader that had not taken ``event``, the one just evicted."""
        for reader in self.readers:
            if reader.live and reader.place < self.first:
                reader.overtaken(event)
        self.slowest = min((reader.place for reader in self.readers if reader.live), default=self.end)
