"""What a peer has sent and nobody has looked at: taken slice by slice, so that who says much keeps nobody waiting.

A socket gives up to 256 KiB at once. As the smallest of frames and requests that is seconds of work, during which the
loop would serve nobody else. Knows no transport; `connection` stops reading when this is full.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tailrace.server.settings import READ_BYTES, SLICE_BYTES, TURN_SECONDS
from tailrace.server.waiters import Waiters


class Incoming:
    """Bytes in order; lives as long as its connection. ``clock`` gives seconds of any origin, and goes on in a turn."""

    __slots__ = ("_clock", "_data", "_reader", "_yields_at", "over")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._data = bytearray()
        self._reader = Waiters()
        self._yields_at = 0.0
        self.over = False
        """Whether nothing will be added."""

    @property
    def full(self) -> bool:
        """Whether there is enough for now."""
        return len(self._data) > READ_BYTES

    def add(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data += data
        self._reader.wake()

    def end(self) -> None:
        """Say that nothing will be added; what is there can still be taken."""
        self.over = True
        self._reader.wake()

    def clear(self) -> None:
        """Forget what nobody will look at."""
        self._data.clear()

    async def arrived(self) -> None:
        """Wait until there is something to take, or nothing will be added."""
        while not (self._data or self.over):
            await self._reader.wait()
            self._yields_at = self._clock() + TURN_SECONDS

    async def take(self) -> bytes:
        """Give the next slice, or wait for it; nothing at the end. Lets the loop go on when its time has come."""
        if self._data and self._clock() > self._yields_at:
            await asyncio.sleep(0)
            self._yields_at = self._clock() + TURN_SECONDS
        await self.arrived()
        data = bytes(memoryview(self._data)[:SLICE_BYTES])
        if len(data) == len(self._data):
            self._data = bytearray()  # emptied, one keeps its memory
        else:
            del self._data[: len(data)]
        return data
