"""One TCP or TLS connection: bytes in to a protocol of Hypercorn's, bytes out at once.

Takes the place of Hypercorn's `TCPServer` and asyncio's streams: one object and one reading task where those make five
objects and three tasks, and a ``write`` that never waits, so that whole frames keep their order whoever writes them.
Guards against a peer that does not read (the write marks, ``stall_seconds``), says more than others (`incoming`), does
not ask (``keep_alive_seconds``), or does not leave (`close` cuts after a while). Does not know what is spoken; `http1`
and `http2` do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, cast

from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError

from tailrace.server.context import CONTEXT
from tailrace.server.http1 import Http1
from tailrace.server.http2 import Http2
from tailrace.server.incoming import Incoming
from tailrace.server.keeper import Keeper
from tailrace.server.progress import Watch, acknowledged, cut
from tailrace.server.settings import CLOSE_SECONDS, LINGER_SECONDS
from tailrace.server.waiters import Waiters
from tailrace.wire import HIGH_WATER_BYTES

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """One peer, from accept to the end of its last application."""

    __slots__ = (
        "_applications", "_begun", "_drainers", "_idle", "_incoming", "_keeper", "_leaving", "_loop", "_lost",
        "_parting", "_protocol", "_timer", "_transport", "_watch", "draining", "paused", "task",
    )  # fmt: skip

    task: asyncio.Task[None]
    _protocol: Http1 | Http2
    _transport: asyncio.Transport
    _watch: Watch

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._applications: set[asyncio.Task[None]] = set()
        self._incoming = Incoming()
        self._drainers = Waiters()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = True
        self._begun = False
        self._leaving = False
        self._lost = False
        self._parting = False
        self.paused = False
        self.draining = False

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Listeners make no others; uvloop's are no subclasses of asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._watch = Watch(transport)
        info = transport.get_extra_info
        tls = info("ssl_object")
        kind = Http2 if tls is not None and tls.selected_alpn_protocol() == "h2" else Http1
        self._protocol = self._speak(kind, tls is not None, _address(info("peername")), _address(info("sockname")))
        self._keeper.made(self)
        self.task = self._loop.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        if self._incoming.over:
            return
        self._incoming.add(data)
        if self._incoming.full:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep the transport open, where it can be, until the applications have ended."""
        already_closing = self._incoming.over
        self._incoming.end()
        return not already_closing and self._transport.can_write_eof()  # TLS cannot be half open

    def pause_writing(self) -> None:
        self.paused = True
        self._protocol.paused()
        if not self._parting:
            self._watch.begin(self.stall_seconds)

    def resume_writing(self) -> None:
        self.paused = False
        if not self._parting:
            self._watch.end()
        self._drainers.wake()
        self._protocol.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lost = True
        self.paused = False
        self._stop_timer()
        self._watch.end()
        self._incoming.end()
        self._drainers.wake()

    # What protocols and wires ask: `tailrace.server.wires.Carrier`.

    @property
    def taken(self) -> int:
        return acknowledged(self._transport)

    def write(self, data: bytes) -> None:
        if not (self._parting or self._transport.is_closing()):
            self._transport.write(data)

    async def drained(self) -> None:
        while self.paused:
            await self._drainers.wait()

    def abort(self) -> None:
        cut(self._transport)

    def close(self, *, linger: bool) -> None:
        self._incoming.clear()
        self._incoming.end()
        if self._parting or self._transport.is_closing():
            return
        self._go_on_reading()  # lest what is still on its way become a reset, see `LINGER_SECONDS`
        self._parting = True
        self._stop_timer()
        if linger and self._transport.can_write_eof():
            with suppress(OSError):  # the peer has gone already; `connection_lost` is on its way
                self._transport.write_eof()
            self._watch.begin(LINGER_SECONDS)
        else:
            self._transport.close()
            self._watch.begin(CLOSE_SECONDS)

    def set_idle(self, idle: bool) -> None:
        self._idle = idle
        self._keeper.rests(self, resting=idle and not self._incoming.over)
        if self._incoming.over:
            return
        self._stop_timer()
        if idle and self._leaving:
            self._part()
        elif idle:
            self._timer = self._loop.call_later(self._keeper.patience.keep_alive_seconds, self._wait_no_longer)

    @property
    def request_seconds(self) -> float:
        return self._keeper.patience.request_seconds

    @property
    def stall_seconds(self) -> float:
        return self._keeper.patience.stall_seconds

    def note_limit(self, limit: str) -> None:
        self._keeper.note_limit(limit)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        application = self._loop.create_task(coroutine)
        self._applications.add(application)
        application.add_done_callback(self._applications.discard)

    # What the listener asks.

    def announce(self) -> None:
        """The drain has begun: say so where the protocol can, and go on serving."""
        self.draining = True
        if self._begun:
            self._protocol.announce()

    def leave(self) -> None:
        """Close now if idle, else as soon as it is."""
        self._leaving = True
        if self._begun and self._idle and not self._incoming.over:
            self._part()

    def cancel(self) -> None:
        """Cut, and cancel what still runs: an application that does not hear its disconnect."""
        self.abort()
        for application in self._applications:
            application.cancel()

    # Within.

    def _speak(
        self, kind: type[Http1 | Http2], secure: bool, client: tuple[str, int] | None, server: tuple[str, int] | None
    ) -> Http1 | Http2:
        keeper = self._keeper
        return kind(self, keeper.app, keeper.config, CONTEXT, None, {}, secure, client, server, self._send)

    async def _send(self, event: Event) -> None:
        """Hypercorn's way to a connection."""
        if isinstance(event, RawData):
            self.write(event.data)
            await self.drained()
        elif isinstance(event, Closed):
            self.close(linger=True)
        elif isinstance(event, Updated):
            self.set_idle(event.idle)

    async def _run(self) -> None:
        """Read until the peer, or a protocol, ends the connection; then see the applications off."""
        try:
            await self._begin()
            self.set_idle(True)
            await self._incoming.arrived()
            await self._keeper.turnstile.through()
            if self._lost:
                self._incoming.clear()  # whoever has gone meanwhile has asked for nothing
            while data := await self._read():
                await self._handle(data)
        except Exception:
            logger.exception("a connection was not understood; it is closed")
        finally:
            try:
                await self._end()
                del self._protocol  # it knows us: see `tailrace.server.run.GC_THRESHOLDS`
            finally:
                self._keeper.gone(self)

    async def _begin(self) -> None:
        await self._protocol.initiate()
        self._begun = True  # nothing may be said before: an HTTP/2 server's first word is SETTINGS
        if self.draining:
            self._protocol.announce()

    async def _read(self) -> bytes:
        """Give some of what has arrived, nothing at the end."""
        data = await self._incoming.take()
        if not (self._incoming.full or self._transport.is_closing()):
            self._go_on_reading()
        return data

    def _go_on_reading(self) -> None:
        if not self._transport.is_reading():
            self._transport.resume_reading()

    async def _handle(self, data: bytes) -> None:
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as preface:
            was = self._protocol  # the transport may know nobody any more
            self._protocol = self._speak(Http2, was.ssl, was.client, was.server)
            await self._begin()
            await self._protocol.handle(RawData(preface.data))

    async def _end(self) -> None:
        try:
            await self._protocol.handle(Closed())
            while self._applications:
                await asyncio.wait(self._applications)
        finally:
            self.close(linger=False)
        while not self._lost:
            await self._drainers.wait()

    def _wait_no_longer(self) -> None:
        self.note_limit("idle_timeout")
        self._part()

    def _part(self) -> None:
        self._protocol.farewell()
        self.close(linger=False)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _address(name: Any) -> tuple[str, int] | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
