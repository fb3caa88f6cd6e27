"""Those who ask wrongly: bad tokens, bad ids, half requests, garbage, messages that nobody wants, streams that are not
meant.

Whoever can be answered must be answered as the contract says; everybody else need only be survived.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, cast

from crowd.asking import Ask, Endpoint, Transport, connect, cut
from crowd.http1 import Http1Link
from crowd.http2 import Http2Connection, Http2Link
from crowd.ledger import Item
from crowd.turns import DISCONNECT, READY, RESET
from real.service import token

VISITS_A_SECOND = 5.0
MAX_VISITS = 15
"""At once: they are a nuisance, not a flood."""
PATIENCE_SECONDS = 20.0
"""Whoever is not answered in this time is not answered."""
LOITER_SECONDS = (0.0, 2.0)
QUICK_STREAMS = 30
SESSION = "lobby"
"""Where nothing is ever said."""

MADE = partial(token, SESSION, ttl_seconds=60)
"""A good token; that of an hour would leave a place in the wheel for as long."""
REQUEST = f"GET /v1/sessions/{SESSION}/events HTTP/1.1\r\nhost: a\r\n".encode()
ENDLESS = 64 * 1024
"""More than a head may have."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TOO_BIG = "x" * (64 * 1024 + 1)
"""More than a WebSocket message may have."""
OTHER_SECRET = "another secret for tests, of no use to anybody"
STRANGE_IDS = ("v1.00c0ffee.1.2.3", "v1.", "nonsense", "v1.9f3a2c1d.99999999999999999999")


class Wrongly(NamedTuple):
    """One way to ask wrongly, and the answer: a status over Server-Sent Events, a close code over WebSocket."""

    ask: Callable[[Transport], Ask]
    status: int
    code: int


def with_token(made: Callable[[], str]) -> Callable[[Transport], Ask]:
    """Ask with this token."""
    return lambda transport: Ask(transport, SESSION, made)


WRONGLY: Mapping[str, Wrongly] = {
    "expired token": Wrongly(with_token(partial(token, SESSION, ttl_seconds=-60)), 401, 4401),
    "token of another key": Wrongly(with_token(partial(token, SESSION, secret=OTHER_SECRET)), 401, 4401),
    "token for others": Wrongly(with_token(partial(token, SESSION, audience="others")), 401, 4401),
    "token that is none": Wrongly(with_token(lambda: "a.b.c"), 401, 4401),
    "token of another session": Wrongly(with_token(partial(token, "attic")), 403, 4403),
    "beginning that is none": Wrongly(lambda each: Ask(each, SESSION, MADE, begin="yesterday"), 400, 4400),
    "session that is none": Wrongly(lambda each: Ask(each, "a/../b", partial(token, "*")), 400, 4400),
}


class Guest:
    """A hearer that remembers how it was answered."""

    def __init__(self) -> None:
        self.status = 0
        self.names: list[str] = []
        self.code = 0
        self._changed = asyncio.Event()
        self.gone = False

    def answered(self, status: int) -> None:
        self.status = status
        self._changed.set()

    def heard(self, item: Item) -> None:
        self.names.append(item.name)
        if item.name == DISCONNECT:
            self.code = item.fields["code"]
        self._changed.set()

    def over(self, how: str, retry_ms: int | None, *, malformed: bool) -> None:
        del retry_ms
        self.gone = True
        if malformed:
            self.names.append(how)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds, until there is nothing more to come, or for as long as patience lasts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (self.gone or condition()):
                    self._changed.clear()
                    await self._changed.wait()


