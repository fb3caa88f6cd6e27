"""What plain Hypercorn 0.18 still does wrong.

A test that fails here says that a new Hypercorn no longer does it, and that the part of `tailrace.server` which mends
it may go. That ours does none of it is held by the tests of its parts, and by `test_hardening` for what only an
attacker does.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import EventWrapper, WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H11Protocol
from hypercorn.protocol.ws_stream import Handshake, WebsocketBuffer
from priority.priority import PriorityTree, TooManyStreamsError
from wsproto import connection as frames
from wsproto.events import CloseConnection, TextMessage

import h2raw
from h2raw import CONTINUATION, DATA, HEADERS, PING, PRIORITY, SETTINGS, frame, headers, rst_stream, window_update
from serving import OK, App, Receive, Send, fail_after_accept, hello

HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), *HEAD[1:], ("sec-websocket-version", "13")]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def turns() -> None:
    """Let everything come to rest that needs no clock and no socket."""
    for _ in range(20):
        await asyncio.sleep(0)


class Connection:
    """One of Hypercorn's protocols without a socket: a client's bytes in, the server's bytes out."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.client.initiate_connection()
        self.protocol: Any = None

    async def send(self, event: Event) -> None:
        self.sent.append(event)

    async def exchange(self) -> Sequence[h2.events.Event]:
        """Hand over what the client has to say; give what came back, once nothing more does."""
        if data := self.client.data_to_send():
            await self.protocol.handle(RawData(data))
        await turns()
        sent, self.sent = self.sent, []
        return [event for part in sent if isinstance(part, RawData) for event in self.client.receive_data(part.data)]

    async def hear(self, data: bytes) -> bytes:
        """Hand over raw bytes; give those that came back, once nothing more does."""
        await self.protocol.handle(RawData(data))
        await turns()
        sent, self.sent = self.sent, []
        return b"".join(part.data for part in sent if isinstance(part, RawData))


async def leave(_scope: Any, _receive: Receive, send: Send) -> None:
    """Return without the end of the body."""
    await send(OK)


class Heard:
    """An application that keeps all that it receives; it accepts a WebSocket, and begins a response."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.messages: list[Any] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
        await send({"type": "websocket.accept"} if scope["type"] == "websocket" else OK)
        while True:
            self.messages.append(await receive())


@asynccontextmanager
async def hypercorn(kind: Callable[..., Any], app: App, **settings: Any) -> AsyncIterator[Connection]:
    """Serve ``app`` by Hypercorn's own protocol class."""
    here = Connection()
    config = Config()
    config.errorlog = None
    for name, value in settings.items():
        setattr(config, name, value)
    loop = asyncio.get_running_loop()
    with suppress(BaseExceptionGroup):
        async with TaskGroup(loop) as tasks:
            wrapped: Any = ASGIWrapper(app)
            here.protocol = kind(wrapped, config, WorkerContext(None), tasks, {}, False, None, None, here.send)
            await here.protocol.initiate()
            yield here
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()


@asynccontextmanager
async def http2(app: App, **settings: Any) -> AsyncIterator[Connection]:
    """Serve ``app`` over HTTP/2, the settings already exchanged."""
    async with hypercorn(H2Protocol, app, **settings) as here:
        await here.exchange()
        await here.exchange()
        yield here


async def test_buffer_lets_a_writer_go_on_at_a_shut_window() -> None:
    """Taking nothing frees the writer, however much is buffered: no backpressure over HTTP/2."""
    buffer = StreamBuffer(EventWrapper)
    writing = asyncio.create_task(buffer.push(b"x" * 10 * BUFFER_HIGH_WATER))
    await asyncio.sleep(0)
    await buffer.pop(0)
    await asyncio.sleep(0)
    assert (writing.done(), len(buffer.buffer)) == (True, 10 * BUFFER_HIGH_WATER)


