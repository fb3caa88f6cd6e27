"""Raw connections of an attacker, as cheap as Python makes them: bytes that are ready go out, answers are counted.

No library of HTTP has a part in it: `Http2` walks over the heads of frames only, `Http1` counts status lines. `Tally`
has what all of them sent; `Scene` opens them, so many a second at most, from addresses that are not those of honest
clients.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from h2raw import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    settings,
    window_update,
)

MAX_CONCURRENT_STREAMS = 3
HUGE_WINDOW = 2**31 - 1 - 65_535
"""What may be added to a connection's window at once: it never shuts again."""
CONNECT_SECONDS = 5.0
RECEIVE_BUFFER_BYTES = 4096
"""``SO_RCVBUF`` of who reads nothing: what is not taken shall stay with the service."""
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")
TICK_SECONDS = 0.02
LOOK_SECONDS = 0.1
"""How soon an attacker notices that it was cut."""


@dataclass(slots=True)
class Tally:
    """What was sent, and what came of it."""

    connections: int = 0
    requests: int = 0
    bytes: int = 0
    notes: Counter[str] = field(default_factory=Counter)


class Wire(asyncio.Protocol):
    """One connection. ``gone`` once either side has ended it."""

    first = b""
    """What is said at once."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.gone = False
        self.answered = 0
        self._transport: asyncio.Transport | None = None
        self._left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.tally.connections += 1
        if self.first:
            self.say(self.first)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self.gone = True
        if not self._left:
            self.tally.notes["cut"] += 1

    def say(self, data: bytes, requests: int = 0) -> None:
        """Send these bytes, which hold so many requests."""
        if not self.gone and self._transport is not None:
            self._transport.write(data)
            self.tally.bytes += len(data)
            self.tally.requests += requests

    def read_no_more(self) -> None:
        """Take nothing from now on."""
        if self._transport is not None and not self.gone:
            self._transport.pause_reading()

    def leave(self) -> None:
        """Close, and do not count that as being cut."""
        self._left = True
        if self._transport is not None:
            self._transport.abort()


class Http1(Wire):
    """Counts statuses, wherever one begins; keeps the newest ``heard`` bytes for who looks into them."""

    heard = b""

    def data_received(self, data: bytes) -> None:
        for status in STATUS.findall(data):
            self.answered += 1
            self.tally.notes[status.decode()] += 1
        self.heard = (self.heard + data)[-4096:]


class Http2(Wire):
    """Says its preface and opens its window wide; counts answers that are whole, resets and farewells.

    ``streams`` is how many the server allows at once, once it has said so. Subclass `changes` to say other SETTINGS.
    """

    changes = frame(SETTINGS)
    window = window_update(0, HUGE_WINDOW)

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self.first = PREFACE + self.changes + self.window
        self.streams = 100
        self.asked = 0
        self._rest = b""

    @property
    def room(self) -> int:
        """How many more requests the server's limit allows now."""
        return self.streams - (self.asked - self.answered)

    def ask(self, block: bytes, count: int = 1) -> None:
        """Send so many requests with this header block, each on a stream of its own."""
        head = len(block).to_bytes(3, "big") + bytes([HEADERS, END_STREAM | END_HEADERS])
        first = 2 * self.asked + 1
        self.asked += count
        stop = first + 2 * count
        self.say(b"".join(head + number.to_bytes(4, "big") + block for number in range(first, stop, 2)), count)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= HEADERS:
                if flags & END_STREAM:
                    self.answered += 1
                    self.tally.notes["answered"] += 1
            else:
                self._heard(kind, flags, data[at + 9 : end])
            at = end
        self._rest = data[at:]

    def _heard(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == RST_STREAM:
            self.answered += 1
            self.tally.notes[f"reset {int.from_bytes(payload, 'big')}"] += 1
        elif kind == GOAWAY:
            self.tally.notes[f"goaway {int.from_bytes(payload[4:8], 'big')}"] += 1
        elif kind == SETTINGS and not flags & ACK:
            for each in range(0, len(payload), 6):
                if int.from_bytes(payload[each : each + 2], "big") == MAX_CONCURRENT_STREAMS:
                    self.streams = int.from_bytes(payload[each + 2 : each + 6], "big")
            self.say(frame(SETTINGS, ACK))


class ShutHttp2(Http2):
    """Its streams have no window: no body is ever taken."""

    changes = settings(_4=0)


W = TypeVar("W", bound=Wire)


@dataclass(slots=True)
class Scene:
    """Where to attack, how much and how long. ``times`` is 1 for the size that the table names.

    ``addresses`` is how many the attacker has, all on loopback; 0: it shares that of honest clients, as behind a proxy.
    """

    port: int
    bootstrap: str
    topic: str
    times: float
    seconds: float
    addresses: int
    begin: Callable[[], None]
    """Called when all is prepared: returns when the attack may begin."""
    tally: Tally = field(default_factory=Tally)
    until: float = 0.0
    _next: int = 0
    _room: float = 0.0
    _filled: float = 0.0

    def start(self) -> None:
        """Wait for the word to begin, and let the time run."""
        self.begin()
        self._filled = asyncio.get_running_loop().time()
        self.until = self._filled + self.seconds

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return asyncio.get_running_loop().time() >= self.until

    def sized(self, count: float) -> int:
        """Return a count of the table, at this run's size; at least one."""
        return max(1, round(count * self.times))

    def address(self) -> str:
        """Return the next of the attacker's own addresses, in turn."""
        self._next += 1
        return f"127.0.66.{1 + self._next % self.addresses}"

    async def open(self, wire: type[W], *, deaf: bool = False, tls: ssl.SSLContext | None = None) -> W | None:
        """Open one more connection, unread if it is ``deaf``; None where it was refused, or not taken in time."""
        loop = asyncio.get_running_loop()
        local = (self.address(), 0) if self.addresses else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, made = await loop.create_connection(
                    lambda: wire(self.tally), "127.0.0.1", self.port, local_addr=local, ssl=tls
                )
        except (OSError, TimeoutError):
            self.tally.notes["not connected"] += 1
            return None
        if deaf:
            made.read_no_more()
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return made

    async def turn(self, per_second: float) -> None:
        """Wait until one more of something may be done that is done so often in all."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            self._room = min(1.0 + per_second * TICK_SECONDS, self._room + (now - self._filled) * per_second)
            self._filled = now
            if self._room >= 1:
                self._room -= 1
                return
            await asyncio.sleep(TICK_SECONDS)

    async def pause(self, seconds: float = TICK_SECONDS) -> None:
        """Sleep, but not beyond the end."""
        await asyncio.sleep(max(0.0, min(seconds, self.until - asyncio.get_running_loop().time())))

    async def stay(self, wire: Wire) -> None:
        """Wait until the connection was cut, or the time is over."""
        while not (wire.gone or self.over):
            await self.pause(LOOK_SECONDS)

    async def visits(
        self,
        count: int,
        per_second: float,
        kind: type[W],
        visit: Callable[[W], Coroutine[Any, Any, None]],
        *,
        deaf: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Let so many be connected at once, as `open` does it; each leaves after its ``visit``, and comes again.

        ``per_second`` is how many come in all. Both are counts of the table.
        """

        async def one() -> None:
            while not self.over:
                await self.turn(self.sized(per_second))
                wire = await self.open(kind, deaf=deaf, tls=tls)
                if wire is not None:
                    await visit(wire)
                    wire.leave()

        await self.crowd(self.sized(count), one)

    async def crowd(self, count: int, one: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let so many do the same at once, until the time is over; leave nobody behind."""
        tasks = [asyncio.create_task(one()) for _ in range(count)]
        try:
            await asyncio.wait(tasks, timeout=self.seconds + 1)
        finally:
            for task in tasks:
                task.cancel()
            for each in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(each, Exception):
                    raise each
