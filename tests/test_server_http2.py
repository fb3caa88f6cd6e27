"""HTTP/2 and its WebSockets, against a real server: what Hypercorn does well, and every defect that is mended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from h2.errors import ErrorCodes
from wsproto.events import BytesMessage, Ping

from certificates import make_certificate
from changes import settled
from h2client import Client
from serving import END, OK, Receive, Send, Wired, fail_after_start, hello, others, serving
from tailrace.encoding import Framing
from tailrace.server.settings import FRAMES_AT_ONCE, MAX_STREAMS
from tailrace.server.windows import WINDOW_STEP
from tailrace.wire import HIGH_WATER_BYTES, Wire

WINDOW = 65535
"""The initial window of streams and connections (RFC 9113 section 6.9.2)."""

HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


async def stuff(wire: Wire) -> int:
    """Write until the wire takes no more; gives how much it took."""
    size = 0
    while wire.writable:
        wire.write(b"x" * 16384)
        size += 16384
        await asyncio.sleep(0)
    return size


async def answers(client: Client, path: str = "/") -> bool:
    """Whether the connection still serves."""
    return (await client.request("GET", path).head())[":status"] == "200"


# Streams.


@pytest.mark.parametrize("secure", [False, True])
async def test_body_flows_and_ends(tmp_path: Path, secure: bool) -> None:
    """Bytes written to the wire are the stream's body, over TLS and by prior knowledge; the end is END_STREAM."""
    app = Wired()
    async with (
        serving(app, certificate=make_certificate(tmp_path) if secure else None) as here,
        await here.h2() as client,
    ):
        stream = client.request("GET", "/a")
        wire = await app.wire()
        wire.write(b"data: hi\n\n")
        assert await stream.read_until(b"\n\n") == b"data: hi\n\n"
        wire.finish()
        await stream.read()
        assert (wire.framing, stream.ended, stream.reset) == (Framing.BODY, True, None)


async def test_foreign_client_reads_the_same(tmp_path: Path) -> None:
    """httpx, over TLS with ALPN, reads the body."""
    app, certificate = Wired(), make_certificate(tmp_path)
    tls = certificate.client_context()
    async with serving(app, certificate=certificate) as here, httpx.AsyncClient(http2=True, verify=tls) as client:
        asking = asyncio.create_task(client.get(f"{here.url}/a"))
        wire = await app.wire()
        wire.write(b"hello")
        wire.finish()
        answer = await asking
        assert (answer.http_version, answer.text) == ("HTTP/2", "hello")


async def test_many_writes_are_one_frame() -> None:
    """What is written in one turn of the loop leaves as one DATA frame."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        wire = await app.wire()
        for number in range(100):
            wire.write(b"%d " % number)
        await stream.read_until(b"99 ")
        assert stream.frames == 1


async def test_shut_window_stops_the_wire_and_an_open_one_goes_on() -> None:
    """A client that opens no window costs one window and one buffer, not a process; opening it wakes the wire."""
    app = Wired()
    async with serving(app) as here, await here.h2(window=False) as client:
        stream = client.request("GET", "/a")
        wire = await app.wire()
        taken = await stuff(wire)
        assert taken <= WINDOW + HIGH_WATER_BYTES + 2 * 16384
        await client.until(lambda: len(stream.body) == WINDOW)
        client.connection.increment_flow_control_window(taken)
        client.connection.increment_flow_control_window(taken, stream.id)
        client.flush()
        await client.until(lambda: len(stream.body) == taken)
        assert (app.writable, wire.writable) == (1, True)


async def test_wider_initial_window_goes_on() -> None:
    """A client that raises its initial window in SETTINGS gets what waited."""
    app = Wired()
    async with serving(app) as here, await here.h2(window=False) as client:
        client.connection.increment_flow_control_window(1 << 20)
        stream = client.request("GET", "/a")
        taken = await stuff(await app.wire())
        await client.until(lambda: len(stream.body) == WINDOW)
        client.connection.update_settings({4: 1 << 20})
        client.flush()
        await client.until(lambda: len(stream.body) == taken)


async def test_shut_stream_holds_up_no_other() -> None:
    """One stream whose window is shut, on an open connection, leaves its siblings alone."""
    app = Wired()
    async with serving(app) as here, await here.h2(window=False) as client:
        client.connection.increment_flow_control_window(1 << 20)
        client.request("GET", "/shut")
        await stuff(await app.wire())
        other = client.request("GET", "/open")
        (await app.wire(1)).write(b"hi\n")
        assert await other.read_until(b"\n") == b"hi\n"


async def test_stalled_connection_stops_its_wires() -> None:
    """A client that stops reading TCP fills the transport and the buffer, and the wire says so; reading goes on."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        client.connection.increment_flow_control_window(1 << 24)
        stream = client.request("GET", "/a")
        client.connection.increment_flow_control_window(1 << 24, stream.id)
        client.flush()
        wire = await app.wire()
        client.pause()
        taken = await stuff(wire)
        client.resume()
        await client.until(lambda: len(stream.body) == taken)
        assert wire.writable


