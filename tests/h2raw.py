"""An HTTP/2 peer that says exactly what it is told, frame by frame, whatever the protocol thinks of it.

`h2client` is for clients that mean well. This one keeps every frame that comes, understands only their heads, answers
nothing, and opens no window. Usage::

    async with await connect(host, port) as peer:
        peer.say(headers(1), rst_stream(1))
        await peer.until_closed()
        assert peer.goaway == ErrorCodes.ENHANCE_YOUR_CALM
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from changes import Changes

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Frame(NamedTuple):
    """One frame that came."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Make a frame (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def block(method: bytes = b"GET", path: bytes = b"/", *fields: tuple[bytes, bytes]) -> bytes:
    """Make a header block that needs no memory: only literals, none of them indexed (RFC 7541 section 6.2.2)."""
    head = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path), *fields]
    return b"".join(b"\x00" + text(name) + text(value) for name, value in head)


def text(data: bytes) -> bytes:
    """Make a string literal, as it is (RFC 7541 section 5.2)."""
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 | 128])
        rest //= 128
    return size + bytes([rest]) + data


def headers(
    stream_id: int, method: bytes = b"GET", path: bytes = b"/", *fields: tuple[bytes, bytes], end: bool = True
) -> bytes:
    """Make a request, whole or with a body to come."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(method, path, *fields))


def rst_stream(stream_id: int) -> bytes:
    """Cancel a stream."""
    return frame(RST_STREAM, 0, stream_id, (8).to_bytes(4, "big"))


def window_update(stream_id: int, size: int) -> bytes:
    """Open a window."""
    return frame(WINDOW_UPDATE, 0, stream_id, size.to_bytes(4, "big"))


def settings(**changes: int) -> bytes:
    """Make SETTINGS of ``_<number>=value``."""
    pairs = (int(name[1:]).to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in changes.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


class Peer:
    """One connection; enter it to send preface and SETTINGS, and to wait for those of the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._first = first
        self._changes = Changes()
        self._reading: asyncio.Task[None] | None = None
        self.frames: list[Frame] = []
        self.counts: Counter[int] = Counter()
        """How many frames of each type came."""
        self.closed = False

    async def __aenter__(self) -> Self:
        self.say(PREFACE, self._first)
        self._reading = asyncio.create_task(self._read())
        await self.until(lambda: bool(self.frames))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._writer.is_closing():
            self._writer.transport.abort()
        assert self._reading is not None
        await self._reading

    @property
    def goaway(self) -> int | None:
        """The error code of the last GOAWAY that came, if one did."""
        codes = [int.from_bytes(each.payload[4:8], "big") for each in self.frames if each.kind == GOAWAY]
        return codes[-1] if codes else None

    def of(self, kind: int, stream_id: int) -> list[Frame]:
        """Give the frames of one kind that came for a stream."""
        return [each for each in self.frames if (each.kind, each.stream_id) == (kind, stream_id)]

    def data(self, stream_id: int) -> bytes:
        """Give the body of a stream so far."""
        return b"".join(each.payload for each in self.of(DATA, stream_id))

    def say(self, *frames: bytes) -> None:
        """Send frames, or whatever bytes they are."""
        self._writer.write(b"".join(frames))

    async def drained(self) -> None:
        """Wait while the server does not take what was said. Raises `ConnectionError` when it has gone."""
        await self._writer.drain()
        await asyncio.sleep(0)

    async def flood(self, *frames: bytes) -> None:
        """Send the same frames again and again until the server has closed the connection."""
        many = b"".join(frames) * 100
        with suppress(ConnectionError):
            while not self.closed:
                self.say(many)
                await self.drained()
        await self.until_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after all that arrives. Raises `ConnectionError` at the end of it."""
        await self._changes.until(condition, over=lambda: self.closed)

    async def until_closed(self) -> None:
        """Wait until the server has closed the connection."""
        await self.until(lambda: self.closed)

    def pause(self) -> None:
        """Stop reading from the socket."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # every socket's transport has it

    def resume(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def _read(self) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self.frames.append(Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload))
                self.counts[head[3]] += 1
                self._changes.tell()
        self.closed = True
        self._changes.tell()
        self._writer.close()


async def connect(host: str, port: int, first: bytes = frame(SETTINGS)) -> Peer:
    """Connect by prior knowledge; ``first`` is said after the preface."""
    reader, writer = await asyncio.open_connection(host, port)
    return Peer(reader, writer, first)
