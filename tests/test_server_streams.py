"""Streams: the scope, the wire they offer, and their application's task; over both protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from changes import settled
from serving import OK, Receive, Send, Serving, Wired, fail, fail_after_start, hello, serving
from tailrace.wire import EXTENSION

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
Ask = Callable[[Serving, str], Awaitable[bytes]]


async def ask_http1(here: Serving, method: str) -> bytes:
    """Ask over HTTP/1.1; give the whole answer."""
    return await here.ask(f"{method} /a?token=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


async def ask_http2(here: Serving, method: str) -> bytes:
    """Ask over HTTP/2; give status and body."""
    async with await here.h2() as client:
        stream = client.request(method, "/a?token=secret", end=True)
        body = await stream.read()
        return f"{stream.headers.get(':status')} ".encode() + body


both = pytest.mark.parametrize("ask", [ask_http1, ask_http2], ids=["HTTP/1.1", "HTTP/2"])


@both
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_wire_is_offered_to_get(ask: Ask, method: str) -> None:
    """Only the answer to GET is a stream that may be written around Hypercorn."""
    heard: list[bool] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append(EXTENSION in scope["extensions"])
        await hello(scope, receive, send)

    async with serving(app) as here:
        await ask(here, method)
    assert heard == [method == "GET"]


async def test_http_1_0_has_no_wire() -> None:
    """HTTP/1.0 has no chunks."""
    heard: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append(scope["extensions"])
        await hello(scope, receive, send)

    async with serving(app) as here:
        await here.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert heard == [{}]


@both
@pytest.mark.parametrize(
    "start,why",
    [
        (None, "only between http.response.start and the end"),
        ({**OK, "headers": [(b"Content-Length", b"0")]}, "for a response without a body, or with a content-length"),
        ({**OK, "status": 204}, "for a response without a body, or with a content-length"),
    ],
    ids=["before the start", "with a length", "without a body"],
)
async def test_wire_that_could_not_be_framed_is_refused(ask: Ask, start: Any, why: str) -> None:
    """Where no body of open length follows, asking for the wire is an error that says so."""
    caught: list[str] = []

    async def app(scope: Any, _receive: Receive, send: Send) -> None:
        if start:
            await send(start)
        try:
            scope["extensions"][EXTENSION]()
        except RuntimeError as error:
            caught.append(str(error))
        await send((start and {"type": "http.response.body"}) or OK)

    async with serving(app) as here:
        await ask(here, "GET")
    assert [why in sentence for sentence in caught] == [True]


@both
async def test_failed_application_is_500_and_logged_without_the_query(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the trace of the failure, and nothing of the query, which may hold a token."""
    async with serving(fail) as here:
        assert b"500 " in await ask(here, "GET")
    assert ("on purpose" in caplog.text, "secret" in caplog.text) == (True, False)


@both
async def test_response_that_breaks_off_is_not_ended(ask: Ask) -> None:
    """A client can tell a response that failed half-way from one that is whole."""
    async with serving(fail_after_start) as here:
        assert not (await ask(here, "GET")).endswith(b"0\r\n\r\n")


@both
async def test_state_is_empty_and_nothing_else_is_offered(ask: Ask) -> None:
    """Applications are handed live objects, not a lifespan's state; server push and trailers are not offered."""
    heard: list[Any] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((scope["type"], scope["state"], list(scope["extensions"])))
        await hello(scope, receive, send)

    async with serving(app) as here:
        await ask(here, "GET")
    assert heard == [("http", {}, [EXTENSION])]


async def test_wire_of_a_socket_is_refused_before_accept() -> None:
    """No frame may go before the handshake's answer."""
    caught: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        try:
            scope["extensions"][EXTENSION]()
        except RuntimeError as error:
            caught.append(str(error))
        await send({"type": "websocket.close"})

    async with serving(app) as here, await here.h2() as client:
        await (await client.websocket("/ws")).stream.read()
    assert caught == ["there is a wire only between websocket.accept and the close"]


async def test_subprotocol_is_chosen_by_the_application() -> None:
    """The client's offers are in the scope, the application's choice in the answer."""
    app = Wired()

    async def choose(scope: Any, receive: Receive, send: Send) -> None:
        async def chosen(message: Any) -> None:
            await send({**message, "subprotocol": "b"} if message["type"] == "websocket.accept" else message)

        await app(scope, receive, chosen)

    async with serving(choose) as here, await here.h2() as client:
        socket = await client.websocket("/ws", subprotocols=["a", "b"])
        assert (app.scopes[0]["subprotocols"], socket.stream.headers["sec-websocket-protocol"]) == (["a", "b"], "b")


async def test_accept_that_cannot_be_is_500(caplog: pytest.LogCaptureFixture) -> None:
    """A subprotocol that the client did not offer is the application's failure: the handshake is answered 500."""

    async def app(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "other"})

    async with serving(app) as here, await here.h2() as client:
        socket = await client.websocket("/ws")
        assert (socket.stream.status, "an application failed" in caplog.text) == (500, True)


async def test_client_that_left_before_the_answer_leaves_a_dead_wire() -> None:
    """An application that accepts too late gets a wire that takes nothing, and `serve` returns."""
    heard: list[Any] = []
    done = asyncio.Event()

    async def late(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        await receive()  # the client leaves
        await send({"type": "websocket.accept"})
        wire = scope["extensions"][EXTENSION]()
        await wire.serve(receive, heard.append)
        heard.append(wire.writable)
        done.set()

    async with serving(late) as here:
        _, writer = await here.open(HANDSHAKE)
        await settled(lambda: bool(heard))
        writer.transport.abort()
        await done.wait()
    assert heard == ["websocket.connect", False]
