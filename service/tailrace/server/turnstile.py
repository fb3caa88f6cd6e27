"""Whose input is worked on in this iteration of the event loop, and how much of it: admitted streams come first.

Work for those who are not admitted (parsing, routing, checking tokens, refusing) is done in pieces of less than a
millisecond. While several wait, one iteration of the loop does as many pieces as fit into `LEAST_SECONDS`, or into a
share of what everything else took in the iteration before, whichever is more. So an idle loop is used to the full, and
in a busy one streams keep the rest, however many strangers wait. What was begun is done before anything new, so that
little of it is kept. Among what was begun, and among what is new, addresses take turns, and the connections of an
address take turns, each in the order of their coming. Knows no connection and no request.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable

from tailrace.server.settings import LEAST_SECONDS, MOST_SECONDS

USUAL_SECONDS = 0.0003
"""What a piece is taken to cost until some were measured."""
_WEIGHT = 1 / 8
"""Of the newest iteration in what a piece usually costs."""


class Turnstile:
    """Lets pieces of work through; lives as long as its listener, and costs nothing while nobody comes.

    ``share`` is a fraction of the loop's time, below 1. ``clock`` gives seconds of any origin: not of
    processor time, which is a system call, and those cost more than all else here.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._ratio = share / (1 - share)
        self._clock = clock
        self._begun = _Line()
        self._new = _Line()
        self._left = LEAST_SECONDS
        self._usual = USUAL_SECONDS
        self._spent = 0.0
        self._passed = 0
        self._since: float | None = None  # when this iteration was begun; None while nobody comes

    @property
    def contended(self) -> bool:
        """Whether somebody waits."""
        return bool(self._new or self._begun)

    async def through(self, address: Hashable, connection: Hashable, *, begun: bool = False) -> None:
        """Wait until a piece of ``connection``'s work may be done; returns at once while there is time for it.

        It is ``begun`` where it follows from a piece that was done.
        """
        if self._since is None:
            self._since = self._clock()
            asyncio.get_running_loop().call_soon(self._iterate)
        if self._left > 0 and not self.contended:
            self._pass()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._begun if begun else self._new).add(address, connection, future)
        await future

    def release(self, address: Hashable, connection: Hashable) -> None:
        """Let all of ``connection``'s work through now: it has gone, so that there is nothing to do."""
        for future in [*self._begun.leave(address, connection), *self._new.leave(address, connection)]:
            if not future.done():
                future.set_result(None)

    def charge(self, seconds: float) -> None:
        """Count the time that a piece took, or some of it."""
        self._spent += seconds

    def _pass(self) -> None:
        self._left -= self._usual
        self._passed += 1

    def _iterate(self) -> None:
        """Begin an iteration of the loop: see what the last one took, and let through what fits into this one."""
        now, since = self._clock(), self._since or 0.0
        others = max(0.0, now - since - self._spent)
        if self._passed:
            self._usual += (self._spent / self._passed - self._usual) * _WEIGHT
        had, self._passed, self._spent = self._passed, 0, 0.0
        self._left = max(LEAST_SECONDS, min(MOST_SECONDS, self._ratio * others))
        while self.contended and self._left > 0:
            if not (future := (self._begun or self._new).next()).done():  # it may have been cancelled
                future.set_result(None)
                self._pass()
        if had or self._passed:
            self._since = now
            asyncio.get_running_loop().call_soon(self._iterate)
        else:
            self._since = None


class _Line:
    """Who waits, by address and by connection; the next one is the first."""

    __slots__ = ("_addresses",)

    def __init__(self) -> None:
        self._addresses: OrderedDict[Hashable, OrderedDict[Hashable, deque[asyncio.Future[None]]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def add(self, address: Hashable, connection: Hashable, future: asyncio.Future[None]) -> None:
        """Let one more wait."""
        self._addresses.setdefault(address, OrderedDict()).setdefault(connection, deque()).append(future)

    def next(self) -> asyncio.Future[None]:
        """Remove and return the next one; what else waits of its connection and of its address queues up again."""
        address, connections = self._addresses.popitem(last=False)
        connection, futures = connections.popitem(last=False)
        future = futures.popleft()
        if futures:
            connections[connection] = futures
        if connections:
            self._addresses[address] = connections
        return future

    def leave(self, address: Hashable, connection: Hashable) -> Iterable[asyncio.Future[None]]:
        """Remove and return all that wait for one connection."""
        connections = self._addresses.get(address, OrderedDict())
        futures = connections.pop(connection, ())
        if not connections:
            self._addresses.pop(address, None)
        return futures
