"""A stream for each request, many to a connection: HTTP/2 by h2, and WebSockets over it (RFC 8441)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Iterator
from typing import cast

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from crowd.asking import (
    SUBPROTOCOL,
    Answer,
    Ask,
    CutOff,
    Endpoint,
    Hearer,
    Link,
    Malformed,
    Transport,
    Where,
    connect,
    cut,
)

WINDOW_STEP = 16 * 1024
"""Windows are given back in steps of this: a quarter of the initial one (RFC 9113 section 6.9.2)."""
HEAD_BYTES = 9
GOAWAY = 0x7
SETTINGS_SECONDS = 30.0
"""How long the service may take to say its first word: a machine may be busy."""
CONNECTING = 4
"""Connections that are made at once; who waits finds room on one of them."""


class Http2Link:
    """One stream, which carries one answer."""

    def __init__(self, connection: Http2Connection, ask: Ask, hearer: Hearer) -> None:
        self._connection = connection
        self.answer = Answer(ask, hearer)
        self.stream_id = 0
        self.owed = 0
        """Bytes of its window that have not been given back."""
        self.stalled = False
        self.unsent = bytearray()
        """What its window, or the connection's, has had no room for yet."""

    def leave(self) -> None:
        if last_word := self.answer.drop():
            self._connection.send(self, last_word)
        else:
            self._connection.reset(self)

    def vanish(self) -> None:
        self.answer.drop()
        self._connection.reset(self)

    def stall(self) -> None:
        self.stalled = True

    def resume(self) -> None:
        self.stalled = False
        self._connection.give_back(self)

    def say(self, text: str) -> None:
        """Send a WebSocket message, which an honest client never does."""
        self._connection.send(self, self.answer.say(text))


