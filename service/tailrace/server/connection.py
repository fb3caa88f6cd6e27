"""One TCP or TLS connection: bytes in to a protocol of Hypercorn's, bytes out at once.

Takes the place of Hypercorn's `TCPServer` and asyncio's streams: one object and one reading task where those make five
objects and three tasks, and a ``write`` that never waits, so that whole frames keep their order whoever writes them.
Guards against a peer that does not read (the write marks, `Watch`), says more than others (`incoming`), does not ask
(``keep_alive_seconds``), or does not leave (`close` cuts after a while). While none of its streams is admitted
(`standing`), nothing more is read before all that came was looked at, and all that was said has left. Does not know
what is spoken; `http1` and `http2` do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, cast

from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError

from tailrace.server import protocols
from tailrace.server.applications import Applications
from tailrace.server.http1 import Http1
from tailrace.server.http2 import Http2
from tailrace.server.idle import IdleTimer
from tailrace.server.incoming import Incoming
from tailrace.server.keeper import Keeper
from tailrace.server.progress import Watch, acknowledged, cut, was_reset
from tailrace.server.settings import Patience
from tailrace.server.standing import Standing
from tailrace.server.timed import Timed
from tailrace.server.waiters import Waiters
from tailrace.wire import HIGH_WATER_BYTES

logger = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """One peer, from accept to the end of its last application. ``source`` is what it counts as: `places.source_of`."""

    __slots__ = (
        "_applications", "_begun", "_drainers", "_idle", "_incoming", "_keeper", "_leaving", "_loop", "_lost",
        "_parting", "_protocol", "_timed", "_timer", "_transport", "_watch", "draining", "paused", "source", "standing",
        "task",
    )  # fmt: skip

    standing: Standing
    task: asyncio.Task[None]
    _incoming: Incoming
    _protocol: Http1 | Http2
    _timed: Timed
    _timer: IdleTimer
    _transport: asyncio.Transport
    _watch: Watch

    def __init__(self, keeper: Keeper, source: str) -> None:
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._applications = Applications(keeper.newcomers.charge)
        self.source = source
        self._drainers = Waiters()
        self._idle = True
        self._begun = False
        self._leaving = False
        self._lost = False
        self._parting = False
        self.paused = False
        self.draining = False

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of asyncio's
        self._watch = Watch(transport, self.note_limit)
        self._incoming = Incoming(self._turn)
        self._timer = IdleTimer(self.is_unheard, self._wait_no_longer)
        self.standing = Standing(self._keeper, self)
        self._protocol = protocols.first(self, self._keeper, transport, self._send)
        self._keeper.made(self)
        self._timed = Timed(self._run(), None)
        self.changed()
        self.task = self._loop.create_task(self._timed)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._keeper.read_buffer  # emptied before another connection asks for it

    def buffer_updated(self, nbytes: int) -> None:
        waits = self.standing.is_strange and bool(self._incoming)
        self._incoming.add(self._keeper.read_buffer[:nbytes])
        if waits or self._incoming.full:
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
            if self.standing.is_strange:
                self._watch.begin(self.patience.answer_seconds, "answer_timeout")
            else:
                self._watch.begin(self.patience.stall_seconds)

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
        self._timer.stop()
        self._watch.end()
        self._incoming.end()
        self._drainers.wake()
        self.standing.gone()

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
        self._go_on_reading()  # lest what is still on its way become a reset, see `settings.LINGER_SECONDS`
        self._parting = True
        self._timer.stop()
        self._watch.see_off(linger=linger)

    def set_idle(self, idle: bool) -> None:
        self._idle = idle
        if self._incoming.over:
            return
        self._timer.stop()
        if idle and self._leaving:
            self._part()
        elif idle:
            self._timer.start(self._keeper.patience.keep_alive_seconds)

    def is_unheard(self) -> bool:
        return bool(self._incoming) or self.standing.is_behind

    @property
    def patience(self) -> Patience:
        return self._keeper.patience

    def note_limit(self, limit: str) -> None:
        self._keeper.note_limit(limit)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Timed:
        return self._applications.start(coroutine)

    # What its standing asks.

    @property
    def over(self) -> bool:
        """Whether it reads nothing any more."""
        return self._incoming.over

    def relieve(self) -> None:
        """Give up the answers that it does not take: those of all connections together are too many."""
        self._protocol.relieve()

    def changed(self) -> None:
        """Its standing has changed: that decides how much the peer may leave untaken."""
        self._timed.charge = self.standing.turnstile.charge
        if not self._transport.is_closing():
            # Not 0: then asyncio's TLS takes an empty buffer for a full one.
            self._transport.set_write_buffer_limits(high=1 if self.standing.is_strange else HIGH_WATER_BYTES)

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
        self._applications.cancel()

    # Within.

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
            while data := await self._read():
                await self._handle(data)
        except Exception:
            logger.exception("a connection was not understood; it is closed")
        finally:
            try:
                await self._end()
            finally:
                self.standing.leave()
                self._keeper.gone(self)
                # They know us; see `tailrace.server.run.GC_THRESHOLDS`.
                del self._incoming, self._protocol, self._timed, self._timer, self._transport, self._watch
                del self.standing

    async def _begin(self) -> None:
        await self._protocol.initiate()
        self._begun = True  # nothing may be said before: an HTTP/2 server's first word is SETTINGS
        if self.draining:
            self._protocol.announce()

    async def _read(self) -> bytes:
        """Return some of what has arrived, nothing at the end."""
        if self.standing.is_behind:
            self._incoming.end_turn()
        data = await self._incoming.take(self._protocol.slice_bytes)
        has_enough = self._incoming if self.standing.is_strange else self._incoming.full
        if not (has_enough or self._transport.is_closing()):
            self._go_on_reading()
        return data

    async def _turn(self) -> None:
        """Wait until some of what has arrived may be looked at. If the peer has gone by then, forget it."""
        await self._incoming.rest(self.standing.pause_seconds)
        await self.standing.turn()
        if self._lost or (not self._transport.is_reading() and was_reset(self._transport)):
            self._incoming.clear()  # while nothing is read, the transport does not tell of a reset

    def _go_on_reading(self) -> None:
        if not self._transport.is_reading():
            self._transport.resume_reading()

    async def _handle(self, data: bytes) -> None:
        try:
            await self._protocol.handle(RawData(data))
        except H2ProtocolAssumedError as preface:
            self._protocol = protocols.in_place_of(self._protocol, self, self._keeper, self._send)
            await self._begin()
            await self._protocol.handle(RawData(preface.data))

    async def _end(self) -> None:
        try:
            await self._protocol.handle(Closed())
            await self._applications.ended()
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
