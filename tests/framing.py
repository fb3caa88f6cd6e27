"""WebSocket frames by hand, for what no library would send, and a client that sends them over either protocol."""

from __future__ import annotations

import asyncio
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import h2client
from changes import Changes
from serving import Receive, Send, Serving
from tailrace import encoding
from tailrace.wire import EXTENSION, Wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"
NO_STATUS = 1005
"""What a close frame without a code is read as (RFC 6455 section 7.1.5)."""
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HTTP1, HTTP2 = "HTTP/1.1", "HTTP/2"


@dataclass(frozen=True)
class Frame:
    """One frame of the server's, which is whole, unmasked and without reserved bits."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else NO_STATUS


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """Write one frame of a client's; without a ``mask`` it is one that no client may send."""
    return head(opcode, len(payload), fin=fin, rsv=rsv, mask=mask) + masked(payload, mask or b"\0\0\0\0")


def head(
    opcode: int, size: int, *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK, width: int | None = None
) -> bytes:
    """Write a frame's head (RFC 6455 section 5.2), its length in the fewest bytes or in ``width``, 2 or 8."""
    width = width if width is not None else 0 if size < 126 else 2 if size < 1 << 16 else 8
    short = {0: size, 2: 126, 8: 127}[width]
    first = bytes((fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short))
    return first + (size.to_bytes(width, "big") if width else b"") + (mask or b"")


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Mask ``payload`` (RFC 6455 section 5.3)."""
    keys = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(len(payload), "big")


def fragments(opcode: int, *parts: bytes) -> list[bytes]:
    """Write one message as a frame for each part (RFC 6455 section 5.4)."""
    last = len(parts) - 1
    return [frame(CONTINUATION if at else opcode, part, fin=at == last) for at, part in enumerate(parts)]


def close(code: int = 1000, reason: bytes = b"") -> bytes:
    """Write a close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


def frames_of(data: bytes) -> Iterator[Frame]:
    """Read the server's frames by the letter of RFC 6455 section 5.2; what is not whole yet is left out."""
    at = 0
    while len(data) >= at + 2:
        first, size = data[at], data[at + 1]
        assert first & 0xF0 == 0x80, "fragmented, or with a reserved bit"
        assert size < 0x80, "masked"
        at += 2
        if size >= 126:
            width, least = (2, 126) if size == 126 else (8, 1 << 16)
            if len(data) < at + width:
                return
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
            assert size >= least, "a length in more bytes than it needs"
        if len(data) < at + size:
            return
        yield Frame(first & 0x0F, data[at : at + size])
        at += size


class Echo:
    """An application that says every message back, on ``/wire`` by the wire; ``disconnects`` are code and reason."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.disconnects: list[tuple[int, str]] = []
        self._changes = Changes()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        wire = scope["extensions"][EXTENSION]()
        self.wires.append(wire)
        while (message := await receive())["type"] == "websocket.receive":
            text, data = message["text"], message["bytes"]
            if scope["path"] == "/wire":
                wire.write(encoding.frame(text.encode()) if data is None else encoding.frame(data, BINARY))
            else:
                await send({"type": "websocket.send", "text": text, "bytes": data})
        self.disconnects.append((message["code"], message["reason"]))
        self._changes.tell()

    async def ended(self) -> tuple[int, str]:
        """Wait until a socket has ended; give how the first did."""
        await self._changes.until(lambda: bool(self.disconnects))
        return self.disconnects[0]


class Peer(ABC):
    """A client's end of one WebSocket; ``body`` is all that came since the handshake."""

    body: bytearray

    @property
    def frames(self) -> list[Frame]:
        return list(frames_of(bytes(self.body)))

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the server has ended its side."""

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """Send bytes, whatever they are; dropped once the server takes none."""

    @abstractmethod
    def end(self) -> None:
        """End the sending side, whatever was being said."""

    @abstractmethod
    def vanish(self) -> None:
        """Cut the connection, or reset the stream."""

    @abstractmethod
    def stop_reading(self) -> None:
        """Take nothing more; over HTTP/2 a window that is never given back does so by itself."""

    @abstractmethod
    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after all that arrives."""

    async def send_slowly(self, data: bytes) -> None:
        """Send byte by byte, each a segment or DATA frame of its own, which the server may read before the next."""
        for number in range(len(data)):
            await self.send(data[number : number + 1])
            for _ in range(2):
                await asyncio.sleep(0)

    async def echo(self, text: bytes) -> None:
        """Let the server say ``text`` back: this socket is as alive as ever."""
        await self.send(frame(TEXT, text))
        await self.until(lambda: Frame(TEXT, text) in self.frames)

    async def rest(self) -> list[Frame]:
        """Wait until the server has ended its side; give all its frames."""
        await self.until(lambda: self.over)
        return self.frames


class Http1Peer(Peer):
    """The same over a TCP connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.body = bytearray()
        self._reader = reader
        self._writer = writer
        self._changes = Changes()
        self._over = False
        self.reading = asyncio.create_task(self._read())

    @property
    def over(self) -> bool:
        return self._over

    async def send(self, data: bytes) -> None:
        if not self._over:
            self._writer.write(data)

    def end(self) -> None:
        self._writer.write_eof()

    def vanish(self) -> None:
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # every socket's transport has it

    async def until(self, condition: Callable[[], bool]) -> None:
        await self._changes.until(condition, over=lambda: self._over)

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while data := await self._reader.read(65536):
                self.body += data
                self._changes.tell()
        self._over = True
        self._changes.tell()


class Http2Peer(Peer):
    """The same over one stream of a connection that may have others."""

    def __init__(self, stream: h2client.Stream) -> None:
        self.body = stream.body
        self.stream = stream

    @property
    def over(self) -> bool:
        return self.stream.over

    async def send(self, data: bytes) -> None:
        while data:
            await self.until(lambda: self.over or self._window > 0)
            if self.stream.reset is not None or self._window <= 0:
                return
            size = min(self._window, 16384)
            self.stream.send(data[:size])
            data = data[size:]

    @property
    def _window(self) -> int:
        return self.stream.client.connection.local_flow_control_window(self.stream.id)

    def end(self) -> None:
        self.stream.send(b"", end=True)

    def vanish(self) -> None:
        self.stream.cancel()

    def stop_reading(self) -> None:
        pass

    async def until(self, condition: Callable[[], bool]) -> None:
        await self.stream.client.until(condition)


@asynccontextmanager
async def http1_peer(here: Serving, path: str) -> AsyncIterator[Peer]:
    """Open a WebSocket over HTTP/1.1; cut at the end of the block."""
    reader, writer = await here.open(HANDSHAKE.replace(b"/ws", path.encode()))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    peer = Http1Peer(reader, writer)
    try:
        yield peer
    finally:
        peer.vanish()
        await peer.reading


async def http2_peer(client: h2client.Client, path: str) -> Peer:
    """Open a WebSocket over HTTP/2, on a connection that there is."""
    socket = await client.websocket(path)
    assert socket.stream.status == 200
    return Http2Peer(socket.stream)


@asynccontextmanager
async def peers(here: Serving, protocol: str, *paths: str, window: bool = True) -> AsyncIterator[list[Peer]]:
    """Open WebSockets, a peer each.

    Over HTTP/2 they share one connection; without ``window`` each stream has what it began with, and no more.
    """
    async with AsyncExitStack() as stack:
        if protocol == HTTP2:
            client = await stack.enter_async_context(await here.h2(window=window))
            client.connection.increment_flow_control_window(1 << 20)
            yield [await http2_peer(client, path) for path in paths]
        else:
            yield [await stack.enter_async_context(http1_peer(here, path)) for path in paths]