class Http2Connection(asyncio.Protocol):
    """One connection; ``room`` is how many streams it may have at once."""

    _transport: asyncio.Transport

    def __init__(self, authority: str, scheme: str, room: int) -> None:
        self._authority = authority
        self._scheme = scheme
        self._room = room
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._links: dict[int, Http2Link] = {}
        self._partial = b""
        self._unacknowledged = 0
        self._leaving = False
        self._spoken_to = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether it takes another stream: not once the service has said that it leaves."""
        return self._spoken_to.is_set() and not self._leaving and len(self._links) < self._room

    @property
    def in_use(self) -> bool:
        """Whether it has streams."""
        return bool(self._links)

    async def ready(self) -> None:
        """Wait for the service's first word: only then may it be asked for a WebSocket. Raises `OSError`."""
        async with asyncio.timeout(SETTINGS_SECONDS):
            await self._spoken_to.wait()
        if self._leaving:
            raise ConnectionResetError("the service went without a word")

    def open(self, ask: Ask, hearer: Hearer) -> Http2Link:
        """Begin a request."""
        link = Http2Link(self, ask, hearer)
        link.stream_id = self._h2.get_next_available_stream_id()
        websocket = ask.transport is Transport.WEBSOCKET
        head = [(":method", "CONNECT" if websocket else "GET"), (":scheme", self._scheme)]
        head += [(":authority", self._authority), (":path", ask.path)]
        if websocket:
            head += [(":protocol", "websocket"), ("sec-websocket-version", "13")]
            head += [("sec-websocket-protocol", SUBPROTOCOL)]
        self._h2.send_headers(link.stream_id, [*head, *ask.headers()], end_stream=not websocket)
        self._links[link.stream_id] = link
        self._flush()
        return link

    # What links ask.

    def send(self, link: Http2Link, data: bytes) -> None:
        """Send bytes of a WebSocket, as its window allows; dropped where it has gone."""
        link.unsent += data
        with contextlib.suppress(ProtocolError):
            while link.unsent and (room := self._h2.local_flow_control_window(link.stream_id)):
                size = min(room, self._h2.max_outbound_frame_size)
                self._h2.send_data(link.stream_id, bytes(link.unsent[:size]))
                del link.unsent[:size]
        self._flush()

    def reset(self, link: Http2Link) -> None:
        """End a stream as a browser does whose page lets go of it."""
        if self._links.pop(link.stream_id, None) is not None:
            with contextlib.suppress(ProtocolError):
                self._h2.reset_stream(link.stream_id, ErrorCodes.CANCEL)
            self._flush()

    def give_back(self, link: Http2Link) -> None:
        """Open the stream's window again, if there is enough to give."""
        if link.owed >= WINDOW_STEP and not link.stalled and link.stream_id in self._links:
            with contextlib.suppress(ProtocolError, KeyError):  # it may have ended; h2 forgets such streams
                self._h2.increment_flow_control_window(link.owed, link.stream_id)
            link.owed = 0
            self._flush()

    # What the harness asks.

    def vanish(self) -> None:
        """Cut the connection with all its streams; each of them hears it."""
        cut(self._transport)

    def stall(self, seconds: float) -> None:
        """Take nothing for a while, of all its streams."""
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Leave as a browser does that is closed."""
        with contextlib.suppress(ProtocolError):
            self._h2.close_connection()
        self._flush()
        self._transport.close()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of it
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(b"".join(self._frames(data))):
                self._apply(event)
        except ProtocolError as broken:
            self._end(f"could not be read: {broken!r}", malformed=True)
            self._transport.abort()
            return
        if self._unacknowledged >= WINDOW_STEP:
            self._h2.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("cut" if exc is None else f"cut ({exc})", malformed=False)

    def _end(self, how: str, *, malformed: bool) -> None:
        self._leaving = True
        self._spoken_to.set()
        while self._links:
            _, link = self._links.popitem()
            link.answer.end(how, malformed=malformed)

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Split what arrives into frames, but for GOAWAY: h2 takes that for the end, and streams may go on after it."""
        data, at = self._partial + data, 0
        while at + HEAD_BYTES <= len(data):
            end = at + HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            if data[at + 3] == GOAWAY:
                self._leaving = True
            else:
                yield data[at:end]
            at = end
        self._partial = data[at:]

    def _apply(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self._spoken_to.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self._send_more()
        link = self._links.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, h2.events.DataReceived):
            self._unacknowledged += event.flow_controlled_length or 0
        if link is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            link.answer.begin(next(int(value) for name, value in event.headers or () if str(name) == ":status"))
        elif isinstance(event, h2.events.DataReceived):
            self._take(link, event)
        elif isinstance(event, h2.events.StreamEnded):
            with contextlib.suppress(ProtocolError):  # a WebSocket's stream is still open towards the service
                self._h2.end_stream(link.stream_id)
            self._over(link, "ended")
        elif isinstance(event, h2.events.StreamReset):
            self._over(link, f"reset with {int(event.error_code or 0)}")

    def _send_more(self) -> None:
        for link in list(self._links.values()):
            if link.unsent:
                self.send(link, b"")

    def _take(self, link: Http2Link, event: h2.events.DataReceived) -> None:
        link.owed += event.flow_controlled_length or 0
        try:
            reply = link.answer.take(event.data or b"")
        except Malformed as broken:
            link.answer.end(f"could not be read: {broken}", malformed=True)
            self.reset(link)
            return
        except CutOff:
            link.answer.end("cut off in the middle")
            self.reset(link)
            return
        if reply and link.stream_id in self._links:
            self.send(link, reply)
        self.give_back(link)

    def _over(self, link: Http2Link, how: str) -> None:
        self._links.pop(link.stream_id, None)
        link.answer.end(how)

    def _flush(self) -> None:
        if (data := self._h2.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)


class Http2:
    """Dials: a stream for every request, on a connection that has room, else on a new one to wherever ``where`` says.

    Each connection takes a number of streams drawn from ``rooms``. A `crowd.asking.Dial`.
    """

    def __init__(self, where: Where, rng: random.Random, rooms: tuple[int, int] = (1, 40)) -> None:
        self._where = where
        self._rng = rng
        self._rooms = rooms
        self._tls: ssl.SSLContext | None = None
        self._connecting = asyncio.Semaphore(CONNECTING)
        self.connections: list[Http2Connection] = []
        self.connected = 0

    async def __call__(self, ask: Ask, hearer: Hearer) -> Link:
        async with self._connecting:
            self._close_the_useless()
            connection = next((each for each in self.connections if each.has_room), None)
            return (connection or await self._connect(self._where())).open(ask, hearer)

    async def _connect(self, endpoint: Endpoint) -> Http2Connection:
        if self._tls is None and endpoint.certificate is not None:
            self._tls = endpoint.certificate.client_context("h2")
        tls = self._tls if endpoint.certificate is not None else None
        room = self._rng.randint(*self._rooms)
        connection = await connect(endpoint, Http2Connection(endpoint.authority, "https" if tls else "http", room), tls)
        self.connections.append(connection)
        self.connected += 1
        await connection.ready()
        return connection

    def _close_the_useless(self) -> None:
        for each in [each for each in self.connections if not (each.has_room or each.in_use)]:
            each.close()
            self.connections.remove(each)

    def close(self) -> None:
        """Leave all connections."""
        while self.connections:
            self.connections.pop().close()
