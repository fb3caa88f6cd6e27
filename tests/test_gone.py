"""Clients that vanish, however and whenever: of none of them anything is left, and no garbage collection is waited for.

In the process that serves, full collections are rare (`tailrace.server.run.GC_THRESHOLDS`): a connection that some
cycle of references keeps would stay for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import pytest
from h2.connection import H2Connection
from wsproto.frame_protocol import FrameProtocol

from certificates import Certificate, make_certificate
from changes import settled
from subscriber import TRANSPORTS, Line
from tailrace.reader import Reader
from tailrace.server.connection import Connection
from tailrace.server.http1 import Http1
from tailrace.server.http2 import Http2
from tailrace.server.inbox import Inbox
from tailrace.server.sendbuffer import SendBuffer
from tailrace.server.streams import HttpStream, Running
from tailrace.server.websocket import WebSocketStream
from tailrace.server.wires import DirectWire, StreamWire
from tailrace.subscription import Subscription, Terms
from whole import Whole, whole

pytestmark = pytest.mark.both_loops

OURS = {
    *(Connection, Http1, Http2, HttpStream, WebSocketStream, Running, Inbox, SendBuffer, DirectWire, StreamWire),
    *(Subscription, Reader),
}
LIBRARIES: dict[type, Callable[[Any], bool]] = {
    h11.Connection: lambda connection: connection.our_role is h11.SERVER,
    H2Connection: lambda connection: not connection.config.client_side,
    FrameProtocol: lambda frames: not frames.client,
}
"""What of other people's belongs to a connection, and whether one is on the service's side of it."""
WAYS = {"reset": Line.reset, "close": Line.close, "half-close": Line.half_close}
MANY = 100

every_transport = pytest.mark.parametrize("kind", TRANSPORTS)
both_securities = pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
every_way = pytest.mark.parametrize("vanish", WAYS.values(), ids=WAYS.keys())


@dataclass(frozen=True)
class Left:
    """What a process holds that grows with its clients."""

    tasks: int
    files: int
    timers: int
    sessions: int
    subscriptions: int

    @classmethod
    def of(cls, here: Whole) -> Left:
        hub = here.service.subscriptions
        timers = sum(map(len, hub.wheel._slots.values()))
        return cls(len(asyncio.all_tasks()), open_files(), timers, here.service.tail.sessions, len(hub))


def open_files() -> int:
    """Count file descriptors, sockets among them; but not the /dev/null that each loop of uvloop's opens once."""
    return sum(1 for each in Path("/proc/self/fd").iterdir() if _leads_to(each) != "/dev/null")


def _leads_to(link: Path) -> str:
    with contextlib.suppress(OSError):  # the one by which we are looking
        return str(link.readlink())
    return ""


def objects() -> Counter[str]:
    """Count what belongs to connections, by type."""
    kinds = ((type(each), each) for each in gc.get_objects())
    return Counter(
        kind.__name__ for kind, each in kinds if kind in OURS or (kind in LIBRARIES and LIBRARIES[kind](each))
    )


@pytest.fixture
def certificate(tmp_path: Path, tls: bool) -> Certificate | None:
    return make_certificate(tmp_path) if tls else None


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """What is freed now is freed at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def nothing_is_left(here: Whole, before: Left) -> None:
    """Hold that everything returns to what it was, and that no object of a connection is alive."""
    await settled(lambda: Left.of(here) == before)
    assert objects() == {}


@both_securities
@every_way
async def test_subscriber(certificate: Certificate | None, vanish: Callable[[Line], None]) -> None:
    """By a reset, politely, or by TCP alone: half open in clear text, without close_notify over TLS."""
    async with whole(certificate) as here:
        before = Left.of(here)
        for kind in TRANSPORTS:
            async with await here.connect(kind) as line:
                await line.subscribe(here.token)
                vanish(line)
                await settled(lambda: not here.subscriptions)
        await nothing_is_left(here, before)


@both_securities
@every_transport
async def test_subscriber_that_does_not_read(certificate: Certificate | None, kind: str) -> None:
    """With every buffer on the way to it full."""
    async with whole(certificate) as here:
        here.produce(1)
        before = Left.of(here)
        async with await here.connect(kind) as line:
            await line.subscribe(here.token)
            line.stall()
            await here.fill()
            line.reset()
            await settled(lambda: not here.subscriptions)
        await nothing_is_left(here, before)


@both_securities
@pytest.mark.parametrize("kind", ["sse-h2", "websocket-h2"])
async def test_connection_with_many_streams(certificate: Certificate | None, kind: str) -> None:
    """A page with a hundred streams is closed: they all end."""
    async with whole(certificate, terms=Terms(max_connections_per_subject=MANY)) as here:
        before = Left.of(here)
        async with await here.connect(kind) as line:
            for _ in range(MANY):
                await line.subscribe(here.token)
            line.reset()
            await settled(lambda: not here.subscriptions)
        await nothing_is_left(here, before)


@both_securities
@every_way
async def test_client_that_does_not_wait_for_the_head(
    certificate: Certificate | None, vanish: Callable[[Line], None]
) -> None:
    """It has asked, and vanishes while the answer is on its way."""
    async with whole(certificate) as here:
        before = Left.of(here)
        for kind in TRANSPORTS:
            async with await here.connect(kind) as line:
                line.ask(here.token)
                vanish(line)
                await settled(lambda: line.closed)
        await nothing_is_left(here, before)


@both_securities
@every_way
async def test_socket_without_a_token(certificate: Certificate | None, vanish: Callable[[Line], None]) -> None:
    """It was accepted, and its first message with the token is waited for."""
    async with whole(certificate) as here:
        before = Left.of(here)
        for kind in ("websocket", "websocket-h2"):
            async with await here.connect(kind) as line:
                await line.subscribe(None)
                vanish(line)
                await settled(lambda: line.closed)
        await nothing_is_left(here, before)


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize(
    "begun", [b"", b"GET /v1/sess", b"POST /v1/cookie HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
)
async def test_request_that_stays_unfinished(certificate: Certificate | None, begun: bytes) -> None:
    """Nothing at all, half a head, a head without its body."""
    async with whole(certificate) as here:
        before = Left.of(here)
        async with await here.connect("sse") as line:
            line.transport.write(begun)
            line.reset()
            await settled(lambda: line.closed)
        await nothing_is_left(here, before)


@pytest.mark.parametrize("tls", [True], ids=["tls"])
async def test_handshake_that_stays_unfinished(certificate: Certificate | None) -> None:
    """The beginning of a ClientHello, then nothing more."""
    async with whole(certificate) as here:
        before = Left.of(here)
        with socket.create_connection((here.here.host, here.here.port)) as plain:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01")
            await settled(lambda: open_files() > before.files + 1)
        await settled(lambda: Left.of(here) == before)  # asyncio's own loop keeps its failed handshakes for a while


@pytest.mark.parametrize("tls", [False], ids=["clear"])
@every_transport
async def test_client_in_a_tunnel(certificate: Certificate | None, kind: str) -> None:
    """No packet comes any more, no end and no acknowledgement: the kernel gives it up (RFC 5482)."""
    async with whole(certificate, stall_seconds=0.2) as here:
        here.produce(1)
        before = Left.of(here)
        async with await here.connect(kind) as line:
            await line.subscribe(here.token)
            line.go_dark()
            here.produce(1)
            await settled(lambda: not here.subscriptions)
        await nothing_is_left(here, before)