def test_priorities_fail_at_a_thousand_streams() -> None:
    """The tree that orders the streams takes no more than 999 of them."""
    tree = PriorityTree()
    for number in range(999):
        tree.insert_stream(2 * number + 1)
    with pytest.raises(TooManyStreamsError):
        tree.insert_stream(2 * 999 + 1)


async def test_early_return_is_never_reset() -> None:
    """A stream whose application returned without its end stays open for ever."""
    async with http2(leave) as here:
        here.client.send_headers(1, HEAD, end_stream=True)
        kinds = {type(event) for event in await here.exchange()}
        assert kinds.isdisjoint({h2.events.StreamEnded, h2.events.StreamReset})


async def test_data_for_a_stream_that_is_gone_kills_the_connection() -> None:
    """The rest of a body after an early answer raises."""
    async with http2(hello) as here:
        here.client.send_headers(1, HEAD)
        await here.exchange()
        here.client.send_data(1, b"late")
        with pytest.raises(KeyError):
            await here.exchange()


async def test_path_that_is_not_ascii_kills_the_connection() -> None:
    """A path that is not ASCII raises."""
    async with http2(hello) as here:
        here.client.send_headers(1, [*HEAD[:-1], (":path", "/é")], end_stream=True)
        with pytest.raises(UnicodeDecodeError):
            await here.exchange()


async def test_plain_connect_kills_the_connection() -> None:
    """CONNECT without a path raises."""
    async with http2(hello) as here:
        here.client.send_headers(1, [(":method", "CONNECT"), (":authority", "a")])
        with pytest.raises(UnboundLocalError):
            await here.exchange()


async def test_compression_cannot_be_declined() -> None:
    """Whoever offers permessage-deflate gets it."""
    offer = [(b"sec-websocket-version", b"13"), (b"sec-websocket-extensions", b"permessage-deflate")]
    _, headers, _ = Handshake(offer, "2").accept(None, [])
    assert (b"sec-websocket-extensions", b"permessage-deflate") in [
        (name, bytes(value[:18])) for name, value in headers
    ]


def test_offer_that_is_not_ascii_raises() -> None:
    """In the task that reads, so that a connection is lost, over HTTP/2 with everybody on it."""
    with pytest.raises(UnicodeDecodeError):
        Handshake([(b"sec-websocket-protocol", b"\xe9")], "2")


def test_only_the_last_line_of_a_handshakes_header_counts() -> None:
    """What a proxy wrote above it is lost: offers, and the word that makes it an upgrade."""
    two = [(b"sec-websocket-protocol", b"a"), (b"sec-websocket-protocol", b"b"), (b"connection", b"upgrade")]
    made = Handshake([*two, (b"connection", b"keep-alive")], "1.1")
    assert (made.subprotocols, made.connection_tokens) == (["b"], ["keep-alive"])


