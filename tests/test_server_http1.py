"""HTTP/1.1 against a real server."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from changes import settled
from serving import Wired, hello, others, serving
from tailrace.encoding import Framing
from tailrace.server.settings import INBOX_MESSAGES

GET = b"GET /a?token=secret HTTP/1.1\r\nHost: here\r\n\r\n"


async def drink(reader: asyncio.StreamReader) -> None:
    """Read until the end, and forget it."""
    while await reader.read(65536):
        pass


# Streams.


async def test_chunks_are_a_body() -> None:
    """What a wire writes and how the application ends make one correct chunked body, to a foreign client."""
    app = Wired()
    async with serving(app) as here, httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"{here.url}/a"))
        wire = await app.wire()
        wire.write(b"5\r\nhello\r\n")
        wire.write(b"6\r\n world\r\n")
        wire.finish()
        assert (await asking).text == "hello world"
        assert wire.framing is Framing.CHUNKS


async def test_connection_serves_the_next_request() -> None:
    """After a stream that ended well the connection is used again."""
    app = Wired()
    async with serving(app) as here:
        reader, writer = await here.open(GET)
        (await app.wire()).finish()
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(GET)
        (await app.wire(1)).finish()
        await reader.readuntil(b"0\r\n\r\n")
        writer.close()


async def test_stalled_client_makes_the_wire_unwritable_until_it_reads() -> None:
    """A client that does not read fills the transport, not our memory; when it reads, the wire says so."""
    app = Wired()
    async with serving(app) as here:
        reader, writer = await here.open(GET)
        wire = await app.wire()
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
        block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while wire.writable:
            wire.write(block)
            await asyncio.sleep(0)
        assert app.writable == 0
        writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        drinking = asyncio.create_task(drink(reader))
        await app.until(lambda: app.writable == 1 and wire.writable)
        writer.transport.abort()
        await drinking


async def test_leaving_client_is_noticed() -> None:
    """When the client goes, `serve` returns and the wire takes nothing more."""
    app = Wired()
    async with serving(app) as here:
        _, writer = await here.open(GET)
        wire = await app.wire()
        writer.transport.abort()
        await app.until(lambda: app.done == 1)
        assert not wire.writable


async def test_abort_cuts_the_connection() -> None:
    """After a cut the client sees the end without the last chunk, and `serve` has returned."""
    app = Wired()
    async with serving(app) as here:
        reader, writer = await here.open(GET)
        (await app.wire()).abort()
        got = b""
        with suppress(ConnectionError):
            got = await reader.read()
        await app.until(lambda: app.done == 1)
        assert not got.endswith(b"0\r\n\r\n")
        writer.close()


# Requests.


async def test_non_ascii_path_is_refused() -> None:
    """A target that is not ASCII is answered 400."""
    async with serving(hello) as here:
        assert (await here.ask("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode())).startswith(b"HTTP/1.1 400 ")


async def test_h2c_upgrade_is_ignored() -> None:
    """An HTTP/1.1 request that offers h2c is answered over HTTP/1.1."""
    async with serving(hello) as here:
        offer = b"Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\r\n"
        assert (await here.ask(GET[:-2] + offer)).startswith(b"HTTP/1.1 200 ")


async def test_client_that_waits_is_told_to_go_on() -> None:
    """``Expect: 100-continue`` is answered before the body is asked for (RFC 9110 section 10.1.1)."""
    async with serving(hello) as here:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
        answer = await here.ask(head)
        assert answer.startswith(b"HTTP/1.1 100 ")
        assert b"HTTP/1.1 200 " in answer


async def test_pipelined_request_ends_the_stream_politely() -> None:
    """A second request during a stream: the stream is ended whole, the connection closed, nothing is left behind."""
    app = Wired()
    async with serving(app) as here:
        before = asyncio.all_tasks()
        reader, writer = await here.open(GET)
        await app.wire()
        writer.write(GET)
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
        await settled(lambda: others(before) == 0)
        assert len(app.scopes) == 1


async def test_pipelined_request_of_a_short_answer_gets_that_answer() -> None:
    """The first of two requests sent together is answered; the second may be asked again."""
    async with serving(hello) as here:
        answer = await here.ask(GET + GET)
        assert (answer.count(b"HTTP/1.1 200"), b"connection: close" in answer.lower()) == (1, True)


async def test_unread_body_holds_up_nothing_for_ever() -> None:
    """An application that does not read a large body can answer, and its connection ends."""
    async with serving(hello) as here:
        before = asyncio.all_tasks()
        _, writer = await here.open(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        writer.write(b"x" * 65536 * (INBOX_MESSAGES + 5))
        await settled(lambda: others(before) == 0)
        writer.transport.abort()
