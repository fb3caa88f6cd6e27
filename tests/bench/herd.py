"""The herd: thousands of light SSE clients in one process that come back with their last id whenever they are cut off.

    python -m bench.herd PORT CLIENTS SPREAD BEGIN TOKEN FILE

Client n stays subscribed to session hn. Events are numbered by `bench.produce`, so each client knows whether it has all
of them. Cut off, a client comes back within SPREAD seconds; BEGIN, which may be empty, is where it asks to begin the
first time, as in ``from=earliest``. FILE is a `bench.native.Board`: `subscribed` is how many are being served, and an
age is the time from a client's asking to its `tailrace.live`. Prints, as JSON, what was wrong, when it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from bench.native import HEAD_BYTES, MOST_AGES

LOOK_SECONDS = 0.005
"""How often the board's commands are looked at."""
REFUSED_SECONDS = 0.5
"""Where nobody answers, a client tries again within so many."""
SUBSCRIBED, EVENTS, BYTES, WRONG, AGES, MEASURING, STOP, AWAY = range(8)
"""The numbers on the board; `WRONG` are events out of turn, and resets."""


class Herd:
    """All clients, and the board that they share."""

    def __init__(self, port: int, spread: float, begin: str, token: str, memory: mmap.mmap) -> None:
        self.port = port
        self.spread = spread
        self.begin = begin
        self.token = token
        self.numbers = memoryview(memory)[:HEAD_BYTES].cast("Q")
        self._ages = memoryview(memory)[HEAD_BYTES:].cast("I")
        self.told: Counter[str] = Counter()

    @property
    def away(self) -> bool:
        return bool(self.numbers[AWAY])

    def note(self, what: str) -> None:
        """Something is wrong."""
        self.told[what] += 1
        self.numbers[WRONG] += 1

    def note_live(self, seconds: float) -> None:
        """A client was told that it has all there was."""
        number = self.numbers[AGES]
        if self.numbers[MEASURING] and number < MOST_AGES:
            self._ages[number] = int(seconds * 1e6)
            self.numbers[AGES] = number + 1

    async def run(self, clients: int) -> None:
        """Live until told to stop."""
        members = [Member(self, f"h{number}") for number in range(clients)]
        was_away = True
        while not self.numbers[STOP]:
            if was_away and not self.away:
                for member in members:
                    member.come_within(self.spread)
            elif self.away and not was_away:
                for member in members:
                    member.leave()
            was_away = self.away
            await asyncio.sleep(LOOK_SECONDS)


class Member(asyncio.Protocol):
    """One client; the protocol of all its connections, which follow one another."""

    __slots__ = ("_asked_at", "_herd", "_last_id", "_later", "_next", "_rest", "_served", "_session", "_transport")

    def __init__(self, herd: Herd, session: str) -> None:
        self._herd = herd
        self._session = session
        self._last_id = b""
        self._next = -1
        self._rest = b""
        self._served = False
        self._asked_at = 0.0
        self._transport: asyncio.BaseTransport | None = None
        self._later: asyncio.Task[None] | None = None

    # Coming and going.

    def come_within(self, seconds: float) -> None:
        """Come at some time within so many seconds."""
        self._later = asyncio.get_running_loop().create_task(self._come(random.uniform(0, seconds)))

    def leave(self) -> None:
        """Go, and do not come back before the herd does."""
        if self._transport is not None:
            self._transport.abort()  # type: ignore[attr-defined]  # a socket's has it

    async def _come(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while not self._herd.away:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._herd.port)
            except OSError:
                await asyncio.sleep(random.uniform(0, REFUSED_SECONDS))
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._rest, self._asked_at = transport, b"", time.perf_counter()
        query = f"?{self._herd.begin}" if self._herd.begin and not self._last_id else ""
        last_id = b"Last-Event-ID: %b\r\n" % self._last_id if self._last_id else b""
        head = f"GET /v1/sessions/{self._session}/events{query} HTTP/1.1\r\nHost: bench\r\n"
        head += f"Authorization: Bearer {self._herd.token}\r\n"
        transport.write(head.encode() + last_id + b"\r\n")  # type: ignore[attr-defined]  # a socket's has it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's signature
        self._transport = None
        self._serve(served=False)
        if not (self._herd.away or self._herd.numbers[STOP]):
            self.come_within(self._herd.spread)

    def _serve(self, *, served: bool) -> None:
        self._herd.numbers[SUBSCRIBED] += served - self._served
        self._served = served

    # What comes.

    def data_received(self, data: bytes) -> None:
        self._herd.numbers[BYTES] += len(data)
        data = self._rest + data
        end = data.rfind(b"\n\n")  # events are never cut by the borders of chunks
        if end < 0:
            self._rest = data
            return
        self._rest = data[end + 2 :]
        for block in data[:end].split(b"\n\n"):
            self._take(block)

    def _take(self, block: bytes) -> None:
        name = b""
        for line in block.split(b"\n"):
            if line.startswith(b"id: "):
                self._last_id = line[4:]
            elif line.startswith(b"event: "):
                name = line[7:]
            elif line.startswith(b"data: ~"):
                self._count(int(line.split(b"~", 4)[3]))
        if name:
            self._hear(name.decode())

    def _count(self, number: int) -> None:
        self._herd.numbers[EVENTS] += 1
        if number != self._next and self._next >= 0:
            self._herd.note("out of turn")
        self._next = number + 1

    def _hear(self, name: str) -> None:
        if name == "tailrace.ready":
            self._serve(served=True)
        elif name == "tailrace.live":
            self._herd.note_live(time.perf_counter() - self._asked_at)
        elif name == "tailrace.reset":
            self._herd.note("reset")
        elif name == "tailrace.disconnect":
            self._herd.told["sent away"] += 1


def main(port: int, clients: int, spread: float, begin: str, token: str, board: Path) -> None:
    """Run the herd."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with board.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    herd = Herd(port, spread, begin, token, memory)
    asyncio.run(herd.run(clients))
    sys.stdout.write(json.dumps(herd.told) + "\n")


if __name__ == "__main__":
    port, clients, spread, begin, token, board = sys.argv[1:]
    main(int(port), int(clients), float(spread), begin, token, Path(board))
