"""The whole service in this process, without Kafka: the real server on loopback, tail filled and wheel turned by hand.

So what a client does to it, and what it leaves, can be seen from within, and no test waits for a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from builders import FakeRecord, append
from certificates import Certificate
from idle_service import idle_service, token
from serving import Serving, serving
from subscriber import Line
from tailrace.app import public_app
from tailrace.service import Service
from tailrace.subscription import Subscription, Terms
from tailrace.wire import Wire

FULL_TURNS = 50
"""Turns of the loop in which nothing moves: every wire is full, or everything was taken."""


@dataclass
class Whole:
    """A service that runs."""

    service: Service
    here: Serving
    certificate: Certificate | None
    produced: int = 0

    async def connect(self, kind: str) -> Line:
        """Connect as a client of this kind does."""
        alpn = "h2" if kind.endswith("h2") else "http/1.1"
        tls = self.certificate.client_context(alpn) if self.certificate else None
        return await Line.connect(kind, self.here.host, self.here.port, tls)

    @property
    def token(self) -> str:
        """A token for every session."""
        return token()

    @property
    def subscriptions(self) -> list[Subscription]:
        """Everyone who is subscribed, in the order of their admission."""
        return list(self.service.subscriptions._all)

    @property
    def wire(self) -> Wire:
        """The wire of the only subscriber."""
        [subscription] = self.subscriptions
        assert subscription._wire is not None
        return subscription._wire

    def produce(self, count: int, size: int = 0, session: str = "s") -> None:
        """Let ``count`` numbered events of a session come in one batch, padded to ``size``, and wake its readers."""
        numbers = range(self.produced, self.produced + count)
        self.produced += count
        key, padding = session.encode(), b"." * size
        append(self.service.tail, *(FakeRecord(number, key, b"%d " % number + padding) for number in numbers))
        for _ in self.service.tail.wake():
            pass

    async def fill(self, session: str = "s") -> None:
        """Let more come than all buffers hold, until nobody who reads the session takes any more of it.

        So much is due to each of them that only those are done whose wires stay full.
        """
        readers = [each.reader for each in self.subscriptions if each.session == session]
        self.produce(1200, size=1000, session=session)
        places, unchanged = [-1], 0
        while unchanged < FULL_TURNS:
            await asyncio.sleep(0)
            before, places = places, [reader.place for reader in readers]
            unchanged = unchanged + 1 if before == places else 0

    def turn(self, ticks: int) -> None:
        """Let so many seconds pass, as far as heartbeats and time-outs are concerned."""
        for _ in range(ticks):
            self.service.subscriptions.wheel.turn()

    def metric(self, name: str) -> float:
        """Give the only sample of a metric, or the sum of them."""
        lines = self.service.metrics.render()[0].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"tailrace_{name}"))


@asynccontextmanager
async def whole(
    certificate: Certificate | None = None,
    *,
    terms: Terms = Terms(),  # noqa: B008  frozen
    stall_seconds: float = 30.0,
    tail_max_bytes: int = 256 * 1024**2,
) -> AsyncIterator[Whole]:
    """Run the service until the end of the block."""
    service = idle_service(TAIL_MAX_BYTES=str(tail_max_bytes))
    service.subscriptions.terms = terms
    service.tail.note_start(0, 0, 1 << 40)  # there is no Kafka: what the tail has let go is gone
    async with serving(public_app(service), certificate=certificate, stall_seconds=stall_seconds) as here:
        yield Whole(service, here, certificate)