class Visitors:
    """All of them. ``came`` counts them by what they did; ``complaints`` are answers that were not right."""

    def __init__(self, rng: random.Random, endpoint: Endpoint) -> None:
        self._rng = rng
        self._endpoint = endpoint
        self._here = 0
        self._tls: dict[str, ssl.SSLContext] = {}
        self.came: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._ways: Mapping[str, Callable[[], Awaitable[None]]] = {
            **{name: partial(self._ask_wrongly, name) for name in WRONGLY},
            "strange id": self._strange_id,
            "message that nobody wants": self._unwanted_message,
            "message that is too big": self._too_big_message,
            "socket without a token": self._no_token,
            "streams that are not meant": self._quick_streams,
            "streams that are cut together": self._cut_streams,
            "half a request": self._half_a_request,
            "head without an end": self._endless_head,
            "body that does not come": self._half_a_body,
            "a second request behind a stream": self._two_requests,
            "garbage": self._garbage,
            "garbage as HTTP/2": self._garbage_as_http2,
            "silence": partial(self._say, b""),
        }

    async def come(self, seconds: float) -> None:
        """Let them come for so long, and wait until they have gone."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with asyncio.TaskGroup() as visits:
            while loop.time() < end:
                if self._here < MAX_VISITS:
                    visits.create_task(self._visit(self._rng.choice(list(self._ways))))
                await asyncio.sleep(self._rng.expovariate(VISITS_A_SECOND))

    async def _visit(self, name: str) -> None:
        self.came[name] += 1
        self._here += 1
        try:
            await self._ways[name]()
        except OSError:
            self.came["cut on arrival"] += 1  # that is an answer, too
        finally:
            self._here -= 1

    def _expect(self, what: str, right: bool, guest: Guest) -> None:
        if not right:
            self.complaints.append(f"{what}: answered with {guest.status}, code {guest.code}, {guest.names}")

    # Those who speak the protocols.

    async def _ask_wrongly(self, name: str) -> None:
        wrongly, transport = WRONGLY[name], self._rng.choice(list(Transport))
        guest = Guest()
        async with self._link(wrongly.ask(transport), guest):
            await guest.until(lambda: bool(guest.code) or guest.status >= 400)
        answer = guest.code if transport is Transport.WEBSOCKET else guest.status
        right = wrongly.code if transport is Transport.WEBSOCKET else wrongly.status
        self._expect(f"{name} over {transport.value}", answer == right, guest)

    async def _strange_id(self) -> None:
        guest, strange = Guest(), self._rng.choice(STRANGE_IDS)
        async with self._link(Ask(Transport.SSE, SESSION, MADE, strange), guest):
            await guest.until(lambda: len(guest.names) >= 2)
        self._expect(f"strange id {strange}", guest.names[:2] == [READY, RESET], guest)

    async def _unwanted_message(self) -> None:
        guest = Guest()
        async with self._link(Ask(Transport.WEBSOCKET, SESSION, MADE), guest) as link:
            await guest.until(lambda: READY in guest.names)
            link.say('{"token": "again"}')
            link.say("unwanted")
            await guest.until(lambda: bool(guest.code))
        self._expect("unwanted message", guest.code == 4400, guest)

    async def _too_big_message(self) -> None:
        guest = Guest()
        async with self._link(Ask(Transport.WEBSOCKET, SESSION, MADE), guest) as link:
            await guest.until(lambda: READY in guest.names)
            link.say(TOO_BIG)
            await guest.until(lambda: False)
        self._expect("message that is too big", guest.gone, guest)

    async def _no_token(self) -> None:
        guest = Guest()
        async with self._link(Ask(Transport.WEBSOCKET, SESSION, str), guest) as link:
            await guest.until(lambda: bool(guest.status))
            await self._loiter()
            if said := self._rng.choice(["", "no token", f'{{"token": "{MADE()}"}}']):
                link.say(said)
                await guest.until(lambda: bool(guest.names))
                self._expect(f"first message {said[:9]}", (guest.names == [READY]) == ("{" in said), guest)

    async def _quick_streams(self) -> None:
        connection = await self._http2()
        for _ in range(QUICK_STREAMS):
            transport = self._rng.choice(list(Transport))
            link = connection.open(Ask(transport, SESSION, MADE), Guest())
            if self._rng.random() < 0.3:
                await asyncio.sleep(0)
            self._rng.choice([link.leave, link.vanish])()
        await self._loiter()
        connection.close()

    async def _cut_streams(self) -> None:
        connection = await self._http2()
        for _ in range(QUICK_STREAMS):
            connection.open(Ask(self._rng.choice(list(Transport)), SESSION, MADE), Guest())
        await self._loiter()
        connection.vanish()

    @contextlib.asynccontextmanager
    async def _link(self, ask: Ask, guest: Guest) -> AsyncIterator[Http1Link | Http2Link]:
        """Ask over either version, on a connection that ends with the block."""
        if self._rng.random() < 0.5:
            link = Http1Link(ask, guest, self._endpoint.authority)
            await connect(self._endpoint, link, self._context("http/1.1"))
            try:
                yield link
            finally:
                link.leave()
        else:
            connection = await self._http2()
            try:
                yield connection.open(ask, guest)
            finally:
                connection.close()

    async def _http2(self) -> Http2Connection:
        scheme = "https" if self._endpoint.certificate else "http"
        connection = Http2Connection(self._endpoint.authority, scheme, QUICK_STREAMS)
        await connect(self._endpoint, connection, self._context("h2"))
        await connection.ready()
        return connection

    def _context(self, protocol: str) -> ssl.SSLContext | None:
        if self._endpoint.certificate is None:
            return None
        if protocol not in self._tls:
            self._tls[protocol] = self._endpoint.certificate.client_context(protocol)
        return self._tls[protocol]

    async def _loiter(self) -> None:
        await asyncio.sleep(self._rng.uniform(*LOITER_SECONDS))

    # Those who do not.

    async def _half_a_request(self) -> None:
        await self._say(self._rng.choice([REQUEST, PREFACE])[: self._rng.randrange(1, len(PREFACE))])

    async def _endless_head(self) -> None:
        await self._say(REQUEST + b"x-more: " + b"x" * ENDLESS)

    async def _half_a_body(self) -> None:
        await self._say(b"POST /v1/cookie HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 1000)

    async def _two_requests(self) -> None:
        authorization = f"authorization: Bearer {MADE()}\r\n\r\n".encode()
        await self._say((REQUEST + authorization) * 2)

    async def _garbage(self) -> None:
        await self._say(self._rng.randbytes(self._rng.randrange(1, 4000)))

    async def _garbage_as_http2(self) -> None:
        settings = bytes(3) + b"\x04" + bytes(5)
        await self._say(PREFACE + settings + self._rng.randbytes(self._rng.randrange(1, 4000)))

    async def _say(self, data: bytes) -> None:
        """Say it, over TLS or not, whatever is spoken there; stay for a while; go, politely or not."""
        tls = self._context("http/1.1") if self._rng.random() < 0.7 else None
        stranger = await connect(self._endpoint, Stranger(), tls)
        stranger.transport.write(data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(*LOITER_SECONDS)):
                await stranger.gone.wait()
        if self._rng.random() < 0.5:
            stranger.transport.close()
        else:
            cut(stranger.transport)


class Stranger(asyncio.Protocol):
    """Speaks bytes, and does not listen."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of it

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.gone.set()
