"""Attacks of those who have no token, one test each: what they may cost, and who is served all the while.

All against a real `Server` over sockets, as in `test_hardening`. How long others wait is bounded by what happens in one
iteration of the event loop, which does not depend on how fast the machine is; `python -m attack` measures the times.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes

import h2raw
from certificates import make_certificate
from changes import settled
from h2raw import END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, Peer, frame, headers, settings, window_update
from serving import Receive, Send, Serving, Wired, serving
from tailrace.server.settings import (
    HTTP2_SLICE_BYTES,
    LEAST_SECONDS,
    MAX_ALL_UNTAKEN_BYTES,
    MAX_UNTAKEN_ANSWERS,
    MAX_UNTAKEN_BYTES,
    READ_AT_ONCE_BYTES,
    REFUSALS,
    UNTAKEN_ANSWER_BYTES,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIVE = GET.replace(b"/", b"/live", 1)
DOCUMENT = bytes(18_000)
PER_SLICE = HTTP2_SLICE_BYTES // 15
"""Requests of the `smallest` size that are looked at before it is seen that they are too many."""
SHUT = settings(_4=0)
"""SETTINGS of a peer that takes no byte of any answer."""


class App:
    """Admits at ``/live``, gives a document at ``/document``, refuses all else, which takes ``work_seconds``."""

    def __init__(self, work_seconds: float = 0.0) -> None:
        self.live = Wired()
        self.refused = 0
        self.by_iteration: Counter[int] = Counter()
        self._work_seconds = work_seconds
        self._iteration = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"] == "/live":
            await self.live(scope, receive, send)
            return
        body, status = (DOCUMENT, 200) if scope["path"] == "/document" else (b"no", 401)
        self.refused += 1
        self.by_iteration[self._iteration] += 1
        ends = time.perf_counter() + self._work_seconds
        while time.perf_counter() < ends:
            pass
        length = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": length})
        await send({"type": "http.response.body", "body": body})

    def iterate(self) -> None:
        """Count the iterations of the loop from now on."""
        self._iteration += 1
        self._next = asyncio.get_running_loop().call_soon(self.iterate)

    def stop(self) -> None:
        """Count them no more."""
        self._next.cancel()


@pytest.fixture(autouse=True)
def _nothing_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a stranger does is no error of ours: it would fill the log."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@asynccontextmanager
async def attacked(app: App, **options: Any) -> AsyncIterator[Serving]:
    """Serve ``app``, with an admitted stream beside the attack; at the end it must still be served."""
    async with serving(app, **options) as here, await here.h2() as bystander:
        stream = bystander.request("GET", "/live")
        wire = await app.live.wire()
        yield here
        wire.write(b"still here\n")
        assert await stream.read_until(b"\n") == b"still here\n"


async def raw(here: Serving, first: bytes = frame(SETTINGS)) -> Peer:
    """Connect as somebody who keeps to no protocol."""
    return await h2raw.connect(here.host, here.port, first)


def smallest(stream_id: int) -> bytes:
    """Make a request in 15 bytes: all but the authority is in the static table (RFC 7541 appendix A)."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, b"\x82\x86\x84\x01\x01a")


# Requests.


@pytest.mark.both_loops
async def test_requests_of_many_connections_share_one_budget() -> None:
    """A thousand requests of 50 connections that have all come at once are heard one by one, not all in one iteration:
    an event has to wait for one refusal, not for a thousand."""
    app = App(work_seconds=2 * LEAST_SECONDS)
    async with attacked(app) as here, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(await raw(here)) for _ in range(50)]
        app.iterate()
        for peer in peers:
            peer.say(*(headers(2 * number + 1) for number in range(10)))
        await settled(lambda: app.refused == 500)
        app.stop()
    last = [app.by_iteration[each] for each in sorted(app.by_iteration)[-300:]]
    assert sum(last) / len(last) < 1.5  # more than one only where the loop was busy with something else


async def test_one_connection_keeps_no_other_waiting() -> None:
    """What many connections of one peer ask for at once delays a newcomer by one piece of work each."""
    app, order = App(), []

    async def noting(scope: Any, receive: Receive, send: Send) -> None:
        order.append(scope["path"])
        await app(scope, receive, send)

    async with serving(noting) as here, await raw(here) as greedy, await raw(here) as modest:
        greedy.say(*(headers(2 * number + 1, path=b"/greedy") for number in range(60)))
        modest.say(headers(1, path=b"/modest"))
        await greedy.until(lambda: greedy.counts[HEADERS] == 60)
        assert order.index("/modest") < 30


