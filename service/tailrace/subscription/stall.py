"""Whether a client that is held up takes anything: looked at every tick, for as long as its wire is full.

A slow client is not a stalled one: it may take as long as it likes, as long as it goes on taking. `one` says when a
wire has filled, and cuts whoever takes nothing. Lives as long as the subscription.
"""

from __future__ import annotations

from collections.abc import Callable

from tailrace.timers import Timer, Wheel
from tailrace.wire import Wire


class Stall:
    """Watches one wire; ``on_stalled`` is called, with the seconds, when it has not moved for ``patience_seconds``."""

    __slots__ = ("_on_stalled", "_patience_seconds", "_since", "_taken", "_timer", "_wheel", "_wire")

    def __init__(self, wire: Wire, wheel: Wheel, patience_seconds: float, on_stalled: Callable[[int], None]) -> None:
        self._wire = wire
        self._wheel = wheel
        self._patience_seconds = patience_seconds
        self._on_stalled = on_stalled
        self._timer: Timer | None = None
        self.watch()

    @property
    def watching(self) -> bool:
        """Whether it looks; it stops when the wire is writable."""
        return self._timer is not None

    def watch(self) -> None:
        """The wire has filled just now: what the client takes counts from here."""
        self._note()
        if self._timer is None:
            self._timer = self._wheel.after(1, self._look)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self) -> None:
        self._since, self._taken = self._wheel.now, self._wire.taken

    def _look(self) -> None:
        self._timer = None
        if self._wire.writable:
            return
        if self._wire.taken.moved_since(self._taken):
            self._note()
        elif (seconds := self._wheel.now - self._since) >= self._patience_seconds:
            self._on_stalled(seconds)
            return
        self._timer = self._wheel.after(1, self._look)