async def test_plain_send_waits_at_a_shut_window_and_wakes_when_the_client_goes() -> None:
    """ASGI's own ``send`` has the same bound, and a writer does not sleep for ever when the connection dies."""
    sent: list[int] = []
    ended = asyncio.Event()

    async def flood(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(OK)
        for _ in range(40):
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            sent.append(16384)
        ended.set()

    async with serving(flood) as here:
        async with await here.h2(window=False) as client:
            stream = client.request("GET", "/a")
            await client.until(lambda: len(stream.body) == WINDOW)
            assert sum(sent) <= WINDOW + HIGH_WATER_BYTES + 16384
        await ended.wait()


async def test_abort_resets_one_stream() -> None:
    """A cut is RST_STREAM, CANCEL; `serve` returns; the siblings live."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        (await app.wire()).abort()
        await stream.read()
        await app.until(lambda: app.done == 1)
        assert (stream.reset, await answers(client)) == (ErrorCodes.CANCEL, True)


async def test_cancelling_client_is_noticed() -> None:
    """When the client resets a stream, `serve` returns and the wire takes nothing more."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        wire = await app.wire()
        stream.cancel()
        await app.until(lambda: app.done == 1)
        assert not wire.writable


@pytest.mark.parametrize("secure", [False, True])
async def test_leaving_client_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture, secure: bool) -> None:
    """When the connection goes, every application on it hears so; no task is left, and no line in the log."""
    app = Wired()
    async with serving(app, certificate=make_certificate(tmp_path) if secure else None) as here:
        before = asyncio.all_tasks()
        async with await here.h2() as client:
            for _ in range(3):
                client.request("GET", "/a")
            await app.wire(2)
            client.leave()
            await client.until_closed()
        await app.until(lambda: app.done == 3)
        await settled(lambda: others(before) == 0)
    assert caplog.text == ""


