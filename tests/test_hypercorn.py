"""What plain Hypercorn 0.18 still does wrong.

A test that fails here says that a new Hypercorn no longer does it, and that the part of `tailrace.server` which mends
it may go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypercorn.app_wrappers import ASGIWrapper
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

from serving import OK, App, Receive, Send, hello

HEAD = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), *HEAD[1:], ("sec-websocket-version", "13")]


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
        for _ in range(20):
            await asyncio.sleep(0)
        sent, self.sent = self.sent, []
        return [event for part in sent if isinstance(part, RawData) for event in self.client.receive_data(part.data)]


async def leave(_scope: Any, _receive: Receive, send: Send) -> None:
    """Return without the end of the body."""
    await send(OK)


@asynccontextmanager
async def hypercorn(kind: Callable[..., Any], app: App) -> AsyncIterator[Connection]:
    """Serve ``app`` by Hypercorn's own protocol class."""
    here = Connection()
    config = Config()
    config.errorlog = None
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
async def http2(app: App) -> AsyncIterator[Connection]:
    """Serve ``app`` over HTTP/2, the settings already exchanged."""
    async with hypercorn(H2Protocol, app) as here:
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
        request = RawData(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reading: Awaitable[None] = here.protocol.handle(RawData(request.data * 2))
        task = asyncio.ensure_future(reading)
        for _ in range(20):
            await asyncio.sleep(0)
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
