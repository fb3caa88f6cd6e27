"""What a peer has sent and nobody has looked at: taken slice by slice, so that who says much keeps nobody waiting.

What comes at once may be a second of work if it consists of the smallest frames and requests, and in that second the
loop would serve nobody else. Knows no transport; `connection` stops reading when this is full, and `standing` says
whose turn it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tailrace.server.settings import PIECE_SECONDS, READ_BYTES
from tailrace.server.waiters import Waiters


class Incoming:
    """Bytes in order; lives as long as its connection.

    ``turn`` waits until more of them may be looked at, for `PIECE_SECONDS`. ``clock`` gives seconds of any origin.
    """

    __slots__ = ("_clock", "_data", "_reader", "_turn", "_yields_at", "over")

    def __init__(self, turn: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.perf_counter) -> None:
        self._turn = turn
        self._clock = clock
        self._data = bytearray()
        self._reader = Waiters()
        self._yields_at = 0.0
        self.over = False
        """Whether nothing will be added."""

    def __len__(self) -> int:
        return len(self._data)

    @property
    def full(self) -> bool:
        """Whether there is enough for now."""
        return len(self._data) > READ_BYTES

    def add(self, data: bytes | memoryview) -> None:
        """Add what has arrived; nothing follows the end."""
        if not self.over:
            self._data += data
            self._reader.wake()

    def end(self) -> None:
        """Say that nothing will be added; what is there can still be taken."""
        self.over = True
        self._reader.wake()

    def clear(self) -> None:
        """Forget what nobody will look at."""
        self._data.clear()

    def end_turn(self) -> None:
        """Wait for another turn before more is taken."""
        self._yields_at = 0.0

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until nothing will be added; at once for 0."""
        if not seconds:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.over:
                    await self._reader.wait()

    async def take(self, limit: int) -> bytes:
        """Return the next ``limit`` bytes at most, or wait for some; nothing at the end.

        Waits for a turn where the time of the last one is over.
        """
        while not (self._data or self.over):
            await self._reader.wait()
            self.end_turn()  # what has just come waits for one
        if self._data and self._clock() >= self._yields_at:
            await self._turn()
            self._yields_at = self._clock() + PIECE_SECONDS
        data = bytes(memoryview(self._data)[:limit])
        if len(data) == len(self._data):
            self._data = bytearray()  # emptied, one keeps its memory
        else:
            del self._data[: len(data)]
        return data