async def test_no_more_is_read_of_a_stranger_than_is_looked_at() -> None:
    """Its input waits in its own buffers: what we hold for each is two reads."""
    app = App(work_seconds=LEAST_SECONDS)
    async with attacked(app) as here, await raw(here) as peer:
        stranger = next(each for each in here.server._listeners[0]._connections if each.standing.is_strange)
        peer.say(*(headers(2 * number + 1) for number in range(4000)))
        most = 0
        while app.refused < 40:
            most = max(most, len(stranger._incoming))
            assert stranger.standing._unheard <= PER_SLICE
            await asyncio.sleep(0)
        assert 0 < most <= 2 * READ_AT_ONCE_BYTES


@pytest.mark.both_loops
@pytest.mark.parametrize("said", [GET, h2raw.PREFACE + frame(SETTINGS) + headers(1)], ids=["HTTP/1.1", "HTTP/2"])
async def test_who_has_gone_is_not_heard(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A crowd that is cut off while it waits: most of it asks for nothing any more, and nothing is left of it."""
    app = App(work_seconds=LEAST_SECONDS)
    async with attacked(app) as here:
        for _ in range(100):
            with socket.create_connection((here.host, here.port)) as one:
                one.sendall(said)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader, writer = await here.open(GET)
        assert await reader.readline() == b"HTTP/1.1 401 \r\n"
        writer.transport.abort()
        await settled(lambda: len(here.server._listeners[0]._connections) == 1)
    assert (app.refused < 100, []) == (True, caplog.messages)


async def test_requests_that_wait_go_with_their_connection() -> None:
    """What was understood and not yet heard is kept for nobody who was cut, and little of it for all others."""
    app = App(work_seconds=LEAST_SECONDS)
    async with attacked(app) as here, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(await raw(here)) for _ in range(30)]
        listener = here.server._listeners[0]
        for peer in peers:
            peer.say(*(headers(2 * number + 1) for number in range(50)))
        await settled(lambda: app.refused > 30)
        unheard = sum(each.standing._unheard for each in listener._connections)
        for each in [each for each in listener._connections if each.standing.is_strange]:
            each.abort()
        heard = app.refused
        await settled(lambda: len(listener._connections) == 1)
        assert (unheard <= 5 * PER_SLICE, app.refused - heard <= PER_SLICE) == (True, True)


async def test_connection_that_is_only_refused_ends_over_http2() -> None:
    """The refusal above the allowance is answered 429, and the connection is told to calm down."""
    app = App()
    async with attacked(app, refused_pause_seconds=0) as here, await raw(here) as peer:
        number = 0
        with suppress(ConnectionError):
            while not peer.closed:
                peer.say(headers(2 * number + 1))
                number += 1
                await peer.until(lambda number=number: peer.counts[HEADERS] == number)  # type: ignore[misc]
        assert (peer.goaway, here.limits) == (ErrorCodes.ENHANCE_YOUR_CALM, {"refused_requests": 1})
        assert REFUSALS.burst < app.refused <= 2 * REFUSALS.burst  # some of it passes while it is slowed


async def test_connection_that_is_only_refused_ends_over_http1() -> None:
    """The refusal above the allowance is answered 429 (RFC 6585 section 4), and is the last."""
    app = App()
    async with attacked(app, refused_pause_seconds=0) as here:
        reader, writer = await here.open()
        answers: list[bytes] = []
        while not answers or b"connection: close" not in answers[-1]:
            writer.write(GET)
            answers.append(await reader.readuntil(b"\r\n\r\n"))
            if b"connection: close" not in answers[-1]:
                await reader.readexactly(2)
        assert b"too_many_refusals" in await reader.read()
        assert answers[0].startswith(b"HTTP/1.1 401 ")
        assert answers[-1].startswith(b"HTTP/1.1 429 ")
        assert {b"cache-control: no-store", b"retry-after: 10"} <= set(answers[-1].split(b"\r\n"))
        assert here.limits == {"refused_requests": 1}
        writer.close()


async def test_what_passes_by_itself_is_no_refusal() -> None:
    """Whoever asks whether the service is ready is told so as often as it asks, at once."""

    async def not_ready(_scope: Any, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(not_ready) as here:
        reader, writer = await here.open()
        for _ in range(3 * REFUSALS.burst):
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        [connection] = here.server._listeners[0]._connections
        assert (here.limits, connection.standing.pause_seconds) == ({}, 0.0)
        writer.transport.abort()


async def test_refusals_beside_an_admitted_stream_end_nothing() -> None:
    """Behind a proxy one client's refusals are no reason to end the streams of others."""
    app = App()
    async with serving(app) as here, await raw(here) as peer:
        peer.say(headers(1, path=b"/live"))
        wire = await app.live.wire()
        for number in range(3 * REFUSALS.burst):
            peer.say(headers(2 * number + 3))
        await peer.until(lambda: peer.counts[HEADERS] == 3 * REFUSALS.burst + 1)
        wire.write(b"still here")
        await peer.until(lambda: peer.data(1) == b"still here")
        assert here.limits == {}


async def test_requests_beside_streams_keep_no_newcomer_waiting() -> None:
    """Who has streams may ask for more, and waits for that with all the others."""
    app = App(work_seconds=LEAST_SECONDS)
    async with serving(app) as here, AsyncExitStack() as stack:
        members = [await stack.enter_async_context(await raw(here)) for _ in range(60)]
        for member in members:
            member.say(headers(1, path=b"/live"))
        await app.live.wire(59)
        for member in members:
            member.say(*(smallest(2 * number + 3) for number in range(100)))
        await settled(lambda: app.refused > 100)
        before = app.refused
        newcomer = await stack.enter_async_context(await raw(here))
        newcomer.say(headers(1))
        await newcomer.until(lambda: bool(newcomer.of(HEADERS, 1)))
        assert app.refused - before < 6 * len(members)  # a round for what it says first, for its request, its answer


# Answers that nobody takes.


async def test_answers_that_nobody_takes_are_few() -> None:
    """A peer that opens no window is given some answers, and refused more of them; its other requests cost nothing."""
    app = App()
    async with attacked(app) as here, await raw(here, SHUT) as peer:
        peer.say(*(headers(2 * number + 1, path=b"/document") for number in range(40)))
        await peer.until(lambda: bool(peer.of(RST_STREAM, 79)))
        refused = {int.from_bytes(each.payload, "big") for each in peer.frames if each.kind == RST_STREAM}
        held = here.server._listeners[0].untaken.bytes
        most = MAX_UNTAKEN_BYTES // len(DOCUMENT) + 1 + PER_SLICE
        assert (refused, app.refused <= most) == ({ErrorCodes.REFUSED_STREAM}, True)
        assert 0 < held <= most * (len(DOCUMENT) + UNTAKEN_ANSWER_BYTES)
        assert here.limits["untaken_answers"] == 40 - app.refused


async def test_small_answers_that_nobody_takes_are_few() -> None:
    """Refusals cost memory, too, while their peer does not take them."""
    app = App()
    async with attacked(app) as here, await raw(here, SHUT) as peer:
        peer.say(*(headers(2 * number + 1) for number in range(60)))
        await peer.until(lambda: bool(peer.of(RST_STREAM, 119)))
        most = MAX_UNTAKEN_ANSWERS + PER_SLICE
        assert MAX_UNTAKEN_ANSWERS <= app.refused <= most


async def test_a_request_that_is_refused_and_cancelled_in_one_breath() -> None:
    """Beside answers that are not taken, and a stream of somebody else on the same connection, which goes on."""
    app = App()
    async with serving(app) as here, await raw(here, SHUT) as peer:
        peer.say(headers(1, path=b"/live"), window_update(1, 1000))
        wire = await app.live.wire()
        peer.say(*(headers(2 * number + 3) for number in range(60)))
        await peer.until(lambda: bool(peer.of(RST_STREAM, 121)))
        peer.say(headers(123) + h2raw.rst_stream(123))
        wire.write(b"still here")
        await peer.until(lambda: peer.data(1) == b"still here")
        assert (peer.goaway, peer.closed) == (None, False)


async def test_untaken_answers_end_no_stream() -> None:
    """Above the bound of all connections answers are given up, and nothing else of the connection that owes them."""
    app = App()
    async with serving(app, max_sockets=1000) as here, AsyncExitStack() as stack:
        owing = await stack.enter_async_context(await raw(here, SHUT))
        owing.say(headers(1, path=b"/live"), window_update(1, 1000), headers(3, path=b"/document"))
        wire = await app.live.wire()
        await owing.until(lambda: bool(owing.of(HEADERS, 3)))
        while not owing.of(RST_STREAM, 3):
            peer = await stack.enter_async_context(await raw(here, SHUT))
            peer.say(*(headers(2 * number + 1) for number in range(MAX_UNTAKEN_ANSWERS)))
            await peer.until(lambda peer=peer: peer.counts[HEADERS] == MAX_UNTAKEN_ANSWERS)  # type: ignore[misc]
        wire.write(b"still here")
        await owing.until(lambda: owing.data(1) == b"still here")


async def test_answers_that_are_taken_late_are_given_whole() -> None:
    """A peer that opens its window after a while has all that was not refused, and may ask again."""
    app = App()
    async with attacked(app) as here, await raw(here, SHUT) as peer:
        peer.say(headers(1, path=b"/document"))
        await peer.until(lambda: bool(peer.of(HEADERS, 1)))
        peer.say(window_update(1, 60_000))
        await peer.until(lambda: peer.data(1) == DOCUMENT)
        peer.say(headers(3, path=b"/document"), window_update(3, 60_000))
        await peer.until(lambda: peer.data(3) == DOCUMENT)
        assert (here.limits, here.server._listeners[0].untaken.bytes) == ({}, 0)


async def test_answer_that_is_not_taken_in_time() -> None:
    """It is given up sooner than a stream would be."""
    app = App()
    async with attacked(app, answer_seconds=0.05) as here, await raw(here, SHUT) as peer:
        peer.say(headers(1, path=b"/document"))
        await peer.until(lambda: bool(peer.of(RST_STREAM, 1)))
        assert (here.limits, here.server._listeners[0].untaken.bytes) == ({"answer_timeout": 1}, 0)


async def test_answers_of_all_connections_together_have_a_bound() -> None:
    """As many connections as may be, each with as much untaken as it may have: those of the oldest are given up."""
    app = App()
    async with attacked(app, max_sockets=1000) as here, AsyncExitStack() as stack:
        untaken = here.server._listeners[0].untaken
        peers = []
        while not here.limits["untaken_answers"]:
            peers.append(peer := await stack.enter_async_context(await raw(here, SHUT)))
            peer.say(*(headers(2 * number + 1) for number in range(MAX_UNTAKEN_ANSWERS)))
            await peer.until(lambda peer=peer: peer.counts[HEADERS] == MAX_UNTAKEN_ANSWERS)  # type: ignore[misc]
        await peers[0].until(lambda: peers[0].counts[RST_STREAM] == MAX_UNTAKEN_ANSWERS)
        assert (untaken.bytes <= MAX_ALL_UNTAKEN_BYTES, peers[-1].counts[RST_STREAM]) == (True, 0)


async def test_answers_over_http1_that_nobody_reads() -> None:
    """A peer that asks and does not read is heard no more once the kernel's buffers are full."""
    app = App()
    async with attacked(app, answer_seconds=0.2) as here:
        reader, writer = await here.open()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # every socket's transport has it
        with suppress(ConnectionError):
            while not writer.transport.is_closing():
                writer.write(GET.replace(b"/", b"/document", 1))
                await writer.drain()
                await asyncio.sleep(0)
        assert app.refused * len(DOCUMENT) < 16 * 1024 * 1024
        reader.feed_eof()


# Places.


async def test_silent_handshakes_keep_nobody_out(tmp_path: Path) -> None:
    """Sockets that say nothing in their TLS handshake fill every place, and each newcomer takes one of theirs."""
    async with serving(App(), certificate=make_certificate(tmp_path), max_sockets=8) as here:
        silent = [await asyncio.open_connection(here.host, here.port) for _ in range(20)]
        for _ in range(20):
            assert (await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
            silent.append(await asyncio.open_connection(here.host, here.port))
        for _, writer in silent:
            writer.transport.abort()


async def test_untaken_answers_keep_nobody_out() -> None:
    """Connections that do not take their 404 are busy for ever, and leave all the same."""
    app = App()
    async with serving(app, max_sockets=8) as here, AsyncExitStack() as stack:
        for _ in range(20):
            peer = await stack.enter_async_context(await raw(here, SHUT))
            peer.say(headers(1))
            await peer.until(lambda peer=peer: bool(peer.of(HEADERS, 1)))  # type: ignore[misc]
        assert (await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401 ")


async def test_half_requests_keep_nobody_out() -> None:
    """Nor do heads that never end."""
    async with serving(App(), max_sockets=8) as here:
        halves = [await here.open(GET[:-2]) for _ in range(20)]
        assert (await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        for _, writer in halves:
            writer.transport.abort()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_newcomers_never_displace_an_admitted_stream(version: bytes) -> None:
    """Where every place has one, the newcomer goes; a place whose stream has ended is a stranger's again."""
    app = App()
    async with serving(app, max_sockets=2) as here:
        writers = [(await here.open(LIVE.replace(b"1.1", version)))[1] for _ in range(2)]
        await app.live.wire(1)
        with suppress(ConnectionError):
            assert await here.ask(GET) == b""
        app.live.wires[0].finish()
        await app.live.until(lambda: app.live.done == 1)
        if version == b"1.0":  # whose end is that of the connection
            writers[0].transport.abort()
            await settled(lambda: len(here.server._listeners[0]._connections) == 1)
        assert (await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        assert app.live.wires[1].writable
        for writer in writers:
            writer.transport.abort()
