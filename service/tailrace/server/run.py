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
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from tailrace.server import descriptors
from tailrace.server.ending import Signals
from tailrace.server.listener import Listener, Site
from tailrace.server.settings import ADMISSION_SHARE, GRACE_SECONDS, SPARE_FILES, Patience, check_hypercorn

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
PATIENCE = Patience()


def _uncounted(limit: str) -> None:
    """Stand in where nobody counts."""


class Server:
    """Listens on ``sites`` in order and closes them in order, so put the admin site last.

    ``drain`` is awaited once, when the end has begun: it should end every stream. ``grace_seconds`` is what connections
    may take after it. ``on_limit`` is told of each limit that a peer comes to, by its name in the metrics.
    ``admission_share`` is what those who are not admitted may take of the loop's time, site by site, while others need
    it. Serves once; make another to serve again. Raises `ConfigurationError` where the installed Hypercorn is not the
    one this package knows.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        drain: Callable[[], Awaitable[None]],
        grace_seconds: float = GRACE_SECONDS,
        patience: Patience = PATIENCE,
        on_limit: Callable[[str], None] = _uncounted,
        admission_share: float = ADMISSION_SHARE,
    ) -> None:
        check_hypercorn()
        self._listeners = [Listener(site, patience, on_limit, admission_share) for site in sites]
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
                self._fit()
                addresses = [await listener.open() for listener in self._listeners]
                if started is not None:
                    started(addresses)
                await self._stopping.wait()
                await self._announce_and_drain()
            finally:
                await self._close()

    def _fit(self) -> None:
        """Let in no more connections than there are descriptors for, so that it is not Kafka's that are missing."""
        largest = max(self._listeners, key=lambda listener: listener.max_sockets)
        missing = descriptors.missing(sum(listener.max_sockets for listener in self._listeners) + SPARE_FILES)
        if missing:
            largest.max_sockets = max(1, largest.max_sockets - missing)
            logger.warning(
                "only %d connections are let in, %d too few: raise the limit of open files (ulimit -n), or lower "
                "TAILRACE_MAX_CONNECTIONS",
                largest.max_sockets,
                missing,
            )

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
    descriptors.raise_limit()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_awaited(main))


async def _awaited(main: Callable[[], Awaitable[None]]) -> None:
    await main()