async def test_client_that_says_goaway_is_let_go() -> None:
    """GOAWAY of the client ends the connection and everything on it."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        client.request("GET", "/a")
        await app.wire()
        client.connection.close_connection()
        client.flush()
        await client.until_closed()
        await app.until(lambda: app.done == 1)


async def test_client_that_breaks_the_protocol_is_let_go() -> None:
    """A frame that may not be is answered with GOAWAY and its code, and everything on the connection ends."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        client.request("GET", "/a")
        await app.wire()
        client.write(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00")  # DATA on stream 0
        await client.until_closed()
        await app.until(lambda: app.done == 1)
        assert [code for code, _ in client.goaways] == [ErrorCodes.PROTOCOL_ERROR]


# Defects that are mended.


async def test_data_for_a_stream_that_is_gone() -> None:
    """The rest of a body after an early answer is dropped, given back to the window, and kills nothing."""
    async with serving(hello) as here, await here.h2() as client:
        stream = client.request("POST", "/a")
        await client.until(lambda: stream.ended)
        for _ in range(6):
            _send_raw_data(client, stream.id, b"x" * 16000)
            await answers(client)
        assert client.events["WindowUpdated"] > 0


def _send_raw_data(client: Client, stream_id: int, data: bytes) -> None:
    """Send DATA that h2 would refuse to send on a stream that it knows to be over."""
    client.write(len(data).to_bytes(3, "big") + b"\x00\x00" + stream_id.to_bytes(4, "big") + data)


async def test_early_answer_asks_for_no_more_body() -> None:
    """An answer that is complete before the request is ends with RST_STREAM, NO_ERROR."""
    async with serving(hello) as here, await here.h2() as client:
        stream = client.request("POST", "/a")
        await client.until(lambda: stream.reset is not None)
        assert (stream.status, bytes(stream.body), stream.reset) == (200, b"ok", ErrorCodes.NO_ERROR)


@pytest.mark.parametrize(
    "head, status",
    [
        ([*HEAD[:-1], (b":path", "/é".encode())], 400),
        ([(b":method", b"CONNECT"), (b":authority", b"a")], 400),
        ([(b":method", b"CONNECT"), (b":protocol", b"other"), *HEAD[1:]], 501),
    ],
    ids=["path not ASCII", "plain CONNECT", "CONNECT for another protocol"],
)
async def test_bad_heads_are_refused(head: list[tuple[bytes, bytes]], status: int) -> None:
    """A head that means nothing here is answered as such, and the connection lives."""
    async with serving(hello) as here, await here.h2() as client:
        stream = client.raw_request(head, end=False)
        await stream.head()
        assert (stream.status, await answers(client)) == (status, True)


async def test_bad_head_that_is_cancelled_in_the_same_breath() -> None:
    """What a client has already taken back needs no answer, and kills nothing."""
    async with serving(hello) as here, await here.h2() as client:
        client.connection.send_headers(1, [*HEAD[:-1], (b":path", "/é".encode())])
        client.connection.reset_stream(1)
        client.flush()
        assert await answers(client)


async def test_head_that_may_not_be_sent_is_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    """A response head that HTTP/2 forbids is in the log, and the client's stream is cut, not left to wait."""

    async def app(_scope: Any, _receive: Receive, send: Send) -> None:
        await send({**OK, "headers": [(b"te", b"gzip")]})

    async with serving(app) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        await stream.read()
        assert (stream.reset, "an application failed" in caplog.text) == (ErrorCodes.CANCEL, True)


async def test_failed_application_resets_its_stream() -> None:
    """An application that fails after the head leaves no stream open for ever."""
    async with serving(fail_after_start) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        await stream.read()
        assert stream.reset == ErrorCodes.INTERNAL_ERROR


async def test_early_return_resets_its_stream() -> None:
    """An application that returns without the end of its body leaves no stream open for ever."""

    async def leave(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(OK)

    async with serving(leave) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        await stream.read()
        assert stream.reset == ErrorCodes.INTERNAL_ERROR


async def test_requests_without_number_freeze_nothing() -> None:
    """A live stream goes on after more requests than Hypercorn's limit of 1000."""
    app = Wired()

    async def both(scope: Any, receive: Receive, send: Send) -> None:
        await (app if scope["path"] == "/live" else hello)(scope, receive, send)

    async with serving(both) as here, await here.h2() as client:
        live = client.request("GET", "/live")
        wire = await app.wire()
        for _ in range(11):
            streams = [client.request("GET", "/") for _ in range(100)]
            await client.until(lambda streams=streams: all(stream.ended for stream in streams))  # type: ignore[misc]
        wire.write(b"still here\n")
        assert await live.read_until(b"\n") == b"still here\n"


async def test_as_many_streams_as_allowed() -> None:
    """Every stream up to the limit is served, and the limit is told."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        assert client.connection.remote_settings.max_concurrent_streams == MAX_STREAMS
        streams = [client.request("GET", "/") for _ in range(MAX_STREAMS)]
        await app.wire(MAX_STREAMS - 1)
        for wire in app.wires:
            wire.write(b"hi\n")
        await client.until(lambda: all(stream.body == b"hi\n" for stream in streams))


async def test_unread_body_holds_up_no_sibling() -> None:
    """A body that nobody reads fills its own stream's window and no other; the window opens when it is read."""
    reading = asyncio.Event()

    async def lazy(scope: Any, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await reading.wait()
            while (await receive()).get("more_body"):
                pass
        await hello(scope, receive, send)

    async with serving(lazy) as here, await here.h2() as client:
        stream = client.request("POST", "/a")
        for size in (16384, 16384, 16384, 16383):
            stream.send(b"x" * size)
        assert await answers(client)
        assert client.connection.local_flow_control_window(stream.id) == 0
        reading.set()
        await client.until(lambda: client.connection.local_flow_control_window(stream.id) > WINDOW - WINDOW_STEP)
        stream.send(b"", end=True)
        assert await stream.read() == b"ok"


# WebSockets.


async def test_compression_is_declined() -> None:
    """A client that offers permessage-deflate gets none."""
    async with serving(Wired()) as here, await here.h2() as client:
        socket = await client.websocket("/ws", [("sec-websocket-extensions", "permessage-deflate")])
        assert "sec-websocket-extensions" not in socket.stream.headers


async def test_pongs_at_a_shut_window_are_left_out() -> None:
    """A flood of pings whose answers the client does not let out costs nothing; later ones are answered again."""
    app = Wired()
    async with serving(app) as here, await here.h2(window=False) as client:
        socket = await client.websocket("/ws")
        taken = await stuff(await app.wire())
        for _ in range(FRAMES_AT_ONCE - 1):
            socket.send(Ping(b"x" * 100))
        assert await answers(client)
        client.connection.increment_flow_control_window(1 << 20)
        client.connection.increment_flow_control_window(1 << 20, socket.stream.id)
        client.flush()
        await client.until(lambda: len(socket.stream.body) >= taken)
        socket.send(Ping(b"last"))
        await client.until(lambda: socket.stream.body.endswith(b"last"))
        assert len(socket.stream.body) == taken + len(b"\x8a\x04last")


async def test_flooding_socket_holds_up_no_sibling() -> None:
    """Messages that nobody reads fill their own stream's window; the connection serves on."""

    async def deaf(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    async with serving(deaf) as here, await here.h2() as client:
        socket = await client.websocket("/ws")
        for _ in range(60):
            socket.send(BytesMessage(b"x" * 1000))
        assert await answers(client)


async def test_answered_twice_is_an_error_of_one() -> None:
    """An application that goes on after its end disturbs nobody."""

    async def twice(scope: Any, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        await send(END)

    async with serving(twice) as here, await here.h2() as client:
        assert await answers(client)
        assert await answers(client)
