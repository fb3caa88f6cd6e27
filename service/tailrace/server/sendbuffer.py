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
    """The bytes of one stream; lives until its end was sent or it was closed, maybe longer than its application.

    What is added is not copied before it is sent: so all who ask for a document share its bytes.
    """

    __slots__ = ("_pieces", "_size", "_waiters", "answers_request", "closed", "complete", "full")

    def __init__(self, *, answers_request: bool) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._size = 0
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
        return self._size

    def extend(self, data: bytes) -> None:
        """Add ``data`` whole, unless the end was said or the stream has gone."""
        if not (self.complete or self.closed):
            self._pieces.append(data)
            self._size += len(data)
            self.full = self.full or self._size > HIGH_WATER_BYTES

    def take(self, limit: int) -> bytes:
        """Remove and give at most ``limit`` bytes."""
        taken = b"".join(self._pieces if limit >= self._size else self._first(limit))
        self._size -= len(taken)
        if not self._size:
            self._pieces = []
        if self._size <= LOW_WATER_BYTES:
            self.full = False
            self._waiters.wake()
        return taken

    def _first(self, limit: int) -> list[bytes | memoryview]:
        """Remove the first ``limit`` bytes of more, and give them in pieces."""
        count = 0
        while limit >= len(self._pieces[count]):
            limit -= len(self._pieces[count])
            count += 1
        split = memoryview(self._pieces[count])
        first = [*self._pieces[:count], split[:limit]]
        self._pieces[: count + 1] = [split[limit:]]
        return first

    def close(self) -> None:
        """Forget what is left: it was all sent, or the stream or its connection has gone."""
        self.closed = True
        self.full = False
        self._pieces, self._size = [], 0
        self._waiters.wake()

    async def room(self) -> None:
        """Wait until a writer may go on."""
        while self.full:
            await self._waiters.wait()

    async def sent(self) -> None:
        """Wait until everything, the end included, has been handed to the connection."""
        while not self.closed:
            await self._waiters.wait()
