"""WebSockets that owe their token: it is to come as the first message, and nobody knows before whose they are.

Few may owe it at once: one more takes the place of another (`places`). A client that has said something which the
server has yet to look at owes nothing: it keeps its place, and its time does not run out. Reads no token; `websocket`
does. Lives as long as the endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import Message, Receive, Scope

from tailrace.errors import TokenTimeout, TooManyConnections
from tailrace.places import Places, source_of
from tailrace.wire import UNHEARD

TOKEN_SECONDS = 10.0
"""For the first message to come; a page has its token at hand when it opens the socket."""
MAX_OWING = 256
"""Sockets that may owe it."""
TRIES = 8
"""Sockets that are looked at to find one that has to leave. Where all of them have said something, the server is late,
and nobody has to."""


class FirstMessages:
    """The sockets that owe their token."""

    def __init__(self, seconds: float = TOKEN_SECONDS) -> None:
        self._seconds = seconds
        self._places: Places[_Owing] = Places()

    def __len__(self) -> int:
        return len(self._places)

    async def of(self, scope: Scope, receive: Receive) -> Message:
        """Wait for the first message of a socket, or its disconnect.

        Raises:
            TokenTimeout: none came in time.
            TooManyConnections: its place was needed for another.
        """
        self._make_room()
        is_unheard = (scope.get("extensions") or {}).get(UNHEARD, _never)
        owing = _Owing(source_of(scope.get("client")), is_unheard)
        self._places.add(owing.source, owing)
        try:
            return await owing.received(receive, self._seconds)
        finally:
            self._places.discard(owing.source, owing)

    def _make_room(self) -> None:
        for _ in range(TRIES):
            if len(self._places) < MAX_OWING or (one := self._places.evict()) is None:
                return
            if not one.is_unheard():
                one.leave()
                return
            self._places.add(one.source, one)


class _Owing:
    """One socket. ``is_unheard`` says whether it has said something that was not looked at."""

    def __init__(self, source: str, is_unheard: Callable[[], bool]) -> None:
        self.source = source
        self.is_unheard = is_unheard
        self._timeout = asyncio.timeout(None)
        self._has_to_leave = False

    def leave(self) -> None:
        """Wait no longer."""
        self._has_to_leave = True
        with suppress(RuntimeError):  # its time is over anyway
            self._timeout.reschedule(0)

    async def received(self, receive: Receive, seconds: float) -> Message:
        """Wait for a message."""
        while True:
            self._timeout = asyncio.timeout(seconds)
            try:
                async with self._timeout:
                    return await receive()
            except TimeoutError:
                if self._has_to_leave:
                    raise TooManyConnections("too many sockets have yet to send their token") from None
                if not self.is_unheard():
                    raise TokenTimeout(f"no token came within {seconds:g} seconds") from None


def _never() -> bool:
    """Stand in where the server does not tell."""
    return False
