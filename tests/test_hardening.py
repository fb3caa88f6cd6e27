"""Attacks on the server, one test each: what they come to, and that nobody else feels them.

All against a real `Server` over sockets. An attack is sent until the server has had enough, so that nothing here
depends on how fast the machine is; beside each a stream of another client is open, which must still be served
afterwards.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes

import h2raw
from certificates import make_certificate
from changes import settled
from h2raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Peer,
    block,
    frame,
    headers,
    rst_stream,
    settings,
    window_update,
)
from serving import OK, Receive, Send, Serving, Wired, hello, serving
from tailrace.metrics.table import LIMITS
from tailrace.server.settings import (
    ALLOWANCES,
    FRAMES_AT_ONCE,
    MAX_HEAD_BYTES,
    MAX_HEADER_TABLE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_STREAMS,
    MAX_UNREAD_MESSAGES,
    REQUEST_SECONDS,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CALM = ErrorCodes.ENHANCE_YOUR_CALM


class App:
    """Streams for ever at ``/live``, reads to the end at ``/read``, never reads at ``/deaf``; else answers at once."""

    def __init__(self) -> None:
        self.live = Wired()
        self.over = asyncio.Event()
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.asked.append((scope.get("method", ""), scope["path"]))
        if scope["path"] == "/live":
            await self.live(scope, receive, send)
            return
        if scope["path"] == "/read":
            while (await receive()).get("more_body"):
                pass
        elif scope["path"] == "/deaf":
            await send(OK)
            await self.over.wait()
            return
        await hello(scope, receive, send)


@asynccontextmanager
async def under_attack(*, request_seconds: float = REQUEST_SECONDS) -> AsyncIterator[tuple[Serving, App]]:
    """Serve, with a stream of somebody else on the same server; at the end it must still be served."""
    app = App()
    async with serving(app, request_seconds=request_seconds) as here, await here.h2() as bystander:
        stream = bystander.request("GET", "/live")
        wire = await app.live.wire()
        yield here, app
        app.over.set()
        wire.write(b"still here\n")
        assert await stream.read_until(b"\n") == b"still here\n"


async def raw(here: Serving, first: bytes = frame(SETTINGS)) -> Peer:
    """Connect as somebody who keeps to no protocol."""
    return await h2raw.connect(here.host, here.port, first)


# Floods over HTTP/2: each ends that connection with GOAWAY, ENHANCE_YOUR_CALM, and is counted by its name.


def opened(path: bytes = b"/live", method: bytes = b"GET", *, end: bool = True) -> bytes:
    """Make a request on the first stream."""
    return headers(1, method, path, end=end)


FLOODS: dict[str, tuple[str, bytes, bytes]] = {
    "PING (CVE-2019-9512)": ("ping_flood", b"", frame(PING, payload=b"12345678")),
    "answers to PINGs that were never sent": ("ping_flood", b"", frame(PING, 1, payload=b"12345678")),
    "SETTINGS (CVE-2019-9515)": ("settings_flood", b"", frame(SETTINGS)),
    "SETTINGS that move the windows": ("settings_flood", opened(), settings(_4=1) + settings(_4=2)),
    "acknowledgements of SETTINGS": ("settings_flood", b"", frame(SETTINGS, 1)),
    "PRIORITY (CVE-2019-9513)": ("priority_flood", opened(), frame(PRIORITY, 0, 1, b"\0\0\0\3\1")),
    "frames of a type nobody knows": ("priority_flood", b"", frame(0x20)),
    "empty DATA (CVE-2019-9518)": ("empty_frame_flood", opened(b"/read", b"POST", end=False), frame(DATA, 0, 1)),
    "DATA of one byte": ("empty_frame_flood", opened(b"/read", b"POST", end=False), frame(DATA, 0, 1, b"x")),
    "DATA for a stream that is gone": (
        "empty_frame_flood",
        opened(end=False) + rst_stream(1),
        frame(DATA, 0, 1),
    ),
    "RST_STREAM for a stream that is gone": ("reset_flood", opened() + rst_stream(1), rst_stream(1)),
    "WINDOW_UPDATE of the connection": ("window_update_flood", opened(), window_update(0, 1)),
    "WINDOW_UPDATE of a stream": ("window_update_flood", opened(), window_update(1, 1)),
    "WINDOW_UPDATE of a stream that is gone": ("window_update_flood", opened() + rst_stream(1), window_update(1, 1)),
    "a head without end (CVE-2024-27316)": (
        "continuation_flood",
        frame(HEADERS, 0, 1, block()),
        frame(CONTINUATION, 0, 1, b"x" * 16384),
    ),
    "a head without end, of empty pieces": (
        "continuation_flood",
        frame(HEADERS, 0, 1, block()),
        frame(CONTINUATION, 0, 1),
    ),
}


@pytest.mark.parametrize("limit,first,again", FLOODS.values(), ids=FLOODS)
async def test_floods(limit: str, first: bytes, again: bytes) -> None:
    """Frames that cost us more than their sender, again and again, end the connection that sends them, and no other."""
    async with under_attack() as (here, _), await raw(here) as peer:
        peer.say(first)
        await peer.flood(again)
        assert (peer.goaway, here.limits) == (CALM, {limit: 1})


NOT_ALLOWED = {
    "a head that is empty": frame(HEADERS, END_HEADERS | 1, 1),
    "a stream that depends on itself": frame(PRIORITY, 0, 1, b"\0\0\0\1\1"),
    "a window that is opened by nothing": opened() + window_update(1, 0),
    "a body that is not as long as it says": headers(1, b"POST", b"/live", (b"content-length", b"1"), end=False)
    + frame(DATA, 1, 1, b"xx"),
}


@pytest.mark.parametrize("said", NOT_ALLOWED.values(), ids=NOT_ALLOWED)
async def test_frames_that_may_not_be(said: bytes) -> None:
    """What RFC 9113 calls an error of the connection ends it at once: nothing that can be done again and again."""
    async with under_attack() as (here, _), await raw(here) as peer:
        peer.say(said)
        await peer.until_closed()
        assert peer.goaway == ErrorCodes.PROTOCOL_ERROR


async def flood_of_streams(peer: Peer, *frames: bytes, path: bytes = b"/live") -> None:
    """Open streams, one after the other, and say ``frames`` on each, until the server has closed the connection."""
    stream_id = 1
    with suppress(ConnectionError):
        while not peer.closed:
            for _ in range(100):
                about = stream_id.to_bytes(4, "big")
                peer.say(headers(stream_id, path=path), *(each[:5] + about + each[9:] for each in frames))
                stream_id += 2
            await peer.drained()
    await peer.until_closed()


async def test_rapid_reset() -> None:
    """CVE-2023-44487: streams that are cancelled as soon as they are opened, so that no limit of streams holds."""
    async with under_attack() as (here, _), await raw(here) as peer:
        await flood_of_streams(peer, rst_stream(0))
        assert (peer.goaway, here.limits) == (CALM, {"rapid_reset": 1})


PROVOCATIONS = {
    "a window of more than 2^31 - 1": window_update(0, 2**31 - 1),
    "DATA after the end": frame(DATA, 0, 0, b"x" * 64),
}


@pytest.mark.parametrize("provocation", PROVOCATIONS.values(), ids=PROVOCATIONS)
async def test_resets_that_the_client_provokes(provocation: bytes) -> None:
    """CVE-2025-8671, MadeYouReset: the server is made to cancel the streams. They count as if the client had."""
    async with under_attack() as (here, _), await raw(here) as peer:
        await flood_of_streams(peer, provocation)
        assert (peer.goaway, here.limits) == (CALM, {"rapid_reset": 1})


async def test_windows_of_one_byte() -> None:
    """CVE-2019-9511: a client that has its streams sent byte by byte, a frame each, is told to calm down."""
    async with under_attack() as (here, app), await raw(here, settings(_4=0)) as peer:
        peer.say(headers(1, path=b"/live"))
        wire = await app.live.wire(1)
        wire.write(b"x" * 60_000)
        await peer.flood(window_update(1, 1))
        assert (peer.goaway, here.limits) == (CALM, {"window_update_flood": 1})


async def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    """CVE-2019-9512, 9515: who asks for answers and reads none is cut by the flood's count, whatever it reads."""
    async with under_attack() as (here, _), await raw(here) as peer:
        peer.pause()
        peer.say(frame(PING, payload=b"12345678") * 5000)
        await settled(lambda: here.limits["ping_flood"] == 1)
        peer.resume()
        await peer.until_closed()
        answers = len(peer.of(PING, 0))
        assert (peer.goaway, answers <= ALLOWANCES["ping_flood"].burst) == (CALM, True)


