"""An HTTP/2 client for tests: plain (by prior knowledge) or TLS, Server-Sent Events, and WebSocket (RFC 8441).

It shows what foreign clients hide: resets, GOAWAY, windows, frames. Usage::

    async with await connect(host, port) as client:
        stream = client.request("GET", "/events")
        head = await stream.head()
        block = await stream.read_until(b"\\n\\n")

Everything that arrives is kept; `Client.until` waits for any condition on it. Windows are given back at once unless
``window=False``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Event as FrameEvent

from changes import Changes

GOAWAY = 0x7


class Stream:
    """One request and what came back so far."""

    def __init__(self, client: Client, stream_id: int) -> None:
        self.client = client
        self.id = stream_id
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.frames = 0
        """DATA frames so far."""
        self.received = 0
        """Bytes in them."""
        self.ended = False
        self.reset: int | None = None
        """The error code of the RST_STREAM that came, if one did."""
        self.withheld: int | None = None
        """Bytes whose window was not given back; None unless it is `shut`."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.reset is not None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    async def head(self) -> Mapping[str, str]:
        """Wait for the response's headers."""
        await self.client.until(lambda: bool(self.headers) or self.over)
        return self.headers

    async def read_until(self, end: bytes) -> bytes:
        """Take the body up to and including ``end``; what is left when the stream is over before that."""
        await self.client.until(lambda: end in self.body or self.over)
        at = self.body.find(end)
        size = at + len(end) if at >= 0 else len(self.body)
        taken = bytes(self.body[:size])
        del self.body[:size]
        return taken

    async def read(self) -> bytes:
        """Wait until the stream is over; take what is left of the body."""
        await self.client.until(lambda: self.over)
        taken = bytes(self.body)
        self.body.clear()
        return taken

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Send request body."""
        self.client.connection.send_data(self.id, data, end_stream=end)
        self.client.flush()

    def shut(self) -> None:
        """Give this stream's window back no more; the connection's still is, so its siblings go on."""
        self.withheld = 0

    def open(self) -> None:
        """Give all of it back."""
        withheld, self.withheld = self.withheld, None
        if withheld and not self.over:
            self.client.connection.increment_flow_control_window(withheld, self.id)
            self.client.flush()

    def cancel(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Send RST_STREAM."""
        self.client.connection.reset_stream(self.id, code)
        self.client.flush()


