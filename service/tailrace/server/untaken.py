"""Answers that were given over HTTP/2 and that their peers do not take: what all connections together may leave so.

A peer whose window is shut makes the server keep its answers, and can be one of thousands. Above the bound the answers
of one connection are given up: `places` says of which. Its streams are not touched. Lives as long as the listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tailrace.places import Places
from tailrace.server.settings import MAX_ALL_UNTAKEN_BYTES

if TYPE_CHECKING:
    from tailrace.server.connection import Connection


class Untaken:
    """The connections that owe their reading; ``on_limit`` is told of each whose answers are given up."""

    def __init__(self, on_limit: Callable[[str], None], max_bytes: int = MAX_ALL_UNTAKEN_BYTES) -> None:
        self._on_limit = on_limit
        self._max_bytes = max_bytes
        self._sizes: dict[Connection, int] = {}
        self._places: Places[Connection] = Places()
        self._relieving = False
        self.bytes = 0

    def note(self, connection: Connection, size: int) -> None:
        """Take note that ``connection`` has left ``size`` bytes untaken."""
        before = self._sizes.pop(connection, 0)
        self.bytes += size - before
        if size:
            self._sizes[connection] = size
        if size and not before:
            self._places.add(connection.source, connection)
        elif before and not size:
            self._places.discard(connection.source, connection)
        if not self._relieving:  # else a connection that is relieved says so
            self._relieve()

    def _relieve(self) -> None:
        self._relieving = True
        while self.bytes > self._max_bytes and (one := self._places.evict()) is not None:
            self._on_limit("untaken_answers")
            one.relieve()
        self._relieving = False
