"""The process of those who mean well: ``python -m attack.honest JSON``.

A *victim* with a good token is sent an event every 50 ms by a producer here; *newcomers* come four times a second, ask
for a stream, and leave when they have it; a *probe* asks for ``/livez`` every 100 ms. Nobody waits for the one before:
who is held up makes others late, not fewer (no coordinated omission). Says "ready" when the victim has its first event;
tells what it saw, as JSON, when its standard input ends. How late this process itself woke is told as well.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import uvloop
from confluent_kafka import Producer

from attack.measuring import Seen
from attack.producers import PARTITION, VICTIM_KEY
from real.service import token

EVENT_SECONDS, NEWCOMER_SECONDS, PROBE_SECONDS = 0.05, 0.25, 0.1
PATIENCE_SECONDS = 5.0
"""Of newcomers and of the probe: who has waited longer counts as refused."""
COME_BACK_SECONDS = 0.2
MARK = b"data: ~T"
EVENT_BYTES = 250


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is. ``newcomer`` is a key of `NEWCOMERS`."""

    port: int
    admin_port: int
    bootstrap: str
    topic: str
    cert_file: str
    newcomer: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Newcomer:
    """How one comes: what it asks for, what it says once it was answered, and what shows that it was admitted."""

    path: str
    said: Callable[[str], bytes] | None
    admitted: bytes


def first_message(granted: str) -> bytes:
    """Return the token as a WebSocket message, its mask of zeros (RFC 6455 section 5.2)."""
    text = json.dumps({"token": granted}).encode()
    return b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text


NEWCOMERS = {
    "now": Newcomer("/v1/sessions/newcomer/events", None, b"tailrace.ready"),
    "first message": Newcomer("/v1/sessions/newcomer/ws", first_message, b"tailrace.ready"),
    "since": Newcomer("/v1/sessions/newcomer/events?since={now_ms}", None, b"tailrace.live"),
    "resume": Newcomer("/v1/sessions/newcomer/events?since={since_ms}", None, b"tailrace.live"),
}


