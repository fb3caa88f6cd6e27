"""Whom a reader reports to, and whom it asks for what lies below the floor. Does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tailrace.errors import Farewell
from tailrace.event import Event
from tailrace.position import Position

if TYPE_CHECKING:
    from tailrace.reader.flushing import Reader
    from tailrace.reader.handed import Place


class Owner(Protocol):
    """Who the reader reports to: its subscription."""

    @property
    def subject(self) -> str:
        """The token's ``sub``: what is read again for the reader is put on its account."""

    def reset(self, position: Position, reason: str) -> bytes:
        """Write `tailrace.reset`; ``position`` is the reader's, after it."""

    def caught_up(self, position: Position, replayed: int) -> bytes:
        """Write what the client hears when the reader goes live; may be empty."""

    def accepted(self, events: Sequence[Event], size: int, *, live: bool) -> None:
        """The wire has taken these events, ``size`` bytes, and is below its mark: which is no proof of receipt."""

    def held_up(self) -> None:
        """The last write has filled the wire."""

    def at_rest(self) -> None:
        """Nothing is due any more, and the reader is `closing`."""

    def end(self, farewell: Farewell) -> None:
        """The reader has to leave, and is to come back."""

    def failed(self, error: Exception) -> None:
        """The reader cannot go on."""


class Replays(Protocol):
    """Who reads the log below the floor, for all readers: `tailrace.replay`."""

    max_records: int
    """So many offsets below the floor a reader may be: one that is farther behind goes on there, and is told."""

    @property
    def is_full(self) -> bool:
        """Whether no other reader may ask."""

    def ask(self, reader: Reader, place: Place, offset: int) -> None:
        """Have all that lies from ``offset`` up to the floor, and some of what follows, handed to ``reader``.

        Raises a `Farewell` where too many wait already.
        """

    def leave(self, reader: Reader) -> None:
        """Hand it nothing more. Harmless where it has asked for nothing."""
