"""Honest clients who come and go, each time to whichever replica chance leads them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from crowd.asking import Ask, Dial, Endpoint, Hearer, Link, Transport
from crowd.client import Client
from crowd.http1 import Http1
from crowd.http2 import Http2
from crowd.judge import Judge
from real.service import token

RECEIVE_BUFFER_BYTES = 16 * 1024
"""Of every client: whoever is cut is mostly cut in the middle of something."""
CLIENTS_A_SESSION = 4
HEAVY_SESSIONS = 4
"""They are told a lot at once, and never end."""
TICK_SECONDS = 0.05
MEAN_SECONDS = 6.0
"""How long a client is left in peace, on the average."""
MOMENT_SECONDS = (0.0, 1.0)
LONG_SECONDS = (8.0, 40.0)
"""Longer than memory reaches."""
STALL_SECONDS = (0.2, 8.0)
"""Some of them longer than the service waits."""
TTL_SECONDS = (30, 75)
SUBJECTS = 50
HURRY = 0.3
BEGINNINGS = ("", "", "", "now", "tail", "earliest", "since")
SINCE_SECONDS = (0.0, 60.0)
CUT_OF_ALL = 0.2
"""So many connections are cut off after some of these bytes, in the middle of an event mostly."""
CUT_BYTES = (50, 50_000)


class Hop:
    """Dials one of several, at random."""

    def __init__(self, dials: Sequence[Dial], rng: random.Random) -> None:
        self._dials = dials
        self._rng = rng

    async def __call__(self, ask: Ask, hearer: Hearer) -> Link:
        return await self._rng.choice(self._dials)(ask, hearer)


class People:
    """All clients of one run. ``befell`` counts what was done to them; ``end`` says to a session that it has ended."""

    def __init__(
        self,
        count: int,
        rng: random.Random,
        judge: Judge,
        endpoints: Sequence[Endpoint],
        end: Callable[[str], bool],
    ) -> None:
        self._count = count
        self._rng = rng
        self._judge = judge
        self._end = end
        self._numbers = itertools.count()
        self._http2 = [Http2(self._always(each), rng) for each in endpoints]
        http1: list[Dial] = [Http1(self._always(each)) for each in endpoints]
        self._dials: Mapping[str, Dial] = {"HTTP/1.1": Hop(http1, rng), "HTTP/2": Hop(self._http2, rng)}
        self._clients: list[Client] = []
        self._left_connections = 0
        self._stormy = True
        self.sessions = [self._new_session() for _ in range(max(HEAVY_SESSIONS + 1, count // CLIENTS_A_SESSION))]
        self.befell: Counter[str] = Counter()
        self._happenings: Mapping[str, tuple[int, Callable[[], None]]] = {
            "left for a moment": (20, lambda: self._one().leave(self._rng.uniform(*MOMENT_SECONDS))),
            "vanished for a moment": (30, lambda: self._one().vanish(self._rng.uniform(*MOMENT_SECONDS))),
            "left for long": (10, lambda: self._one().leave(self._rng.uniform(*LONG_SECONDS))),
            "vanished for long": (10, lambda: self._one().vanish(self._rng.uniform(*LONG_SECONDS))),
            "stalled": (10, lambda: self._one().stall(self._rng.uniform(*STALL_SECONDS))),
            "left for good": (5, lambda: self._one().leave()),
            "vanished for good": (5, lambda: self._one().vanish()),
            "lost a connection with many streams": (3, self._cut_many),
            "session ended": (1, self._end_one),
        }

    @property
    def connections(self) -> int:
        """How many were made by all."""
        return self._left_connections + sum(client.ledger.connections for client in self._clients)

    async def live(self) -> None:
        """Let things happen until cancelled; whoever has gone for good is replaced."""
        due = 0.0
        while True:
            self._replace()
            due += len(self._clients) * TICK_SECONDS / MEAN_SECONDS
            for _ in range(int(due)):
                self._befall()
            due %= 1
            await asyncio.sleep(TICK_SECONDS)

    async def gather(self, seconds: float) -> None:
        """Everybody comes back and waits until it has everything. Raises `TimeoutError` after ``seconds``."""
        self._stormy = False
        async with asyncio.timeout(seconds):
            self._forget_the_gone()
            while self._judge.behind():
                for client in self._clients:
                    client.come()
                await asyncio.sleep(TICK_SECONDS)
                self._forget_the_gone()

    def leave(self) -> None:
        """Everybody goes, politely or not."""
        for client in self._clients:
            self._rng.choice([client.leave, client.vanish])()
        for each in self._http2:
            each.close()

    def _replace(self) -> None:
        self._forget_the_gone()
        for _ in range(self._count - len(self._clients)):
            self._welcome()

    def _forget_the_gone(self) -> None:
        for client in [client for client in self._clients if client.final]:
            self._left_connections += client.ledger.connections
            self._judge.leave(client.ledger)
            self._clients.remove(client)

    def _welcome(self) -> None:
        rng, session = self._rng, self._rng.choice(self.sessions)
        transport, version = rng.choice(list(Transport)), rng.choice(list(self._dials))
        begin = rng.choice(BEGINNINGS)
        if begin == "since":
            begin = f"since={round(1000 * (time.time() - rng.uniform(*SINCE_SECONDS)))}"
        name = f"client {next(self._numbers)}, {transport.value} over {version}, from {begin or 'now, by default'}"
        subject = f"subject {rng.randrange(SUBJECTS)}"

        def fresh() -> str:
            return token(session, subject=subject, ttl_seconds=rng.randint(*TTL_SECONDS))

        ledger = self._judge.follow(name, session)
        dial = self._dials[version]
        client = Client(ledger, transport, dial, fresh, rng, begin=begin, hurry=HURRY, bytes=self._bytes)
        self._clients.append(client)
        client.come()

    def _befall(self) -> None:
        [name] = self._rng.choices(list(self._happenings), [weight for weight, _ in self._happenings.values()])
        self._happenings[name][1]()
        self.befell[name] += 1

    def _one(self) -> Client:
        return self._rng.choice(self._clients)

    def _bytes(self) -> int | None:
        """Say after how many bytes a connection is cut off: mostly never, and in the calm not at all."""
        return self._rng.randint(*CUT_BYTES) if self._stormy and self._rng.random() < CUT_OF_ALL else None

    def _end_one(self) -> None:
        at = self._rng.randrange(HEAVY_SESSIONS, len(self.sessions))
        if self._end(self.sessions[at]):
            self.sessions[at] = self._new_session()

    def _new_session(self) -> str:
        return f"room/{next(self._numbers)}"

    def _cut_many(self) -> None:
        if connections := [each for pool in self._http2 for each in pool.connections]:
            self._rng.choice(connections).vanish()

    @staticmethod
    def _always(endpoint: Endpoint) -> Callable[[], Endpoint]:
        return lambda: endpoint
