"""Honest clients, and what befalls them: they leave, vanish, stall, come back, and are replaced by others."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping

from crowd.asking import Dial, Endpoint, Transport
from crowd.client import Client
from crowd.http1 import Http1
from crowd.http2 import Http2
from crowd.judge import Judge
from crowd.producing import Source
from real.service import token
from soak.traffic import BIG_BURST, BIG_BYTES

CLIENTS_A_SESSION = 3
HEAVY_SESSIONS = 4
RECEIVE_BUFFER_BYTES = 16 * 1024
"""Of every client: what the kernel would hold for one that does not read hides that it does not."""
TICK_SECONDS = 0.05
MEAN_SECONDS = 8.0
"""How long a client is left in peace, on the average."""
AWAY_SECONDS = (0.0, 4.0)
TTL_SECONDS = (20, 75)
"""So that some tokens end during a stream, and some live long enough to be told half a minute before; none ends while
its client still waits to be let in."""
SUBJECTS = 50
HURRY = 0.5
COMPLETE_SECONDS = 90.0
"""How long everybody may take to have everything, once nothing more is said: many come back, and some still stall."""


class People:
    """All honest clients of one run. ``befell`` counts what was done to them."""

    def __init__(
        self,
        count: int,
        rng: random.Random,
        judge: Judge,
        source: Source,
        endpoint: Endpoint,
        send_timeout_seconds: float,
    ) -> None:
        self._count = count
        self._rng = rng
        self._judge = judge
        self._source = source
        self._timeout_seconds = send_timeout_seconds
        self._numbers = itertools.count()
        self._http2 = Http2(lambda: endpoint, rng)
        self._dials: Mapping[str, Dial] = {"HTTP/1.1": Http1(lambda: endpoint), "HTTP/2": self._http2}
        self._clients: list[Client] = []
        self.sessions = [self._new_session() for _ in range(max(HEAVY_SESSIONS + 1, count // CLIENTS_A_SESSION))]
        self.heavy = self.sessions[:HEAVY_SESSIONS]
        self.befell: Counter[str] = Counter()
        self.connections = 0
        self._happenings: dict[str, tuple[int, Callable[[], None]]] = {
            "left for a while": (30, lambda: self._one().leave(self._away())),
            "vanished for a while": (25, lambda: self._one().vanish(self._away())),
            "stalled for a moment": (15, lambda: self._one_heavy().stall(rng.uniform(0.1, 0.6) * send_timeout_seconds)),
            "stalled too long": (2, self._stall_too_long),
            "left for good": (10, lambda: self._one().leave()),
            "vanished for good": (8, lambda: self._one().vanish()),
            "lost a connection with many streams": (2, self._cut_many),
            "stalled a connection with many streams": (1, self._stall_many),
            "session ended": (2, self._end_one),
        }

    async def live(self, seconds: float) -> None:
        """Let things happen for so long; whoever has gone for good is replaced."""
        loop = asyncio.get_running_loop()
        end, due = loop.time() + seconds, 0.0
        while loop.time() < end:
            self._replace()
            here = [client for client in self._clients if client.connected]
            due += len(here) * TICK_SECONDS / MEAN_SECONDS
            for _ in range(int(due)):
                self._befall()
            due %= 1
            await asyncio.sleep(TICK_SECONDS)

    async def gather(self) -> None:
        """Nothing more is said: everybody comes back and waits until it has everything; then everybody is judged."""
        async with asyncio.timeout(COMPLETE_SECONDS):
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
            self._forget(client)
        self._clients.clear()
        self._http2.close()

    def _forget_the_gone(self) -> None:
        for client in [client for client in self._clients if client.final]:
            self._forget(client)
            self._clients.remove(client)

    def _replace(self) -> None:
        self._forget_the_gone()
        for _ in range(self._count - len(self._clients)):
            self._welcome()

    def _forget(self, client: Client) -> None:
        self.connections += client.ledger.connections
        self._judge.leave(client.ledger)

    def _welcome(self) -> None:
        session = self._rng.choice(self.sessions)
        transport, version = self._rng.choice(list(Transport)), self._rng.choice(list(self._dials))
        name = f"client {next(self._numbers)}, {transport.value} over {version}"
        ledger = self._judge.follow(name, session)
        subject = f"subject {self._rng.randrange(SUBJECTS)}"

        def fresh() -> str:
            return token(session, subject=subject, ttl_seconds=self._rng.randint(*TTL_SECONDS))

        client = Client(ledger, transport, self._dials[version], fresh, self._rng, hurry=HURRY)
        self._clients.append(client)
        client.come()

    def _befall(self) -> None:
        weights = [weight for weight, _ in self._happenings.values()]
        [name] = self._rng.choices(list(self._happenings), weights)
        self._happenings[name][1]()
        self.befell[name] += 1

    def _one(self) -> Client:
        return self._rng.choice(self._clients)

    def _stall_too_long(self) -> None:
        """Let one take nothing while more comes than the buffers on its way hold."""
        client = self._one_heavy()
        client.stall(self._timeout_seconds + self._rng.uniform(1, 3))
        for _ in range(BIG_BURST):
            self._source.say(client.ledger.session, BIG_BYTES)

    def _one_heavy(self) -> Client:
        heavy = [client for client in self._clients if client.ledger.session in self.heavy]
        return self._rng.choice(heavy or self._clients)

    def _away(self) -> float:
        return self._rng.uniform(*AWAY_SECONDS)

    def _cut_many(self) -> None:
        if self._http2.connections:
            self._rng.choice(self._http2.connections).vanish()

    def _stall_many(self) -> None:
        if self._http2.connections:
            self._rng.choice(self._http2.connections).stall(self._timeout_seconds + self._rng.uniform(1, 3))

    def _end_one(self) -> None:
        at = self._rng.randrange(HEAVY_SESSIONS, len(self.sessions))
        self._source.end(self.sessions[at])
        self.sessions[at] = self._new_session()

    def _new_session(self) -> str:
        return f"room/{next(self._numbers)}"