def test_any_key_makes_a_handshake() -> None:
    """Whatever it is."""
    words = [(b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    assert Handshake([*words, (b"sec-websocket-key", b"?")], "1.1").is_valid()


def test_messages_are_measured_in_letters_that_have_come() -> None:
    """Their bytes may be four times as many."""
    buffer = WebsocketBuffer(10)
    buffer.extend(TextMessage("\U0001f30a" * 10))
    assert buffer.length == 10


async def test_h2c_upgrade_is_taken_up() -> None:
    """An offer of h2c, which RFC 9113 dropped, leaves HTTP/1.1."""
    async with hypercorn(H11Protocol, hello) as here:
        with pytest.raises(H2CProtocolRequiredError):
            await here.protocol.handle(RawData(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n"))


async def test_pipelined_request_parks_the_reading_task() -> None:
    """A second request during a stream: whoever reads the connection waits, and never notices the client leave."""
    waiting = asyncio.Event()

    async def stream(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(OK)
        await waiting.wait()

    async with hypercorn(H11Protocol, stream) as here:
        reading: Awaitable[None] = here.protocol.handle(RawData(GET * 2))
        task = asyncio.ensure_future(reading)
        await turns()
        assert not task.done()
        task.cancel()


async def deaf(_scope: Any, _receive: Receive, send: Send) -> None:
    """Begin a response, and neither read nor end."""
    await send(OK)
    await asyncio.Event().wait()


async def test_writers_are_not_woken_when_the_connection_goes() -> None:
    """The buffers of a connection that has gone stay open, and whoever waits at one sleeps on."""
    async with http2(deaf) as here:
        here.client.send_headers(1, HEAD, end_stream=True)
        await here.exchange()
        buffer = here.protocol.stream_buffers[1]
        await here.protocol.handle(Closed())
        assert (buffer._complete, buffer._paused.is_set()) == (False, False)


async def test_limit_of_requests_ends_live_streams() -> None:
    """At the limit the connection says GOAWAY in a way that forbids every later frame of its live streams."""
    async with http2(deaf) as here:
        here.protocol.config.keep_alive_max_requests = 1
        for stream_id in (1, 3):
            here.client.send_headers(stream_id, HEAD, end_stream=True)
        kinds = {type(event) for event in await here.exchange()}
        assert h2.events.ConnectionTerminated in kinds


async def test_unread_body_stops_the_whole_connection() -> None:
    """A body that an application does not read blocks whoever reads the connection, siblings and all."""
    go_on = asyncio.Event()

    async def late(_scope: Any, receive: Receive, send: Send) -> None:
        await send(OK)
        await go_on.wait()
        while True:
            await receive()

    async with http2(late) as here:
        here.client.send_headers(1, HEAD)
        for _ in range(20):
            here.client.send_data(1, b"x")
        reading = asyncio.create_task(here.exchange())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not reading.done()
        go_on.set()
        await reading


async def test_close_of_a_socket_over_http2_does_not_end_its_stream() -> None:
    """The client's close frame is answered, but END_STREAM never comes."""

    async def accept(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with http2(accept) as here:
        here.client.send_headers(1, CONNECT)
        await here.exchange()
        here.client.send_data(1, frames.Connection(frames.ConnectionType.CLIENT).send(CloseConnection(1000)))
        kinds = {type(event) for event in await here.exchange()}
        assert h2.events.StreamEnded not in kinds


async def test_failed_socket_kills_the_connection() -> None:
    """The client's answer to the close frame of an application that failed raises, under all siblings."""
    async with http2(fail_after_accept) as here:
        here.client.send_headers(1, CONNECT)
        await here.exchange()
        here.client.send_data(1, frames.Connection(frames.ConnectionType.CLIENT).send(CloseConnection(1011)))
        with pytest.raises(KeyError):
            await here.exchange()


async def test_any_protocol_is_a_websocket() -> None:
    """CONNECT for another protocol than WebSocket is handed on as one (RFC 8441 section 4)."""
    app = Heard()
    async with http2(app) as here:
        here.client.send_headers(1, [CONNECT[0], (":protocol", "other"), *CONNECT[2:]])
        await here.exchange()
        assert [scope["type"] for scope in app.scopes] == ["websocket"]


# WebSockets.


async def test_pongs_are_not_looked_for() -> None:
    """A client that answers no ping is pinged on and on."""
    app = Heard()
    async with hypercorn(H11Protocol, app, websocket_ping_interval=0) as here:
        await here.hear(HANDSHAKE)
        assert (await here.hear(b"")).count(b"\x89\x00") > 5
        assert (app.messages, [event for event in here.sent if isinstance(event, Closed)]) == ([], [])


async def test_pings_outlive_their_socket() -> None:
    """The task that sends them sleeps on when the connection has gone."""
    async with hypercorn(H11Protocol, Heard(), websocket_ping_interval=3600) as here:
        await here.hear(HANDSHAKE)
        await here.protocol.handle(Closed())
        await turns()
        coroutines = [task.get_coro() for task in asyncio.all_tasks()]
        assert "WSStream._send_pings" in [getattr(each, "__qualname__", "") for each in coroutines]


async def test_too_big_a_message_is_not_told() -> None:
    """The client hears 1009, but the application nothing, until the client answers."""
    app = Heard()
    async with hypercorn(H11Protocol, app, websocket_max_message_size=10) as here:
        await here.hear(HANDSHAKE)
        assert await here.hear(b"\x82\x8b\0\0\0\0" + b"x" * 11) == b"\x88\x02\x03\xf1"
        assert app.messages == []


async def test_early_frames_leave_the_application_behind() -> None:
    """Frames before the handshake was answered are refused, but the application waits on, and is never told."""
    heard: list[Any] = []

    async def slow(_scope: Any, receive: Receive, _send: Send) -> None:
        while True:
            heard.append(await receive())

    async with hypercorn(H11Protocol, slow) as here:
        assert (await here.hear(HANDSHAKE + b"\x81\x80\0\0\0\0")).startswith(b"HTTP/1.1 400 ")
        await here.protocol.handle(Closed())
        await turns()
        assert [message["type"] for message in heard] == ["websocket.connect"]


# What an application is told.


async def test_disconnect_is_said_once() -> None:
    """Whoever asks again after the disconnect waits for ever."""
    app = Heard()
    async with hypercorn(H11Protocol, app) as here:
        await here.hear(GET)
        await here.protocol.handle(Closed())
        await turns()
        assert [message["type"] for message in app.messages] == ["http.request", "http.disconnect"]


async def test_sends_to_a_client_that_has_gone_succeed() -> None:
    """An application that only sends never learns that it may stop."""
    gone, sent = asyncio.Event(), []

    async def talk(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(OK)
        await gone.wait()
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(1)

    async with hypercorn(H11Protocol, talk) as here:
        await here.hear(GET)
        await here.protocol.handle(Closed())
        gone.set()
        await turns()
        assert len(sent) == 1000


# What only an attacker does.

AGAIN = {
    "PING": frame(PING, payload=b"12345678"),
    "SETTINGS": frame(SETTINGS),
    "PRIORITY": frame(PRIORITY, 0, 1, b"\0\0\0\3\1"),
    "WINDOW_UPDATE": window_update(1, 1),
    "empty DATA": frame(DATA, 0, 1),
    "RST_STREAM": rst_stream(9),
    "unknown frames": frame(0x20),
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
async def test_floods_have_no_end(again: bytes) -> None:
    """Frames that cost more than they bring are taken in any number, and all that came at once in one turn."""
    later: list[int] = []
    async with hypercorn(H2Protocol, Heard(), max_app_queue_size=0) as here:
        await here.hear(h2raw.PREFACE + frame(SETTINGS) + headers(1, b"POST", end=False) + headers(9, end=False))
        asyncio.get_running_loop().call_soon(later.append, 1)
        await here.protocol.handle(RawData(again * 5000))
        assert later == []
        assert [event for event in here.sent if isinstance(event, Closed)] == []


async def test_rapid_reset_is_served() -> None:
    """CVE-2023-44487: streams that are cancelled at once reach the application, however many."""
    app = Heard()
    async with hypercorn(H2Protocol, app, keep_alive_max_requests=10**9) as here:
        await here.hear(h2raw.PREFACE + frame(SETTINGS))
        for number in range(1000):
            await here.protocol.handle(RawData(headers(2 * number + 1) + rst_stream(2 * number + 1)))
        await turns()
        assert len(app.scopes) == 1000


async def test_head_without_end_may_grow_to_a_megabyte() -> None:
    """64 frames of a head are kept, whatever the bound on heads (CVE-2024-27316)."""
    async with hypercorn(H2Protocol, hello) as here:
        await here.hear(h2raw.PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, h2raw.block()))
        assert await here.hear(frame(CONTINUATION, 0, 1, b"x" * 16384) * 60) == b""


async def test_bound_on_heads_is_told_and_not_kept() -> None:
    """Over HTTP/2 the setting is only advertised."""
    app = Heard()
    async with http2(app, h2_max_header_list_size=1000) as here:
        here.client.send_headers(1, [*HEAD, ("x", "y" * 30_000)], end_stream=True)
        await here.exchange()
        assert len(app.scopes) == 1


async def test_bound_on_heads_is_for_those_that_come_slowly() -> None:
    """Over HTTP/1.1 a head that comes in one read may be of any size."""
    app = Heard()
    async with hypercorn(H11Protocol, app, h11_max_incomplete_size=1000) as here:
        await here.hear(GET[:-2] + b"X: y\r\n" * 10_000 + b"\r\n")
        assert len(app.scopes) == 1


async def test_memory_for_heads_is_what_the_client_likes() -> None:
    """Compression remembers as much as the client allows, and searches all of it."""
    async with hypercorn(H2Protocol, hello) as here:
        await here.hear(h2raw.PREFACE + h2raw.settings(_1=2**32 - 1))
        assert here.protocol.connection.encoder.header_table_size == 2**32 - 1


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    ],
    ids=["length and coding", "folded", "coding over HTTP/1.0", "CONNECT", "HTTP/1.2"],
)
async def test_ambiguous_requests_are_served(head: bytes) -> None:
    """What a proxy may have read differently reaches the application."""
    app = Heard()
    async with hypercorn(H11Protocol, app) as here:
        reading = asyncio.ensure_future(here.hear(head))  # which CONNECT parks
        await turns()
        reading.cancel()
        assert len(app.scopes) == 1


# The runner, which is not used.


def test_defaults_that_are_replaced() -> None:
    """A page's 101st EventSource waits for ever, a restart's clients are refused, a message may be 16 MiB."""
    config = Config()
    assert (config.h2_max_concurrent_streams, config.backlog) == (100, 100)
    assert (config.websocket_max_message_size, config.keep_alive_max_requests) == (16 * 2**20, 1000)


def test_sockets_have_no_bounds() -> None:
    """The kernel holds megabytes for a client that does not read, and waits for ever for one that has vanished."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    (sock,) = config.create_sockets().insecure_sockets
    with sock, socket.socket() as untouched:
        for level, option in ((socket.SOL_SOCKET, socket.SO_SNDBUF), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)):
            assert sock.getsockopt(level, option) == untouched.getsockopt(level, option)


def test_tls_peers_hold_the_exit() -> None:
    """asyncio waits 30 s for a peer that does not answer close_notify, and nobody says otherwise."""
    assert "ssl_shutdown_timeout" not in inspect.getsource(worker_serve)


PROGRAM = """
import asyncio, os, sys
sys.path.insert(0, TESTS)
from hypercorn.asyncio import serve
from hypercorn.config import Config
import h2client

told = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            message = await receive()
            told.append(message["type"])
            await send({"type": message["type"] + ".complete"})
        return
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hi\\n", "more_body": True})
        await asyncio.Event().wait()
    finally:
        told.append("cut")

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    config, stop = Config(), asyncio.Event()
    config.bind, config.graceful_timeout, config.errorlog = ["fd://" + str(LISTENING)], 0, None
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    async with await h2client.connect("127.0.0.1", PORT) as client:
        await client.request("GET", "/").read_until(b"\\n")
        stop.set()
        for _ in range(1000):
            await asyncio.sleep(0)
        print(*told[1:], type(serving.exception()).__name__ if serving.done() else "waits", flush=True)
        os._exit(0)

asyncio.run(main())
"""


def test_runner_does_not_drain() -> None:
    """It cuts streams before the application hears of the end, and raises; from Python 3.12 on it waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        given = {
            "TESTS": repr(sys.path[0]),
            "LISTENING": str(listening.fileno()),
            "PORT": str(listening.getsockname()[1]),
        }
        code = textwrap.dedent(PROGRAM)
        for name, value in given.items():
            code = code.replace(name, value)
        ended = subprocess.run(
            [sys.executable, "-c", code], pass_fds=[listening.fileno()], capture_output=True, text=True, check=True
        )
    assert ended.stdout == ("waits\n" if sys.version_info >= (3, 12) else "cut lifespan.shutdown ExceptionGroup\n")
