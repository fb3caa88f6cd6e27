"""One honest client: subscribes to its session, keeps its last id, and comes back as the contract asks.

Needs no task while it is connected. Whatever ends a connection, it waits as long as it was told and comes back with its
last id and a fresh token; it stays away after `tailrace.end`, ``reconnect: false``, and every status but that of a
stream, as an EventSource does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from crowd.asking import STREAMS, Ask, Dial, Link, Transport
from crowd.ledger import Item, Ledger
from crowd.turns import DISCONNECT, END

RETRY_MS = (1000, 3000)
"""How long to wait where the service did not say: as in the guide for client authors."""


class Client:
    """Stays subscribed until it is told to stay away, or leaves. ``hurry`` shortens all waits by this factor; ``bytes``
    says before each connection after how many it is cut off, or never.

    ``final`` says why it will not come back; empty as long as it may.
    """

    def __init__(
        self,
        ledger: Ledger,
        transport: Transport,
        dial: Dial,
        token: Callable[[], str],
        rng: random.Random,
        *,
        begin: str = "",
        hurry: float = 1.0,
        bytes: Callable[[], int | None] = lambda: None,  # noqa: A002  what it counts
    ) -> None:
        self.ledger = ledger
        self.final = ""
        self._transport = transport
        self._dial = dial
        self._token = token
        self._rng = rng
        self._begin = begin
        self._hurry = hurry
        self._bytes = bytes
        self._visit: Visit | None = None
        self._later: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def connected(self) -> bool:
        """Whether it is being served."""
        return self._visit is not None and self._visit.served

    def come(self) -> None:
        """Connect, if it is away."""
        self._forget_later()
        if self._visit is None and not self.final:
            self.ledger.asked(self._begin)
            ask = Ask(
                self._transport, self.ledger.session, self._token, self.ledger.last_id, self._begin, self._bytes()
            )
            self._visit = Visit(self)
            self._visit.begin(self._loop, self._dial, ask)

    def leave(self, away_seconds: float | None = None) -> None:
        """Go politely, as a page does that is closed; come back after a while, or never."""
        if (link := self._let_go("left", away_seconds)) is not None:
            link.leave()

    def vanish(self, away_seconds: float | None = None) -> None:
        """Go without a word; come back after a while, or never."""
        if (link := self._let_go("vanished", away_seconds)) is not None:
            link.vanish()

    def stall(self, seconds: float) -> None:
        """Take nothing for a while."""
        if self._visit is not None and (link := self._visit.link) is not None:
            link.stall()
            self._loop.call_later(seconds, link.resume)

    # What a visit says.

    def answered(self, status: int) -> None:
        self.ledger.answered(status)
        if status not in STREAMS:
            self.final = f"answered with {status}"

    def heard(self, item: Item) -> None:
        self.ledger.heard(item)
        if item.name == END:
            self.final = "the session ended"
        elif item.name == DISCONNECT and not item.fields["reconnect"]:
            self.final = f"told to stay away: {item.fields['reason']}"

    def over(self, how: str, retry_ms: int | None, *, malformed: bool) -> None:
        self._visit = None
        self.ledger.over(how, malformed=malformed)
        self._come_later((self._rng.uniform(*RETRY_MS) if retry_ms is None else retry_ms) / 1000 * self._hurry)

    # Coming and going.

    def _let_go(self, how: str, away_seconds: float | None) -> Link | None:
        self._forget_later()
        if away_seconds is None:
            self.final = self.final or how
        visit, self._visit = self._visit, None
        if visit is not None:
            self.ledger.over(how)
        self._come_later(away_seconds or 0.0)
        return None if visit is None else visit.let_go()

    def _come_later(self, seconds: float) -> None:
        self._forget_later()
        if not self.final:
            self._later = self._loop.call_later(seconds, self.come)

    def _forget_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None


class Visit:
    """One connection of a client, from the dial to its end; a `crowd.asking.Hearer`, deaf once it was let go of.

    A dial is never cancelled: who is let go of before there is a connection vanishes as soon as there is one.
    """

    def __init__(self, client: Client) -> None:
        self.link: Link | None = None
        self.served = False
        self._client: Client | None = client
        self._dialing: asyncio.Task[None] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, dial: Dial, ask: Ask) -> None:
        """Dial; whatever comes of it, the client is told."""
        self._dialing = loop.create_task(self._dial(dial, ask))

    def let_go(self) -> Link | None:
        """Tell nothing any more; gives what is to be ended."""
        self._client = None
        return self.link

    def answered(self, status: int) -> None:
        if self._client is not None:
            self._client.answered(status)

    def heard(self, item: Item) -> None:
        self.served = True
        if self._client is not None:
            self._client.heard(item)

    def over(self, how: str, retry_ms: int | None, *, malformed: bool) -> None:
        client, self._client, self.served = self._client, None, False
        if client is not None:
            client.over(how, retry_ms, malformed=malformed)

    async def _dial(self, dial: Dial, ask: Ask) -> None:
        try:
            self.link = await dial(ask, self)
            if self._client is None:
                self.link.vanish()
        except OSError as error:  # `TimeoutError` is one
            self.over(f"could not connect: {error!r}", None, malformed=False)
