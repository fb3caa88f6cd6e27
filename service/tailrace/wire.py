"""Where a subscriber's bytes go: write, writable, abort.

A wire knows nothing of sessions, events or positions. `reader` writes to it; `server` makes the fast ones, which put
framed bytes straight on the connection, and offers them in the ASGI scope under ``EXTENSION``. `PlainWire` does the
same with nothing but ASGI's ``send``, for foreign servers and test clients. A wire lives as long as its response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tailrace.encoding import Framing

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

EXTENSION = "tailrace.wire"
"""Key in ``scope["extensions"]``; its value is a callable that gives the `Wire`, once the response has started."""

UNHEARD = "tailrace.unheard"
"""Key beside it, of a WebSocket; its value is a callable that says whether the peer has said something that the server
has yet to look at."""

HIGH_WATER_BYTES = 64 * 1024
"""A wire that holds more than this is not writable: one flush of a reader, the default mark of asyncio's transports."""

MIN_TAKEN_BYTES = 4096
"""Who takes less than this within a time-out has stopped reading. Three packets: over the ten seconds of the send
time-out a twentieth of what the slowest phone carries. A full wire, some 200 kB, can so be held for nine minutes."""


class Taken(NamedTuple):
    """How much a peer has taken, by one measure. The figure alone means nothing; its growth does."""

    measure: str
    amount: int

    def moved_since(self, before: Taken) -> bool:
        """Whether the peer has taken enough since: where another measure applies now, something has moved on."""
        return self.measure != before.measure or self.amount - before.amount >= MIN_TAKEN_BYTES


class Wire(Protocol):
    """One subscriber's way out. Every call is made on the event loop; none of them blocks or raises."""

    framing: Framing
    on_writable: Callable[[], None]
    """Set by the owner; called when the wire has become writable again, and never before that."""

    @property
    def writable(self) -> bool:
        """Whether `write` may be called now: alive, and below its mark."""

    @property
    def taken(self) -> Taken:
        """How much the peer has taken; asked for only while the wire is not writable."""

    def write(self, data: bytes) -> None:
        """Take the bytes whole, in order. After the end or an abort they are dropped."""

    def finish(self) -> None:
        """Ask `serve` to return once what was written has been handed on; the caller then ends the response."""

    def abort(self) -> None:
        """Cut: the peer gets no farewell, nothing is waited for."""

    def was_heard(self) -> bool:
        """Whether the peer has sent anything since this was last asked, if only a pong; True where nobody can tell."""

    async def serve(self, receive: Receive, on_message: Callable[[Message], None]) -> None:
        """Read what the peer sends until it leaves, or until `finish`; the connection's only task sits here."""


def open_wire(scope: Scope, send: Send) -> Wire:
    """Return the server's own wire for a response that has started, or a plain one where the server offers none."""
    extensions: dict[str, Callable[[], Wire]] = scope.get("extensions") or {}
    return extensions[EXTENSION]() if EXTENSION in extensions else PlainWire(scope, send)


async def say_last(wire: Wire, said: Awaitable[None], seconds: float) -> None:
    """Await the last word of a response; a peer that does not take it within ``seconds`` is cut, and no task waits."""
    try:
        async with asyncio.timeout(seconds):
            await said
    except TimeoutError:
        wire.abort()


def is_disconnect(message: Message) -> bool:
    """Whether ASGI says that the peer, or the server, has gone."""
    return message["type"] in {"http.disconnect", "websocket.disconnect"}


def _nothing() -> None:
    """Stand in for a callback that nobody has set."""


class PlainWire:
    """A wire over ASGI's ``send``: the same bytes, one task more.

    Over HTTP it takes body bytes; over WebSocket it takes whole frames, as the fast wires do, and sends the payload of
    each as a message, so that a reader need not know which of the two it writes to.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._websocket = scope["type"] == "websocket"
        self.framing = Framing.FRAMES if self._websocket else Framing.BODY
        self.on_writable: Callable[[], None] = _nothing
        self._send = send
        self._waiting = bytearray()
        self._wake = asyncio.Event()
        self._pumping: asyncio.Task[None] | None = None
        self._finished = False
        self._dead = False
        self._sent = 0

    @property
    def taken(self) -> Taken:
        return Taken("sent", self._sent)

    @property
    def writable(self) -> bool:
        return not (self._dead or self._finished) and len(self._waiting) <= HIGH_WATER_BYTES

    def write(self, data: bytes) -> None:
        if not (self._dead or self._finished):
            self._waiting += data
            self._wake.set()

    def finish(self) -> None:
        self._finished = True
        self._wake.set()

    def abort(self) -> None:
        self._dead = True
        if self._pumping is not None:
            self._pumping.cancel()  # it may hang in `send`, before a peer that reads nothing

    def was_heard(self) -> bool:
        return True  # ASGI tells of no pongs

    async def serve(self, receive: Receive, on_message: Callable[[Message], None]) -> None:
        reading = asyncio.create_task(self._read(receive, on_message))
        self._pumping = asyncio.create_task(self._pump())
        try:
            await asyncio.wait([self._pumping])
        finally:
            self.abort()
            reading.cancel()
            outcomes = await asyncio.gather(self._pumping, reading, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _read(self, receive: Receive, on_message: Callable[[Message], None]) -> None:
        try:
            while not is_disconnect(message := await receive()):
                on_message(message)
        finally:
            self.abort()

    async def _pump(self) -> None:
        while not self._dead:
            if not self._waiting:
                if self._finished:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            full = len(self._waiting) > HIGH_WATER_BYTES
            data, self._waiting = bytes(self._waiting), bytearray()
            for message in self._messages(data):
                await self._send(message)
            self._sent += len(data)
            if full and self.writable:
                self.on_writable()

    def _messages(self, data: bytes) -> list[dict[str, Any]]:
        if not self._websocket:
            return [{"type": "http.response.body", "body": data, "more_body": True}]
        return [{"type": "websocket.send", "text": text.decode()} for text in texts_of_frames(data)]


def texts_of_frames(data: bytes) -> list[bytes]:
    """Undo `encoding.frame` for a run of whole frames; pings, which ASGI cannot carry, are left out."""
    texts, at = [], 0
    while at < len(data):
        opcode, size, at = data[at] & 0x0F, data[at + 1], at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        if opcode == 0x1:
            texts.append(data[at : at + size])
        at += size
    return texts