async def test_requests_of_a_client_that_reads_no_answer() -> None:
    """Answers wait in buffers with marks, and their streams stay open: there are no more than may be."""
    async with under_attack() as (here, app), await raw(here) as peer:
        peer.pause()
        stream_id = 1
        while not here.limits:
            for _ in range(100):
                peer.say(headers(stream_id, path=b"/live"))
                stream_id += 2
            await asyncio.sleep(0)
        assert here.limits == {"streams": 1}
        assert len(app.asked) <= MAX_STREAMS + 1


async def test_more_streams_than_allowed() -> None:
    """The stream above the limit ends the connection; RFC 9113 section 5.1.2 asks for PROTOCOL_ERROR."""
    async with under_attack() as (here, app), await raw(here) as peer:
        peer.say(*(headers(2 * number + 1, path=b"/live") for number in range(MAX_STREAMS + 1)))
        await peer.until_closed()
        assert (peer.goaway, here.limits) == (ErrorCodes.PROTOCOL_ERROR, {"streams": 1})
        assert len(app.asked) <= MAX_STREAMS + 1  # the bystander's, too


async def test_unread_messages_reset_their_stream() -> None:
    """A window filled byte by byte is no memory without end: the stream is reset, and the connection lives."""
    async with under_attack() as (here, app), await raw(here) as peer:
        peer.say(headers(1, b"POST", b"/deaf", end=False), frame(DATA, 0, 1, b"x") * (MAX_UNREAD_MESSAGES + 1))
        peer.say(headers(3))
        await peer.until(lambda: peer.data(3) == b"ok")
        (reset,) = peer.of(RST_STREAM, 1)
        assert (int.from_bytes(reset.payload, "big"), here.limits) == (CALM, {"unread_messages": 1})
        assert ("POST", "/deaf") in app.asked


