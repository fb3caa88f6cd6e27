"""Clients that stop reading, or nearly: what they hold, whom they delay, when they are cut, and how they come back.

Over HTTP/2 there are two ways to stop: the whole connection is not read, or one stream's window stays shut beside
healthy siblings. The kernel's buffers are small on the client's side: what is not read stays with the service.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes

from certificates import Certificate, make_certificate
from changes import PATIENCE_SECONDS, settled
from subscriber import STALLS, Http1, Http2, Line, Stall, controls, last_id, numbers
from tailrace.server.progress import acknowledged
from tailrace.server.settings import LAYER_BYTES, SEND_BUFFER_BYTES, STALLED_CLIENT_BYTES
from tailrace.subscription import Terms
from tailrace.wire import MIN_TAKEN_BYTES, Taken
from whole import Whole, whole

pytestmark = pytest.mark.both_loops

SEND_TIMEOUT = int(Terms().send_timeout_seconds)
"""In ticks."""
SO_MEMINFO, WMEM_QUEUED = 55, 5
"""What a socket costs the kernel (Linux, <linux/sock_diag.h>): an array of numbers, and the place of one."""


every_stall = pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS.keys())
both_securities = pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
in_clear_text = pytest.mark.parametrize("tls", [False], ids=["clear"])


@pytest.fixture
def certificate(tmp_path: Path, tls: bool) -> Certificate | None:
    return make_certificate(tmp_path) if tls else None


@asynccontextmanager
async def stalled(here: Whole, stall: Stall) -> AsyncIterator[tuple[Line, Http1 | Http2]]:
    """Subscribe a client that stops reading, and let come what fills every buffer on the way to it."""
    async with await here.connect(stall.kind) as line:
        subscriber = await line.subscribe(here.token)
        stall.begin(line, subscriber)
        await here.fill()
        yield line, subscriber


# What it holds.


PACKET_BYTES = 64 * 1024
"""The kernel looks at its bound before each packet: it may overstep it by one, the largest that loopback has."""


class Meter:
    """What the service holds for the only connection: bytes in the process, and the kernel's cost of its socket."""

    def __init__(self, here: Whole) -> None:
        self._here = here
        [connection] = here.here.server._listeners[0]._connections
        self._transport = connection._transport
        self._before = acknowledged(self._transport)

    @property
    def process(self) -> int:
        """Bytes that were written for the client and that the kernel does not have yet."""
        [subscription] = self._here.subscriptions
        slot = subscription._format.framing.value
        view = subscription.reader._view
        given = sum(len(getattr(event, slot)) for event in islice(view.events, subscription.reader.place))
        unsent = struct.unpack("i", fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return given - int(unsent) - (acknowledged(self._transport) - self._before)

    @property
    def kernel(self) -> int:
        """Memory of what waits to be sent."""
        info = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
        return int(struct.unpack("9I", info)[WMEM_QUEUED])

    @property
    def _socket(self) -> Any:
        return self._transport.get_extra_info("socket")


@both_securities
@every_stall
async def test_it_holds_so_much_and_no_more(certificate: Certificate | None, stall: Stall) -> None:
    """In the process, for each layer that has a mark, the mark and a flush; in the kernel twice the send buffer."""
    layers = 1 + (certificate is not None) + stall.kind.endswith("h2")
    async with whole(certificate) as here, await here.connect(stall.kind) as line:
        subscriber = await line.subscribe(here.token)
        meter = Meter(here)
        stall.begin(line, subscriber)
        await here.fill()
        assert 0 < meter.process <= layers * LAYER_BYTES
        assert meter.kernel <= 2 * SEND_BUFFER_BYTES + PACKET_BYTES
        assert meter.process + meter.kernel <= STALLED_CLIENT_BYTES


# Whom it delays, and when it is cut.


async def ticks_until_cut(here: Whole) -> int:
    """Turn the wheel until somebody is cut; give how often.

    What the kernel had under way when the wire became full is taken a little later, and begins the time anew.
    """
    before, ticks = len(here.subscriptions), 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(here.subscriptions) == before:
            if here.metric("slow_clients_total") == 0:
                here.turn(1)
                ticks += 1
            await asyncio.sleep(0)
    return ticks


@both_securities
@every_stall
async def test_it_delays_nobody(certificate: Certificate | None, stall: Stall) -> None:
    """Whoever reads beside it, where only a window is shut on the very same connection, has each event at once."""
    async with whole(certificate) as here, stalled(here, stall) as (line, _), await here.connect(stall.kind) as another:
        healthy = await (line if stall.window else another).subscribe(here.token)
        for _ in range(3):
            here.produce(1)
            await healthy.until(lambda: numbers(healthy)[-1:] == [here.produced - 1])
        assert len(here.subscriptions) == 2


@both_securities
@every_stall
async def test_it_is_cut_at_the_send_timeout_and_comes_back(certificate: Certificate | None, stall: Stall) -> None:
    """Without a farewell, which it would not read, and counted; with its last id it has all the rest in order, once."""
    async with whole(certificate) as here:
        async with stalled(here, stall) as (line, subscriber):
            assert await ticks_until_cut(here) >= SEND_TIMEOUT
            stall.end(line, subscriber)
            await settled(lambda: subscriber.gone)
        assert here.metric("slow_clients_total") == 1
        assert (subscriber.ended, controls(subscriber)) == (False, ["ready"])
        async with await here.connect(stall.kind) as line:
            again = await line.subscribe(here.token, last_id=last_id(subscriber))
            await again.until(lambda: "live" in controls(again))
        assert numbers(subscriber) + numbers(again) == list(range(here.produced))


@in_clear_text
@pytest.mark.parametrize("kind", ["sse-h2", "websocket-h2"])
async def test_shut_window_costs_one_stream(certificate: Certificate | None, kind: str) -> None:
    """It is reset, CANCEL (RFC 9113 section 8.1); its siblings go on."""
    stall = Stall(kind, window=True)
    async with whole(certificate) as here, stalled(here, stall) as (line, subscriber):
        healthy = await line.subscribe(here.token, session="another")
        await ticks_until_cut(here)
        assert isinstance(subscriber, Http2)
        await subscriber.client.until(lambda: subscriber.gone)
        here.produce(1, session="another")
        await healthy.until(lambda: len(numbers(healthy)) == 1)
        assert subscriber.stream.reset == ErrorCodes.CANCEL


# Slow, but there.


@in_clear_text
@every_stall
async def test_who_takes_a_little_is_not_cut(certificate: Certificate | None, stall: Stall) -> None:
    """As long as it takes something within each send time-out; when it does not, it is."""
    async with whole(certificate) as here, stalled(here, stall) as (line, subscriber):
        for _ in range(3):
            here.turn(SEND_TIMEOUT - 1)
            before = here.wire.taken
            await stall.take(line, subscriber, 2 * MIN_TAKEN_BYTES)
            await until_seen(here, before)
            here.turn(1)
            assert len(here.subscriptions) == 1
        await ticks_until_cut(here)


async def until_seen(here: Whole, before: Taken) -> None:
    """Wait until the service can see that something was taken."""
    await settled(lambda: here.wire.taken.moved_since(before))


# What goes on without it.


@in_clear_text
@every_stall
async def test_it_holds_nothing_back_in_the_tail(certificate: Certificate | None, stall: Stall) -> None:
    """It is overtaken; when it comes so far it is told of the gap, and goes on behind it."""
    async with whole(certificate, tail_max_bytes=1024**2) as here, stalled(here, stall) as (line, subscriber):
        here.produce(1500, size=1000)
        [reader] = [each.reader for each in here.subscriptions]
        assert (here.service.tail.bytes <= 1024**2, reader.live) == (True, False)
        stall.end(line, subscriber)
        await subscriber.until(lambda: numbers(subscriber)[-1:] == [here.produced - 1])
        assert gaps(subscriber) == ["reset"] * controls(subscriber).count("reset")


def gaps(subscriber: Http1 | Http2) -> list[str]:
    """Give what came before each event that does not follow the one before it."""
    found, last = [], -1
    for before, item in pairwise(subscriber.parser.items):
        if not item.name.startswith("tailrace."):
            number = int(item.data.split()[0])
            if number != last + 1:
                found.append(before.name.removeprefix("tailrace."))
            last = number
    return found
