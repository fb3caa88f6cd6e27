"""Streams: the scope, the wire they offer, and their application's task; over both protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving import OK, Receive, Send, Serving, fail, fail_after_start, hello, serving
from tailrace.wire import EXTENSION

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
