"""What one HTTP/2 stream has yet to send.

Hypercorn's buffer lets a writer go on when a small piece was taken, however much is left: a client that opens no window
makes the process grow without bound. It also leaves the writer asleep when the connection dies. This one is full above
`HIGH_WATER_BYTES`, has room again below half of it, and wakes everybody when it closes. Knows no frames and no windows;
`sending` takes from it what the peer's windows allow.
"""

from __future__ import annotations

from tailrace.server.waiters import Waiters
from tailrace.wire import HIGH_WATER_BYTES

LOW_WATER_BYTES = HIGH_WATER_BYTES // 2


class SendBuffer:
    """The bytes of one stream; lives until its end was sent or it was closed, maybe longer than its application."""

    __slots__ = ("_data", "_waiters", "answers_request", "closed", "complete", "full")

    def __init__(self, *, answers_request: bool) -> None:
        self._data = bytearray()
        self._waiters = Waiters()
        self.answers_request = answers_request
        """Whether the peer is still sending a request body that nobody will want once the answer is complete."""
        self.complete = False
        """Whether nothing will be added: the stream ends with the last byte."""
        self.closed = False
        self.full = False

    def __bool__(self) -> bool:
        return True  # one that is empty is still one

    def __len__(self) -> int:
        return len(self._data)

    def extend(self, data: bytes) -> None:
        """Add ``data`` whole, unless the end was said or the stream has gone."""
        if not (self.complete or self.closed):
            self._data += data
            self.full = self.full or len(self._data) > HIGH_WATER_BYTES

    def take(self, limit: int) -> bytes:
        """Remove and give at most ``limit`` bytes."""
        if limit >= len(self._data):
            taken = bytes(self._data)
            self._data = bytearray()
        else:
            taken = bytes(memoryview(self._data)[:limit])
            del self._data[:limit]
        if len(self._data) <= LOW_WATER_BYTES:
            self.full = False
            self._waiters.wake()
        return taken

    def close(self) -> None:
        """Forget what is left: it was all sent, or the stream or its connection has gone."""
        self.closed = True
        self.full = False
        self._data = bytearray()
        self._waiters.wake()

    async def room(self) -> None:
        """Wait until a writer may go on."""
        while self.full:
            await self._waiters.wait()

    async def sent(self) -> None:
        """Wait until everything, the end included, has been handed to the connection."""
        while not self.closed:
            await self._waiters.wait()
