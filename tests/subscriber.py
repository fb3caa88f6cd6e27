"""A client of any transport that misbehaves when told to: it stops reading, takes a little, or vanishes.

Clear text or TLS, over HTTP/1.1 or HTTP/2. What came is kept as `Item` by `Item`; nothing is read behind the test's
back, and the kernel buffers little for it. Usage::

    async with await Line.connect("sse-h2", host, port) as line:
        subscriber = await line.subscribe(token)
        subscriber.stall()
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, cast

import h11
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, TextMessage

import h2client
from builders import Block
from changes import Changes

TRANSPORTS = ("sse", "websocket", "sse-h2", "websocket-h2")
RECEIVE_BUFFER_BYTES = 4096
"""``SO_RCVBUF`` of these clients: what they do not read stays with the service."""
WIDE_WINDOW_BYTES = 1 << 24
SO_ATTACH_FILTER = 26
"""A classic BPF program decides what reaches the socket (Linux, socket(7))."""
UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""A WebSocket's handshake over HTTP/1.1 (RFC 6455 section 1.3)."""


@dataclass(frozen=True)
class Item:
    """An event, or what the service itself says; ``id`` is empty where none came."""

    name: str
    data: str
    id: str


@dataclass
class Parser:
    """Reads an event stream, or WebSocket frames, as they come."""

    websocket: bool
    items: list[Item] = field(default_factory=list)
    close_code: int | None = None

    def __post_init__(self) -> None:
        self._rest = b""
        self._text = ""
        self._frames = Frames(ConnectionType.CLIENT)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self.items += self._of_frames(data) if self.websocket else self._of_blocks(data)

    def _of_blocks(self, data: bytes) -> Iterator[Item]:
        whole, separator, self._rest = (self._rest + data).rpartition(b"\n\n")
        for block in Block.all((whole + separator).decode()):
            yield Item(block.event or "message", block.data, block.id or "")

    def _of_frames(self, data: bytes) -> Iterator[Item]:
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    content, self._text = json.loads(self._text), ""
                    name = content.get("control", content.get("event", "message"))
                    yield Item(name, content.get("data", ""), content.get("id", ""))
            elif isinstance(event, CloseConnection):
                self.close_code = int(event.code)


class Subscriber(Protocol):
    """One subscription over any transport."""

    parser: Parser

    @property
    def status(self) -> int:
        """The response's, 0 before it came."""

    @property
    def gone(self) -> bool:
        """Whether nothing more will come, politely or not."""

    @property
    def ended(self) -> bool:
        """Whether the response, or the WebSocket, was ended politely."""

    def stall(self) -> None:
        """Take nothing more."""

    def go_on(self) -> None:
        """Take again."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after all that comes. Raises `ConnectionError` at the end of it."""


def events(subscriber: Subscriber) -> list[str]:
    """Give what producers said, as far as it has come."""
    return [item.data for item in subscriber.parser.items if not item.name.startswith("tailrace.")]


def numbers(subscriber: Subscriber) -> list[int]:
    """Give the numbers that events begin with."""
    return [int(text.split()[0]) for text in events(subscriber)]


def controls(subscriber: Subscriber) -> list[str]:
    """Give the names of what the service itself has said; ids that came alone are left out."""
    names = [item.name for item in subscriber.parser.items if item.name.startswith("tailrace.")]
    return [name.removeprefix("tailrace.") for name in names if name != "tailrace.position"]


def last_id(subscriber: Subscriber) -> str:
    """Give the id to come back with."""
    return next(item.id for item in reversed(subscriber.parser.items) if item.id)