class WebSocket:
    """A WebSocket over one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._frames = Frames(ConnectionType.CLIENT)
        self._events: list[FrameEvent] = []

    async def receive(self) -> FrameEvent | None:
        """Give the next event, whole messages joined; None when the stream is over."""
        while not self._events:
            await self.stream.client.until(lambda: bool(self.stream.body) or self.stream.over)
            if not self.stream.body:
                return None
            data = bytes(self.stream.body)
            self.stream.body.clear()
            self._frames.receive_data(data)
            self._events += self._frames.events()
        return self._events.pop(0)

    async def text(self) -> str:
        """Give the next message, which is text."""
        text = ""
        while True:
            event = await self.receive()
            if not isinstance(event, TextMessage):
                raise TypeError(f"expected text, got {event!r}")
            text += event.data
            if event.message_finished:
                return text

    def send(self, message: str | bytes | FrameEvent, *, end: bool = False) -> None:
        """Send a text, bytes, or any event of wsproto's."""
        event: Any = message
        if isinstance(message, str):
            event = TextMessage(data=message)
        elif isinstance(message, bytes):
            event = BytesMessage(data=message)
        self.stream.send(self._frames.send(event), end=end)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame."""
        self.send(CloseConnection(code=code, reason=reason))


class Client:
    """One connection. Make it with `connect`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, *, window: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._authority = authority
        self._window = window
        self._changes = Changes()
        self._reading: asyncio.Task[None] | None = None
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams: dict[int, Stream] = {}
        self.events: Counter[str] = Counter()
        """How many events of each kind came, by their class's name."""
        self.goaways: list[tuple[int, int]] = []
        """Error code and last stream id of each GOAWAY."""
        self.closed = False
        self.received = 0
        """Bytes that have come, after TLS."""
        self._partial = bytearray()

    @property
    def transport(self) -> asyncio.WriteTransport:
        """What carries the bytes."""
        return self._writer.transport

    async def __aenter__(self) -> Self:
        self.connection.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read())
        try:
            await self.until(lambda: self.events["RemoteSettingsChanged"] > 0)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()
        if self._reading is not None:
            await self._reading

    def flush(self) -> None:
        """Send what the connection has made."""
        self._writer.write(self.connection.data_to_send())

    def write(self, data: bytes) -> None:
        """Send raw bytes: frames that h2 would not let out."""
        self._writer.write(data)

    def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), *, end: bool | None = None
    ) -> Stream:
        """Begin a request; without a body unless the method is POST, or ``end`` says otherwise."""
        head = [(":method", method), (":scheme", "http"), (":authority", self._authority), (":path", path), *headers]
        return self.raw_request(head, end=method != "POST" if end is None else end)

    def raw_request(self, headers: Sequence[tuple[str, str] | tuple[bytes, bytes]], *, end: bool) -> Stream:
        """Begin a request with exactly these headers."""
        stream_id = self.connection.get_next_available_stream_id()
        stream = self.streams[stream_id] = Stream(self, stream_id)
        self.connection.send_headers(stream_id, headers, end_stream=end)
        self.flush()
        return stream

    async def websocket(
        self, path: str, headers: Iterable[tuple[str, str]] = (), subprotocols: Sequence[str] = ()
    ) -> WebSocket:
        """Begin a WebSocket, and wait for the answer: ``stream.status`` is 200 if it was accepted (RFC 8441)."""
        stream = self.begin_websocket(path, headers, subprotocols)
        await stream.head()
        return WebSocket(stream)

    def begin_websocket(
        self, path: str, headers: Iterable[tuple[str, str]] = (), subprotocols: Sequence[str] = ()
    ) -> Stream:
        """Ask for a WebSocket, and do not wait for the answer."""
        head = [(":protocol", "websocket"), ("sec-websocket-version", "13"), *headers]
        if subprotocols:
            head.append(("sec-websocket-protocol", ", ".join(subprotocols)))
        pseudo = [("CONNECT", ":method"), ("http", ":scheme"), (self._authority, ":authority"), (path, ":path")]
        return self.raw_request([(name, value) for value, name in pseudo] + head, end=False)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after all that arrives. Raises `ConnectionError` at the end of it."""
        await self._changes.until(condition, over=lambda: self.closed)

    async def until_closed(self) -> None:
        """Wait until the server has closed the connection."""
        await self.until(lambda: self.closed)

    def widen(self, size: int) -> None:
        """Open the windows of the connection and of all streams by so much more."""
        for stream_id in (None, *(stream.id for stream in self.streams.values() if not stream.over)):
            self.connection.increment_flow_control_window(size, stream_id)
        self.flush()

    def leave(self) -> None:
        """Close as a browser does: what was sent arrives, then the end (over TLS, close_notify)."""
        self._writer.close()

    def pause(self) -> None:
        """Stop reading from the socket, as a stalled client does."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # every socket's transport has it

    def resume(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self._take(data)
        except (ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError):
            pass  # the end, however it came
        finally:
            self.closed = True
            self._changes.tell()
            self._writer.close()

    def _take(self, data: bytes) -> None:
        self.received += len(data)
        for frame in self._frames_of(data):
            for event in self.connection.receive_data(frame):
                self.events[type(event).__name__] += 1
                self._apply(event)
        self.flush()
        self._changes.tell()

    def _frames_of(self, data: bytes) -> Iterator[bytes]:
        """Split what arrives into frames, without GOAWAY: h2 takes that for the end, and streams may go on after it."""
        self._partial += data
        while len(self._partial) >= 9 and len(self._partial) >= (size := 9 + int.from_bytes(self._partial[:3], "big")):
            frame = bytes(self._partial[:size])
            del self._partial[:size]
            if frame[3] == GOAWAY:
                self.goaways.append((int.from_bytes(frame[13:17], "big"), int.from_bytes(frame[9:13], "big")))
            else:
                yield frame

    def _apply(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers or ()}
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data or b""
            stream.frames += 1
            stream.received += len(event.data or b"")
            size = event.flow_controlled_length or 0
            if stream.withheld is not None:
                stream.withheld += size
                self.connection.increment_flow_control_window(size)
            elif self._window and size:
                self.connection.acknowledge_received_data(size, stream.id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code or 0)


async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    window: bool = True,
    sock: socket.socket | None = None,
) -> Client:
    """Connect, or take ``sock``, which is; ``tls`` must offer ``h2`` by ALPN. Enter the client to begin."""
    if sock is None:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    else:
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=host if tls else None)
    return Client(reader, writer, f"{host}:{port}", window=window)