# Heads.


async def test_head_that_is_too_large_over_http2() -> None:
    """A head above the bound is answered 431, and the connection lives (RFC 6585 section 5)."""
    async with under_attack() as (here, app), await here.h2() as client:
        stream = client.request("GET", "/", [(f"x-{number}", "y" * 4000) for number in range(9)])
        await stream.head()
        assert (stream.status, here.limits, ("GET", "/") in app.asked) == (431, {"head_too_large": 1}, False)
        assert (await client.request("GET", "/").head())[":status"] == "200"


async def test_hpack_bomb() -> None:
    """A small block that unfolds into a huge head ends the connection: CVE-2016-6581."""
    large = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000  # 4 KB, once, to be remembered
    async with under_attack() as (here, _), await raw(here) as peer:
        peer.say(frame(HEADERS, END_HEADERS | 1, 1, block() + large + b"\xbe" * 1000))
        await peer.until_closed()
        assert (peer.goaway, here.limits) == (CALM, {"head_too_large": 1})


async def test_memory_for_our_own_heads_is_bounded() -> None:
    """A client that allows our compression 4 GB gets what is good for us (RFC 7541 section 4.2)."""
    kept: list[Any] = []

    async def keep(scope: Any, receive: Receive, send: Send) -> None:
        kept.append(len(asyncio.all_tasks()))
        await send({**OK, "headers": [(b"x", b"%d" % len(kept) * 100)]})
        await send({"type": "http.response.body"})
        del scope, receive

    async with serving(keep) as here, await raw(here, settings(_1=2**32 - 1)) as peer:
        for number in range(200):
            peer.say(headers(2 * number + 1))
        await peer.until(lambda: len(peer.of(HEADERS, 399)) == 1)
        first = peer.frames[[each.kind for each in peer.frames].index(HEADERS)].payload
        # A dynamic table size update (RFC 7541 section 6.3): 001 and five bits, then seven at a time.
        assert first[:3] == bytes(
            [0x3F, (MAX_HEADER_TABLE_BYTES - 31) % 128 | 128, (MAX_HEADER_TABLE_BYTES - 31) // 128]
        )


HUGE = {
    "a head": GET[:-2] + b"X: y\r\n" * (MAX_HEAD_BYTES // 3) + b"\r\n",
    "a target": b"GET /" + b"x" * 2 * MAX_HEAD_BYTES + b" HTTP/1.1\r\n",
    "a chunk's extension": CHUNKED.replace(b" /", b" /read") + b"1;" + b"x" * 2 * MAX_HEAD_BYTES,
    "trailers": CHUNKED.replace(b" /", b" /read") + b"0\r\n" + b"X: y\r\n" * (MAX_HEAD_BYTES // 3),
}


@pytest.mark.parametrize("request_", HUGE.values(), ids=HUGE)
async def test_what_is_too_large_over_http1(request_: bytes) -> None:
    """What has to be kept until it is whole has a bound: 431, and the end of the connection."""
    async with under_attack() as (here, _):
        assert (await here.ask(request_)).startswith(b"HTTP/1.1 431 ")
        assert here.limits == {"head_too_large": 1}


SMUGGLED = {
    "length and coding": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + GET,
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\nabcde",
    "a field folded": GET[:-2] + b"X: a\r\n b\r\n\r\n",
    "a coding folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 5\r\n\r\nabcde",
    "a coding hidden by a control character": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding over HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": GET[:-2] + b"X: a\rY: b\r\n\r\n",
    "two hosts": GET[:-2] + b"Host: b\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("request_", SMUGGLED.values(), ids=SMUGGLED)
async def test_requests_that_can_be_read_in_two_ways(request_: bytes) -> None:
    """What a proxy may understand differently is answered 400, and nothing after it is read (RFC 9112 section 11.2)."""
    async with under_attack() as (here, app):
        answer = await here.ask(request_)
        assert (answer[:13], answer.count(b"HTTP/1.1")) == (b"HTTP/1.1 400 ", 1)
        assert app.asked == [("GET", "/live")]


@pytest.mark.parametrize(
    "coding,status",
    [(b"identity", 501), (b"gzip, chunked", 501), (b"chunked\r\nTransfer-Encoding: chunked", 501)],
    ids=["identity", "gzip", "chunked twice"],
)
async def test_codings_that_nobody_needs(coding: bytes, status: int) -> None:
    """A transfer coding other than one ``chunked`` is not understood, and its request not served."""
    async with under_attack() as (here, app):
        answer = await here.ask(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n")
        assert (int(answer[9:12]), app.asked) == (status, [("GET", "/live")])


@pytest.mark.parametrize("version", [b"1.2", b"2.0", b"9.9"])
async def test_versions_that_look_like_http1(version: bytes) -> None:
    """Another version in an HTTP/1.1 request line is answered 505."""
    async with under_attack() as (here, app):
        assert (await here.ask(GET.replace(b"1.1", version))).startswith(b"HTTP/1.1 505 ")
        assert app.asked == [("GET", "/live")]


CHUNKS = {"a negative size": b"-1\r\nx\r\n", "a size with a prefix": b"0x1\r\nx\r\n", "more than its size": b"1\r\nxyz"}


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
async def test_chunks_that_lie(chunk: bytes) -> None:
    """A body whose chunks cannot be is no body: 400, and the end."""
    async with under_attack() as (here, _):
        assert (await here.ask(CHUNKED.replace(b" /", b" /read") + chunk)).startswith(b"HTTP/1.1 400 ")


async def test_flood_of_pipelined_requests() -> None:
    """Who sends thousands of requests without waiting gets one answer, and is let go (RFC 9112 section 9.3.2)."""
    async with under_attack() as (here, app):
        answer = await here.ask(GET * 5000)
        assert (answer.count(b"HTTP/1.1 200 "), app.asked.count(("GET", "/"))) == (1, 1)


async def test_message_that_is_too_big() -> None:
    """A WebSocket message above the bound closes its socket with 1009 (RFC 6455 section 7.4.1)."""
    async with under_attack() as (here, _):
        message = b"\x82\xff" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big") + bytes(4) + bytes(MAX_MESSAGE_BYTES + 1)
        reader, writer = await here.open(HANDSHAKE.replace(b"/ws", b"/live"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(message)
        assert (await reader.read(), here.limits) == (b"\x88\x11\x03\xf1message too big", {"message_too_big": 1})
        writer.close()


async def test_flood_of_websocket_frames() -> None:
    """A client that sends more frames than it may is closed with 1008 (RFC 6455 section 7.4.1)."""
    async with under_attack() as (here, _):
        reader, writer = await here.open(HANDSHAKE.replace(b"/ws", b"/live"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x8a\x80\x00\x00\x00\x00" * (FRAMES_AT_ONCE + 10))
        assert (await reader.read(), here.limits) == (b"\x88\x11\x03\xf0too many frames", {"too_many_frames": 1})
        writer.close()


# Slowness.


SLOW_HEADS = {
    "nothing at all": b"",
    "half a head": GET[:20],
    "half a WebSocket handshake": HANDSHAKE[:-2],
    "half a preface of HTTP/2": h2raw.PREFACE[:10],
    "a preface and no request": h2raw.PREFACE + frame(SETTINGS),
    "a head of HTTP/2 without end": h2raw.PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, block()),
    "half a frame": h2raw.PREFACE + frame(SETTINGS) + headers(1)[:-1],
}


@pytest.mark.parametrize("said", SLOW_HEADS.values(), ids=SLOW_HEADS)
async def test_connection_that_comes_to_no_request(said: bytes) -> None:
    """Slowloris: whoever has not asked for anything in time is let go, however far he came."""
    async with serving(hello, keep_alive_seconds=0.01) as here:
        await here.ask(said)
        assert here.limits == {"idle_timeout": 1}


async def test_body_that_never_ends() -> None:
    """A request whose body does not come in time, and which nobody can answer before, is cut."""
    async with under_attack(request_seconds=0) as (here, _):
        reader, writer = await here.open(POST.replace(b" /", b" /read") + b"Content-Length: 5\r\n\r\nabcd")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert here.limits == {"request_timeout": 1}


async def test_body_that_never_ends_over_http2() -> None:
    """There it is that stream which is reset, and its siblings live."""
    async with under_attack(request_seconds=0) as (here, _), await here.h2() as client:
        stream = client.request("POST", "/read")
        await stream.read()
        assert (stream.reset, here.limits) == (ErrorCodes.CANCEL, {"request_timeout": 1})
        assert (await client.request("GET", "/").head())[":status"] == "200"


async def test_body_that_nobody_waits_for() -> None:
    """A body that goes on is no reason to cut what has been answered meanwhile: a stream is one for hours."""
    async with under_attack(request_seconds=0) as (here, app), await here.h2() as client:
        stream = client.request("GET", "/live", end=False)
        (await app.live.wire(1)).write(b"hi\n")
        assert (await stream.read_until(b"\n"), here.limits) == (b"hi\n", {})


async def test_handshake_of_tls_that_never_ends(tmp_path: Path) -> None:
    """A peer that connects and shakes no hands is cut; whoever does is served meanwhile."""
    certificate = make_certificate(tmp_path)
    async with serving(hello, certificate=certificate, tls_handshake_seconds=0.2) as here:
        reader, writer = await asyncio.open_connection(here.host, here.port)
        assert await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert here.limits == {"tls_handshake_timeout": 1}


ILL_HANDSHAKES = {"plain HTTP": GET, "half a handshake": b"\x16\x03\x01\x02", "nothing": b""}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("said", ILL_HANDSHAKES.values(), ids=ILL_HANDSHAKES)
async def test_ill_handshakes_are_no_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bytes, reset: bool
) -> None:
    """Whoever speaks no TLS, or hangs up, costs no line in the log, and leaves nothing behind."""
    async with serving(hello, certificate=make_certificate(tmp_path)) as here:
        with socket.create_connection((here.host, here.port)) as peer:
            peer.sendall(said)
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        listener = here.server._listeners[0]
        assert await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")
        await settled(lambda: not (listener._entering or listener._connections))
    assert (caplog.text, here.limits) == ("", {})


# Connections.


@asynccontextmanager
async def asking(here: Serving) -> AsyncIterator[asyncio.StreamReader]:
    """Ask over HTTP/1.1 on a connection of its own; it is cut at the end."""
    reader, writer = await here.open(GET)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_bound_on_connections() -> None:
    """Where all connections have a request, one more is closed at once; when one has left, the next is served."""
    app = Wired()
    async with serving(app, max_sockets=2) as here, asking(here):
        async with asking(here):
            await app.wire(1)
            assert (await here.ask(GET), here.limits) == (b"", {"sockets": 1})
        await settled(lambda: len(here.server._listeners[0]._connections) == 1)
        async with asking(here):
            await app.wire(2)


async def test_who_rests_makes_room() -> None:
    """At the bound the connection that has been without a request for longest goes, and the new one is served."""
    async with serving(hello, max_sockets=2) as here, asking(here) as oldest:
        await oldest.readuntil(b"ok")
        async with asking(here) as other, asking(here) as newest:
            await newest.readuntil(b"ok")
            await other.readuntil(b"ok")
            with suppress(ConnectionError):
                assert await oldest.read() == b""
        assert here.limits == {"sockets": 1}


async def test_silent_connections_keep_nobody_out() -> None:
    """A crowd that connects and says nothing is displaced by those who ask."""
    async with serving(hello, max_sockets=5) as here:
        crowd = [await here.open() for _ in range(20)]
        for _ in range(5):
            assert (await here.ask(GET[:-2] + b"Connection: close\r\n\r\n")).endswith(b"ok")
        for _, writer in crowd:
            writer.transport.abort()


async def test_handshakes_count_as_connections(tmp_path: Path) -> None:
    """A peer that shakes no hands leaves its place to the next."""
    async with serving(hello, certificate=make_certificate(tmp_path), max_sockets=1) as here:
        reader, first = await asyncio.open_connection(here.host, here.port)
        _, second = await here.open(GET)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        for writer in (first, second):
            writer.transport.abort()
        assert here.limits == {"sockets": 1}


async def test_one_that_asks_much_keeps_nobody_waiting() -> None:
    """What one connection sends at once is looked at slice by slice: others are served in between."""
    app = App()
    async with serving(app) as here, await raw(here) as greedy, await raw(here) as modest:
        greedy.say(*(headers(2 * number + 1, path=b"/greedy") for number in range(MAX_STREAMS)))
        modest.say(headers(1, path=b"/modest"))
        await greedy.until(lambda: greedy.counts[HEADERS] == MAX_STREAMS)
        paths = [path for _, path in app.asked]
        assert paths.index("/modest") < MAX_STREAMS // 2


# What is no attack.


async def test_page_of_many_streams_that_is_reloaded() -> None:
    """900 EventSources are opened and closed at once, twice, and opened again."""
    async with under_attack() as (here, _), await raw(here) as peer:
        ids = range(1, 2 * MAX_STREAMS, 2)
        for load in range(2):
            opened_at_once = [headers(2 * load * MAX_STREAMS + each, path=b"/live") for each in ids]
            peer.say(*opened_at_once, *(rst_stream(2 * load * MAX_STREAMS + each) for each in ids))
        peer.say(*(headers(4 * MAX_STREAMS + each, path=b"/live") for each in ids))
        await peer.until(lambda: bool(peer.of(HEADERS, 6 * MAX_STREAMS - 1)))
        assert (here.limits, peer.goaway) == ({}, None)


async def test_streams_that_come_and_go() -> None:
    """A proxy whose clients close what they have read never comes to an end of it: that was no rapid reset."""
    async with under_attack() as (here, _), await raw(here) as peer:
        for some in range(ALLOWANCES["rapid_reset"].burst // 100 + 2):
            ids = range(200 * some + 1, 200 * some + 201, 2)
            peer.say(*(headers(each, path=b"/live") for each in ids))
            await peer.until(lambda total=100 * (some + 1): peer.counts[HEADERS] == total)  # type: ignore[misc]
            peer.say(*(rst_stream(each) for each in ids))
        peer.say(headers(9999))
        await peer.until(lambda: bool(peer.data(9999)))
        assert here.limits == {}


async def test_client_of_small_settings() -> None:
    """Windows of one byte to begin with, no compression and the smallest of frames are a client's right."""
    async with under_attack() as (here, app), await raw(here, settings(_1=0, _4=1, _5=16384, _6=100)) as peer:
        peer.say(headers(1, path=b"/live"))
        (await app.live.wire(1)).write(b"x" * 64 * 100)
        for _ in range(100):
            peer.say(window_update(1, 64), window_update(0, 64))
        await peer.until(lambda: len(peer.data(1)) == 64 * 100)
        assert here.limits == {}


async def test_client_that_acknowledges_every_event() -> None:
    """Two windows opened for each small event, as careful libraries do, are paid for by the bytes that were sent."""
    async with under_attack() as (here, app), await raw(here) as peer:
        peer.say(headers(1, path=b"/live"))
        wire = await app.live.wire(1)
        for some in range(2 * ALLOWANCES["window_update_flood"].burst // 100):
            wire.write(b"x" * 64 * 100)
            await peer.until(lambda total=64 * 100 * (some + 1): sent(peer) == total)  # type: ignore[misc]
            peer.say(*[window_update(1, 64), window_update(0, 64)] * 100)
        assert here.limits == {}


def sent(peer: Peer) -> int:
    """Give how many bytes of DATA came."""
    return sum(len(each.payload) for each in peer.frames if each.kind == DATA)


def test_every_limit_has_its_attack() -> None:
    """Nothing that is counted is without a test in this file, or in that of those who have no token."""
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_hardening_strangers.py").read_text()
    assert [limit for limit in LIMITS if f'"{limit}"' not in text] == []