class Http1(asyncio.Protocol):
    """A subscription over HTTP/1.1, which is its whole connection."""

    transport: asyncio.Transport

    def __init__(self, *, websocket: bool) -> None:
        self.parser = Parser(websocket)
        self.status = 0
        """The response's, 0 before it came."""
        self.gone = self.ended = False
        self.received = 0
        self._connection = h11.Connection(h11.CLIENT)
        self._changes = Changes()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.status == 101:
            self.parser.feed(data)
        else:
            self._connection.receive_data(data)
            self._read_on()
        self.ended = self.ended or self.parser.close_code is not None
        self._changes.tell()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.gone = True
        self._changes.tell()

    def _read_on(self) -> None:
        while not isinstance(event := self._connection.next_event(), type):
            if isinstance(event, h11.InformationalResponse | h11.Response):
                self.status = event.status_code
            elif isinstance(event, h11.Data):
                self.parser.feed(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self.ended = True
            if self.status == 101:
                self.parser.feed(self._connection.trailing_data[0])
                return

    def ask(self, path: str, headers: dict[str, str]) -> None:
        """Send the request."""
        head = h11.Request(method="GET", target=path, headers=[("host", "here"), *headers.items()])
        self.transport.write((self._connection.send(head) or b"") + (self._connection.send(h11.EndOfMessage()) or b""))

    def stall(self) -> None:
        self.transport.pause_reading()

    def go_on(self) -> None:
        self.transport.resume_reading()

    async def until(self, condition: Callable[[], bool]) -> None:
        await self._changes.until(condition, over=lambda: self.gone)


class Http2:
    """A subscription over one stream of an HTTP/2 connection. Stalled, it shuts its own window, and no other's."""

    def __init__(self, client: h2client.Client, stream: h2client.Stream, *, websocket: bool) -> None:
        self.parser = Parser(websocket)
        self.client = client
        self.stream = stream

    @property
    def status(self) -> int:
        return self.stream.status if self.stream.headers else 0

    @property
    def gone(self) -> bool:
        self._pull()
        return self.stream.over or self.client.closed

    @property
    def ended(self) -> bool:
        self._pull()
        return self.stream.ended

    def stall(self) -> None:
        self.stream.shut()

    async def take(self, size: int) -> None:
        """Open the window by ``size``, and wait until so much has come."""
        before = self.stream.received
        self.client.connection.increment_flow_control_window(size, self.stream.id)
        self.client.flush()
        await self.client.until(lambda: self.stream.received >= before + size)

    def go_on(self) -> None:
        self.stream.open()

    async def until(self, condition: Callable[[], bool]) -> None:
        await self.client.until(lambda: self._pull() or condition())

    def _pull(self) -> bool:
        """Read what has come; tells nothing."""
        if self.stream.body:
            self.parser.feed(bytes(self.stream.body))
            self.stream.body.clear()
        return False


class Line:
    """One connection. Enter it to begin; it is cut at the end of the block, whatever has become of it."""

    def __init__(self, kind: str, http1: Http1 | None, client: h2client.Client | None) -> None:
        self.websocket = kind.startswith("websocket")
        self._http1 = http1
        self._client = client

    @classmethod
    async def connect(cls, kind: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> Self:
        """Connect; ``tls`` must offer what ``kind`` needs by ALPN."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (host, port))
        if kind.endswith("h2"):
            return cls(kind, None, await h2client.connect(host, port, tls=tls, sock=plain))
        name = host if tls else None
        http1 = Http1(websocket=kind == "websocket")
        await loop.create_connection(lambda: http1, sock=plain, ssl=tls, server_hostname=name)
        return cls(kind, http1, None)

    async def __aenter__(self) -> Self:
        if self._client is not None:
            await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.__aexit__(kind, error, trace)
        elif self._http1 is not None:
            self._http1.transport.abort()

    async def subscribe(
        self, token: str | None, session: str = "s", last_id: str = "", **headers: str
    ) -> Http1 | Http2:
        """Subscribe, and wait for `tailrace.ready`; without a token only for the head of the answer."""
        subscriber = self.ask(token, session, last_id, **headers)
        if token is None:
            await subscriber.until(lambda: self._answered(subscriber))
        else:
            await subscriber.until(lambda: controls(subscriber)[:1] == ["ready"])
        return subscriber

    def ask(self, token: str | None, session: str = "s", last_id: str = "", **headers: str) -> Http1 | Http2:
        """Send the request, and wait for nothing."""
        query = f"?last_event_id={last_id}" if last_id else ""
        path = f"/v1/sessions/{session}/{'ws' if self.websocket else 'events'}{query}"
        all_headers = {**headers, **({"authorization": f"Bearer {token}"} if token else {})}
        if self._client is None:
            http1 = cast("Http1", self._http1)
            http1.ask(path, {**all_headers, **(UPGRADE if self.websocket else {})})
            return http1
        begin = self._client.begin_websocket if self.websocket else partial(self._client.request, "GET")
        stream = begin(path, all_headers.items())
        return Http2(self._client, stream, websocket=self.websocket)

    @staticmethod
    def _answered(subscriber: Http1 | Http2) -> bool:
        return bool(subscriber.status)

    # What it does to the whole connection.

    @property
    def client(self) -> h2client.Client:
        """The HTTP/2 client."""
        assert self._client is not None
        return self._client

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the bytes."""
        if self._client is not None:
            return cast("asyncio.Transport", self._client.transport)
        return cast("Http1", self._http1).transport

    @property
    def closed(self) -> bool:
        """Whether the service has closed the connection."""
        return self._client.closed if self._client is not None else cast("Http1", self._http1).gone

    def stall(self) -> None:
        """Read nothing more from the socket; over HTTP/2 with all windows wide open, as browsers have them."""
        if self._client is not None:
            self._client.widen(WIDE_WINDOW_BYTES)
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    async def take(self, size: int) -> None:
        """Read until about ``size`` bytes more have come, and no more then."""
        before = self.received
        while self.received < before + size:
            self.go_on()
            for _ in range(2):  # one turn to look at the socket, one to read
                await asyncio.sleep(0)
            self.transport.pause_reading()

    @property
    def received(self) -> int:
        """Bytes that have come, after TLS."""
        return self._client.received if self._client is not None else cast("Http1", self._http1).received

    def reset(self) -> None:
        """Vanish with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def close(self) -> None:
        """Leave as a program that ends well does: over TLS with close_notify."""
        self.transport.close()

    def half_close(self) -> None:
        """Say by TCP alone that nothing more will be sent: over TLS there is no close_notify."""
        with socket.fromfd(self._socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as twin:
            twin.shutdown(socket.SHUT_WR)

    def go_dark(self) -> None:
        """Take no packet any more and acknowledge none, as a phone in a tunnel; by a socket filter that drops all."""
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: keep 0 bytes
        program = struct.pack("HP", 1, ctypes.addressof(drop_all))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    @property
    def _socket(self) -> Any:
        return self.transport.get_extra_info("socket")


# Ways to stop reading.


@dataclass(frozen=True)
class Stall:
    """One way to stop reading."""

    kind: str
    window: bool = False
    """Whether one stream's window is shut; else the connection is not read."""

    def begin(self, line: Line, subscriber: Http1 | Http2) -> None:
        (subscriber if self.window else line).stall()

    def end(self, line: Line, subscriber: Http1 | Http2) -> None:
        (subscriber if self.window else line).go_on()

    async def take(self, line: Line, subscriber: Http1 | Http2, size: int) -> None:
        """Take about so much, and stop again."""
        if self.window:
            assert isinstance(subscriber, Http2)
            await subscriber.take(size)
        else:
            await line.take(size)


STALLS = {
    "sse": Stall("sse"),
    "websocket": Stall("websocket"),
    "sse-h2": Stall("sse-h2"),
    "websocket-h2": Stall("websocket-h2"),
    "sse-h2-window": Stall("sse-h2", window=True),
    "websocket-h2-window": Stall("websocket-h2", window=True),
}
