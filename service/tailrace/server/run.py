"""The server's life: listen on every site, serve, drain, close, return; and the loop it runs on.

Hypercorn's own runner cannot drain: it closes the listeners first, does not honour its grace period while a stream is
open, and tells the application last. So this owns the signals. The order on the way out:

1. every HTTP/2 peer hears GOAWAY, and is served on;
2. ``drain``: the application ends its streams, while new requests still get a polite answer;
3. site by site, in their order: stop listening, close what is idle, give the rest what is left of their grace, cut.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from tailrace.server.ending import Signals
from tailrace.server.listener import Listener, Site
from tailrace.server.settings import GRACE_SECONDS, KEEP_ALIVE_SECONDS, STALL_SECONDS, check_hypercorn

NewLoop = Callable[[], asyncio.AbstractEventLoop]
_new_loop: NewLoop = asyncio.new_event_loop
with suppress(ImportError):  # where it does not exist: slower, otherwise the same
    import uvloop

    _new_loop = uvloop.new_event_loop

logger = logging.getLogger(__name__)

GC_THRESHOLDS = (100_000, 50, 50)
"""Events live long and are part of no cycle, yet a full collection walks over all of the tail while nobody is served.
Measured at 10 000 events a second, a delivery's 99th percentile: 60 ms with Python's own thresholds, 14 ms with these.
Cycles of connections that have gone are still collected, only later."""


class Server:
    """Listens on ``sites`` in order and closes them in order, so put the admin site last.

    ``drain`` is awaited once, when the end has begun: it should end every stream. ``grace_seconds`` is what connections
    may take after it, ``keep_alive_seconds`` what one may be without a request, ``stall_seconds`` how long
    its peer may take nothing of what it is owed. Serves once; make another to serve again. Raises `ConfigurationError`
    where the installed Hypercorn is not the one this package knows.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        drain: Callable[[], Awaitable[None]],
        grace_seconds: float = GRACE_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        check_hypercorn()
        self._listeners = [Listener(site, keep_alive_seconds, stall_seconds) for site in sites]
        self._drain = drain
        self._grace_seconds = grace_seconds
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin the end; `run` returns when it is reached."""
        self._stopping.set()

    async def run(self, *, started: Callable[[Sequence[tuple[str, int]]], None] | None = None) -> None:
        """Serve until `stop`, SIGTERM or SIGINT; then drain, close, return.

        A second signal ends the process at once, with status 128 + signal. ``started`` gets host and port of every
        site once all listen. Raises `ConfigurationError` when one cannot.
        """
        with Signals(self.stop):
            try:
                addresses = [await listener.open() for listener in self._listeners]
                if started is not None:
                    started(addresses)
                await self._stopping.wait()
                await self._announce_and_drain()
            finally:
                await self._close()

    async def _announce_and_drain(self) -> None:
        for listener in self._listeners:
            listener.announce()
        try:
            await self._drain()
        except Exception:
            logger.exception("the drain failed; streams that are still open are cut")

    async def _close(self) -> None:
        now = asyncio.get_running_loop().time
        ends = now() + self._grace_seconds
        for listener in self._listeners:
            await listener.close(max(0.0, ends - now()))


def run(main: Callable[[], Awaitable[None]], new_loop: NewLoop = _new_loop) -> None:
    """Run ``main`` on a new loop to its end: by default uvloop's, where there is one."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.get_loop().set_exception_handler(_on_loop_error)
        runner.run(_awaited(main))


async def _awaited(main: Callable[[], Awaitable[None]]) -> None:
    await main()


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A peer that speaks no TLS, or hangs up during the handshake, is no error of ours.
    if not isinstance(context.get("exception"), (ssl.SSLError, ConnectionError)):
        loop.default_exception_handler(context)
