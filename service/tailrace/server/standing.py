"""What a connection is to the server: a stranger's, or one that carries an admitted stream.

A stranger's requests wait for their turn. More of them are read only when it has taken its answers, and it is the first
to leave where there is no room. A stream is admitted when its application takes the wire. Knows no bytes and no
protocol; `connection` asks it when to read, `streams` tells it what became of a request. Lives as long as its
connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tailrace.server.refusals import Refusals
from tailrace.server.waiters import Waiters

if TYPE_CHECKING:
    from tailrace.server.connection import Connection
    from tailrace.server.keeper import Keeper
    from tailrace.server.turnstile import Turnstile


class Standing:
    """The account of one connection."""

    __slots__ = ("_admitted", "_connection", "_heard", "_keeper", "_refusals", "_room", "_unheard")

    def __init__(self, keeper: Keeper, connection: Connection) -> None:
        self._keeper = keeper
        self._connection = connection
        self._refusals: Refusals | None = None  # most are never refused anything
        self._room = Waiters()
        self._admitted = 0
        self._unheard = 0
        self._heard = False

    @property
    def is_strange(self) -> bool:
        """Whether none of its streams is admitted now."""
        return not self._admitted

    @property
    def turnstile(self) -> Turnstile:
        """Where the connection's input waits for its turn, and what that costs is charged."""
        return self._keeper.members if self._admitted else self._keeper.newcomers

    # What streams say.

    def admit(self) -> None:
        """One of its streams is admitted."""
        self._admitted += 1
        if self._admitted == 1:
            self._refusals = None
            self.leave()
            self._connection.changed()

    def dismiss(self) -> None:
        """An admitted stream has ended."""
        self._admitted -= 1
        if not self._admitted:
            self.enter()
            self._connection.changed()

    def refuse(self) -> bool:
        """A request is refused; return whether it was one too many, and the connection is to end."""
        if self._admitted:
            return False
        already = self.refused_too_often
        if self._refusals is None:
            pause = self._keeper.patience.refused_pause_seconds
            self._refusals = Refusals(asyncio.get_running_loop().time, pause)
        self._refusals.add()
        if self.refused_too_often and not already:
            self._keeper.note_limit("refused_requests")
        return self.refused_too_often

    @property
    def refused_too_often(self) -> bool:
        """Whether the connection is to end."""
        return self._refusals is not None and self._refusals.too_many

    @property
    def pause_seconds(self) -> float:
        """How long its next request has to wait, because so many were refused; while nobody else waits, not at all."""
        if self._refusals is None or not self._keeper.newcomers.contended:
            return 0.0
        return self._refusals.pause_seconds

    def untaken(self, size: int) -> None:
        """Of answers that are no streams the peer has ``size`` bytes yet to take."""
        self._keeper.untaken.note(self._connection, size)

    # Whose turn it is.

    async def turn(self) -> None:
        """Wait until the connection's input may be looked at."""
        if not self._heard:
            self.leave()  # the client waits for the server now
        while self.is_behind:
            await self._room.wait()
        if not self._admitted:
            await self._connection.drained()
        await self.turnstile.through(self._connection.source, self._connection)
        if not self._heard:
            self._heard = True
            self.enter()

    @property
    def is_behind(self) -> bool:
        """Whether a request of it waits to be heard, so that no more of its input is looked at."""
        return bool(self._unheard)

    def expect(self) -> None:
        """A request has come and waits to be heard: the client waits for the server now."""
        self._unheard += 1
        self.leave()

    async def hear(self) -> None:
        """Wait until the application of an expected request may run.

        The request of a stranger had its turn already, when its input was looked at. One that comes beside an admitted
        stream had a turn among `members` only: here it queues with all others, before which it would come otherwise.
        """
        try:
            newcomers, begun = self._keeper.newcomers, self.is_strange
            await newcomers.through(self._connection.source, self._connection, begun=begun)
        finally:
            self._unheard -= 1
            self._room.wake()
            if not self._unheard:
                self.enter()

    def gone(self) -> None:
        """The connection has gone: nothing of it waits for a turn any more."""
        for turnstile in (self._keeper.newcomers, self._keeper.members):
            turnstile.release(self._connection.source, self._connection)

    # Whether it has to leave where there is no room.

    def enter(self) -> None:
        """From now on it may have to."""
        if not (self._admitted or self._connection.over):
            self._keeper.strangers.add(self._connection.source, self._connection)

    def leave(self) -> None:
        """From now on it has not to: it is admitted, waits for the server, or has gone."""
        self._keeper.strangers.discard(self._connection.source, self._connection)