@dataclass(slots=True)
class Honest:
    """All of them, and what they saw."""

    place: Place
    sent: dict[int, float] = field(default_factory=dict)
    received: dict[int, float] = field(default_factory=dict)
    newcomers: list[tuple[float, float, str]] = field(default_factory=list)
    probes: list[tuple[float, float]] = field(default_factory=list)
    late: list[tuple[float, float]] = field(default_factory=list)
    cuts: int = 0
    resets: int = 0
    repeated: int = 0
    last_id: bytes = b""
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.place.cert_file:
            self._tls = ssl.create_default_context(cafile=self.place.cert_file)

    async def run(self) -> Seen:
        """Live until standard input ends."""
        loop = asyncio.get_running_loop()
        over = loop.run_in_executor(None, sys.stdin.read)
        tasks = {asyncio.create_task(each) for each in (self._victim(), self._produce(), self._watch())}
        tasks |= {
            asyncio.create_task(self._every(seconds, one))
            for seconds, one in ((NEWCOMER_SECONDS, self._come), (PROBE_SECONDS, self._probe))
        }
        await asyncio.wait({asyncio.ensure_future(over), *tasks}, return_when=asyncio.FIRST_COMPLETED)
        ended = time.time()
        for task in tasks:
            task.cancel()
        for each in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(each, Exception):
                raise each
        return self._seen(ended)

    def _seen(self, ended: float) -> Seen:
        events = [(at, self.received.get(number)) for number, at in self.sent.items()]
        newest = max(self.received, default=-1)
        lost = sum(came is None for number, (_, came) in enumerate(events) if number < newest)
        return Seen(
            ended,
            events,
            self.newcomers,
            self.probes,
            self.late,
            self.cuts,
            self.resets,
            lost,
            self.repeated,
        )

    # The victim.

    async def _produce(self) -> None:
        await self.streaming.wait()
        producer = Producer({"bootstrap.servers": self.place.bootstrap, "linger.ms": 0})
        try:
            async for number, due in steadily(EVENT_SECONDS):
                self.sent[number] = due
                value = b"~T%d~" % number
                producer.produce(self.place.topic, value.ljust(EVENT_BYTES, b"x"), key=VICTIM_KEY, partition=PARTITION)
                producer.poll(0)
        finally:
            producer.flush(PATIENCE_SECONDS)

    async def _victim(self) -> None:
        granted = token("victim", subject="victim", ttl_seconds=3600)
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._read(granted)
            self.cuts += 1
            await asyncio.sleep(COME_BACK_SECONDS)

    async def _read(self, granted: str) -> None:
        reader, writer = await self._connect()
        try:
            came_back = b"last-event-id: " + self.last_id + b"\r\n" if self.last_id else b""
            writer.write(request("/v1/sessions/victim/events", granted, came_back))
            while line := await reader.readline():
                self._hear(line)
        finally:
            writer.transport.abort()

    def _hear(self, line: bytes) -> None:
        if line.startswith(MARK):
            number = int(line[len(MARK) :].split(b"~", 1)[0])
            self.repeated += number in self.received
            self.received.setdefault(number, time.time())
            self.ready.set()
        elif line.startswith(b"id: "):
            self.last_id = line[4:].strip()
        elif line.startswith(b"event: tailrace.ready"):
            self.streaming.set()
        elif line.startswith(b"event: tailrace.reset"):
            self.resets += 1

    # Newcomers and the probe.

    async def _come(self) -> None:
        asked, why = time.time(), "no answer"
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    why = await self._admission()
        except (OSError, asyncio.IncompleteReadError) as error:
            why = type(error).__name__
        finally:  # also where the run ends before an answer comes
            self.newcomers.append((asked, 1000 * (time.time() - asked), why))

    async def _admission(self) -> str:
        """Come, and return why not; empty where it was admitted."""
        kind, granted = NEWCOMERS[self.place.newcomer], token("newcomer", subject="newcomer")
        now_ms = int(time.time() * 1000) - 1000
        path = kind.path.format(now_ms=now_ms, since_ms=self.place.since_ms)
        reader, writer = await self._connect()
        try:
            writer.write(request(path, granted, b"") if kind.said is None else upgrade(path))
            status = (await reader.readline()).split(b" ")[1:2]
            if status not in ([b"200"], [b"101"]):
                return f"status {status[0].decode()}" if status else "closed"
            await reader.readuntil(b"\r\n\r\n")
            if kind.said is not None:
                writer.write(kind.said(granted))
            heard = b""
            while kind.admitted not in heard:
                more = await reader.read(65_536)
                if not more or b"tailrace.disconnect" in more:
                    return "sent away" if more else "closed"
                heard = heard[-64:] + more
            return ""
        finally:
            writer.transport.abort()

    async def _probe(self) -> None:
        asked, answer = time.time(), b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.place.admin_port)
                try:
                    writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    answer = await reader.readline()
                finally:
                    writer.transport.abort()
        took = time.time() - asked if answer.startswith(b"HTTP/1.1 200") else PATIENCE_SECONDS
        self.probes.append((asked, 1000 * took))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "localhost" if self._tls else None
        return await asyncio.open_connection("127.0.0.1", self.place.port, ssl=self._tls, server_hostname=name)

    async def _watch(self) -> None:
        async for _, due in steadily(0.01):
            self.late.append((due, max(0.0, 1000 * (time.time() - due))))

    async def _every(self, seconds: float, one: Callable[[], Awaitable[None]]) -> None:
        """Do ``one`` so often, whether or not the one before has ended; all of them end within their patience."""
        await self.ready.wait()
        async with asyncio.TaskGroup() as group:
            async for _ in steadily(seconds):
                group.create_task(_awaited(one))


async def _awaited(one: Callable[[], Awaitable[None]]) -> None:
    await one()


async def steadily(seconds: float) -> AsyncIterator[tuple[int, float]]:
    """Yield numbers and the times at which they were due; those that are late come at once."""
    began = time.time()
    for number in itertools.count():
        due = began + number * seconds
        await asyncio.sleep(max(0.0, due - time.time()))
        yield number, due


def request(path: str, granted: str, more: bytes) -> bytes:
    """Return an HTTP/1.1 request for a stream; ``more`` is a header line."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {granted}\r\n".encode() + more + b"\r\n"


def upgrade(path: str) -> bytes:
    """Return a handshake of a WebSocket that brings no token."""
    key = base64.b64encode(bytes(16)).decode()
    head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    return f"{head}sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()


async def _main(given: str) -> None:
    honest = Honest(Place(**json.loads(given)))

    async def tell() -> None:
        await honest.ready.wait()
        print(json.dumps("ready"), flush=True)

    telling = asyncio.create_task(tell())
    try:
        seen = await honest.run()
    finally:
        telling.cancel()
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
