"""One request, whom to tell of what comes of it, and what may be done to the connection that carries it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar
from urllib.parse import quote, urlencode

from wsproto.events import CloseConnection, TextMessage
from wsproto.utilities import ProtocolError

from certificates import Certificate
from crowd.eventstream import EventStream
from crowd.frames import Frames
from crowd.ledger import Item

SUBPROTOCOL = "tailrace.v1"
STREAMS = frozenset({101, 200})
"""Statuses after which items come."""
CLOSED_BY_PAGE = 1000


class Transport(Enum):
    """How a session is read; either goes over HTTP/1.1 and over HTTP/2."""

    SSE = "sse"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Ask:
    """What one client asks for. ``token`` is fetched when the request is sent, and empty where there is none;
    ``begin`` is where without an id: a value of ``from``, or ``since=`` and Unix milliseconds; empty: as it is usual.
    ``bytes`` is how much of the body comes before the client is cut off, in the middle of whatever that is."""

    transport: Transport
    session: str
    token: Callable[[], str]
    last_id: str = ""
    begin: str = ""
    bytes: int | None = None

    @property
    def path(self) -> str:
        """The path and the query, into which a page has to put the id of a WebSocket."""
        name, _, value = self.begin.rpartition("=")
        query = {name or "from": value} if value else {}
        if self.last_id and self.transport is Transport.WEBSOCKET:
            query["last_event_id"] = self.last_id
        route = "ws" if self.transport is Transport.WEBSOCKET else "events"
        return f"/v1/sessions/{quote(self.session)}/{route}" + (f"?{urlencode(query)}" if query else "")

    def headers(self) -> list[tuple[str, str]]:
        """Give the headers, in lower case; those of a handshake are the protocol's own."""
        token = self.token()
        headers = [("authorization", f"Bearer {token}")] if token else []
        if self.transport is Transport.SSE:
            headers.append(("accept", "text/event-stream"))
            headers += [("last-event-id", self.last_id)] if self.last_id else []
        return headers


class Hearer(Protocol):
    """Who asked."""

    def answered(self, status: int) -> None: ...
    def heard(self, item: Item) -> None: ...
    def over(self, how: str, retry_ms: int | None, *, malformed: bool) -> None:
        """The connection has ended; called once, and last. ``retry_ms`` is how long to wait, where that was said."""


class Link(Protocol):
    """What carries one answer. After `leave` and `vanish` the hearer is told nothing more."""

    def leave(self) -> None:
        """Go, as a page does that is closed."""

    def vanish(self) -> None:
        """Go without a word."""

    def stall(self) -> None:
        """Take nothing."""

    def resume(self) -> None:
        """Take again."""


Dial = Callable[[Ask, Hearer], Awaitable[Link]]
"""Begins a request; raises `OSError` where nobody answers."""


class Malformed(Exception):
    """What came is not what may come over this transport."""


class CutOff(Exception):
    """Here the client is cut off."""


class Answer:
    """What comes of one request, whatever carries it: its bytes are read, and the hearer is told."""

    def __init__(self, ask: Ask, hearer: Hearer) -> None:
        self._hearer: Hearer | None = hearer
        self._reader: EventStream | Frames = EventStream() if ask.transport is Transport.SSE else Frames()
        self._open = False
        self._left = ask.bytes

    def begin(self, status: int) -> None:
        """Take the head."""
        self._open = status in STREAMS
        if self._hearer is not None:
            self._hearer.answered(status)

    def take(self, data: bytes) -> bytes:
        """Take bytes of the body; gives what has to be sent back. Raises `Malformed`, and `CutOff` after the last."""
        if not (self._open and data):
            return b""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        try:
            items = self._reader.feed(data)
        except (ProtocolError, ValueError, KeyError) as broken:
            raise Malformed(repr(broken)) from broken
        for item in items:
            if self._hearer is not None:
                self._hearer.heard(item)
        if self._left == 0:
            raise CutOff
        return self._reader.reply() if isinstance(self._reader, Frames) else b""

    def end(self, how: str, *, malformed: bool = False) -> None:
        """Tell that nothing more will come."""
        if isinstance(self._reader, Frames) and self._reader.close_code is not None:
            how = f"closed with {self._reader.close_code}, {how}"
        hearer, self._hearer, self._open = self._hearer, None, False
        if hearer is not None:
            hearer.over(how, self._reader.retry_ms, malformed=malformed)

    def drop(self) -> bytes:
        """Tell nothing any more; gives the last word, where there is one."""
        self._hearer = None
        if isinstance(self._reader, Frames) and self._open:
            self._reader.say(CloseConnection(code=CLOSED_BY_PAGE))
            return self._reader.reply()
        return b""

    def say(self, text: str) -> bytes:
        """Give a message as it has to be sent; nothing where there is nobody to say it to."""
        if isinstance(self._reader, Frames) and self._open:
            self._reader.say(TextMessage(data=text))
            return self._reader.reply()
        return b""


@dataclass(frozen=True)
class Endpoint:
    """Where the service listens. ``receive_buffer`` bounds what the kernel takes for a client that does not read."""

    host: str
    port: int
    certificate: Certificate | None = None
    receive_buffer: int | None = None

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


Where = Callable[[], Endpoint]
"""Chooses where to go next."""

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(endpoint: Endpoint, protocol: P, tls: ssl.SSLContext | None) -> P:
    """Connect ``protocol``. Raises `OSError`."""
    # Not over a socket of ours: one that is cut at once uvloop closes, and does not take from whoever made it; who then
    # closes the same number again, and with it some other connection.
    name = endpoint.host if tls else None
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: protocol, endpoint.host, endpoint.port, ssl=tls, server_hostname=name
    )
    if endpoint.receive_buffer is not None and not transport.is_closing():
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, endpoint.receive_buffer)
    return protocol


def cut(transport: asyncio.Transport) -> None:
    """End a connection by a RST, as a crash or a lost network does."""
    if not transport.is_closing():
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
