"""A real `Server` for tests, and small applications to put behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from certificates import Certificate
from changes import Changes
from h2client import Client, connect
from tailrace.server import Patience, Server, Site
from tailrace.wire import EXTENSION, Wire

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

OK: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


async def hello(_scope: Any, _receive: Receive, send: Send) -> None:
    """Answer without reading."""
    await send({**OK, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


async def fail_after_start(_scope: Any, _receive: Receive, send: Send) -> None:
    """Fail in the middle of a response."""
    await send(OK)
    raise LookupError("on purpose")


async def fail_after_accept(_scope: Any, receive: Receive, send: Send) -> None:
    """Fail on an open WebSocket."""
    await receive()
    await send({"type": "websocket.accept"})
    raise LookupError("on purpose")


async def fail(_scope: Any, _receive: Receive, _send: Send) -> None:
    """Fail before the response."""
    raise LookupError("on purpose")


@dataclass
class Serving:
    """A server that listens on loopback."""

    server: Server
    host: str
    port: int
    running: asyncio.Task[None]
    certificate: Certificate | None = None
    ports: list[int] = field(default_factory=list)
    limits: Counter[str] = field(default_factory=Counter)
    """How often a client came to each limit."""

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://{self.host}:{self.port}"

    async def h2(self, *, window: bool = True) -> Client:
        """Connect over HTTP/2."""
        tls = self.certificate.client_context("h2") if self.certificate else None
        return await connect(self.host, self.port, tls=tls, window=window)

    async def open(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect without a protocol, and send ``data``."""
        tls: ssl.SSLContext | None = self.certificate.client_context("http/1.1") if self.certificate else None
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=tls)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        """Send ``data`` on a connection of its own; give all that comes until the server closes it."""
        reader, writer = await self.open(data)
        answer = await reader.read()
        writer.close()
        return answer


async def nothing_to_drain() -> None:
    """End no stream: there is none."""


@asynccontextmanager
async def serving(
    *apps: App,
    certificate: Certificate | None = None,
    drain: Callable[[], Awaitable[None]] = nothing_to_drain,
    grace_seconds: float = 0.0,
    max_sockets: int = 256,
    **patience: float,
) -> AsyncIterator[Serving]:
    """Serve ``apps``, a site each, until the end of the block. By default what is still open is then cut at once."""
    files: Any = {"tls_cert_file": certificate.cert_file, "tls_key_file": certificate.key_file} if certificate else {}
    sites = [Site(app, "127.0.0.1", 0, **files, max_sockets=max_sockets) for app in apps]
    limits: Counter[str] = Counter()
    server = Server(
        sites,
        drain=drain,
        grace_seconds=grace_seconds,
        patience=Patience(**patience),
        on_limit=lambda limit: limits.update([limit]),
    )
    started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(server.run(started=started.set_result))
    await asyncio.wait({started, running}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    ports = [port for _, port in started.result()]
    try:
        yield Serving(server, "127.0.0.1", ports[0], running, certificate, ports, limits)
    finally:
        server.stop()
        await running


class Wired:
    """Answers everything with a stream or a WebSocket, and keeps the wires. ``writable`` counts `on_writable`."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.messages: list[Message] = []
        self.scopes: list[Message] = []
        self.disconnects: list[Message] = []
        self.done = 0
        self.writable = 0
        self._changes = Changes()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        websocket = scope["type"] == "websocket"
        if websocket:
            await receive()
        await send({"type": "websocket.accept"} if websocket else OK)
        wire: Wire = scope["extensions"][EXTENSION]()
        wire.on_writable = self._count
        self.wires.append(wire)
        self._changes.tell()
        await wire.serve(self._watched(receive), self.messages.append)
        await send({"type": "websocket.close", "code": 1000} if websocket else END)
        self.done += 1
        self._changes.tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at whenever an application received, began or ended."""
        await self._changes.until(condition)

    async def wire(self, number: int = 0) -> Wire:
        """Wait for the wire of the stream that began as the ``number``-th."""
        await self.until(lambda: len(self.wires) > number)
        return self.wires[number]

    def _watched(self, receive: Receive) -> Receive:
        async def watched() -> Any:
            message = await receive()
            if message["type"].endswith("disconnect"):
                self.disconnects.append(message)
            asyncio.get_running_loop().call_soon(self._changes.tell)  # when the wire has handed it on
            return message

        return watched

    def _count(self) -> None:
        self.writable += 1
        self._changes.tell()


def others(before: set[asyncio.Task[Any]]) -> int:
    """How many tasks there are that were not there ``before``: what a connection may leave behind is none."""
    return len(asyncio.all_tasks() - before)
