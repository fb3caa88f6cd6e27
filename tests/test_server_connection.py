"""One connection, without a network: what it reads, how it closes, what it does not wait for."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

import pytest

from changes import settled
from serving import OK, Receive, Send, Wired, hello, serving
from tailrace.server.settings import READ_BYTES, Patience

GET = b"GET /a HTTP/1.1\r\nHost: here\r\n\r\n"


async def test_head_in_pieces_is_a_request() -> None:
    """A request may arrive byte by byte."""
    async with serving(hello) as here:
        reader, writer = await here.open()
        for number in range(len(GET)):
            writer.write(GET[number : number + 1])
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_peer_that_has_said_all_gets_its_answer() -> None:
    """A client that closes its sending side after the request is answered all the same."""
    async with serving(hello) as here:
        reader, writer = await here.open(GET)
        writer.write_eof()
        assert (await reader.read()).endswith(b"ok")
        writer.close()


async def test_closing_connection_reads_on_for_a_moment() -> None:
    """A peer that still sends when we have said our last word is not answered by a reset, which would overtake it."""

    def talk_on(host: str, port: int) -> bytes:
        with socket.create_connection((host, port)) as peer:
            peer.sendall(b"nonsense\r\n\r\n")
            answer = b""
            while more := peer.recv(4096):
                answer += more
            for _ in range(2):  # after a reset, the second would raise
                peer.sendall(b"and another thing")
            return answer

    async with serving(hello) as here:
        assert (await asyncio.to_thread(talk_on, here.host, here.port)).startswith(b"HTTP/1.1 400 ")


async def test_slow_peer_gets_the_whole_of_its_last_answer() -> None:
    """Closing does not cut what the peer is still taking."""

    async def large(_scope: Any, _receive: Receive, send: Send) -> None:
        await send({**OK, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"x" * 5_000_000, "more_body": False})

    async with serving(large) as here:
        reader, writer = await here.open(GET)
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.read()).endswith(b"x\r\n0\r\n\r\n")
        writer.close()


async def test_unread_input_stops_the_reading() -> None:
    """A body that nobody reads stays with its sender; when it is read, it comes whole."""
    go_on = asyncio.Event()
    sizes: list[int] = []

    async def slow(scope: Any, receive: Receive, send: Send) -> None:
        await go_on.wait()
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            sizes.append(len(message["body"]))
        await hello(scope, receive, send)

    size = 200 * READ_BYTES
    async with serving(slow) as here:
        reader, writer = await here.open(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)
        drain = asyncio.create_task(writer.drain())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not drain.done()
        go_on.set()
        await reader.readuntil(b"ok")
        await drain
        writer.close()
    assert sum(sizes) == size


@pytest.mark.both_loops
async def test_cut_is_heard_by_a_peer_that_does_not_read() -> None:
    """Nothing that is still on its way to it stands before the cut."""
    app = Wired()
    async with serving(app) as here:
        with socket.create_connection((here.host, here.port)) as peer:
            peer.sendall(GET)
            wire = await app.wire()
            wire.write(bytes(1 << 24))
            poll = select.poll()
            poll.register(peer, 0)
            assert (wire.writable, poll.poll(0)) == (False, [])
            wire.abort()
            await settled(lambda: bool(poll.poll(0)))


async def test_one_task_for_the_connection_and_one_for_the_application() -> None:
    """An idle subscriber costs two tasks, and none when it has gone."""
    app = Wired()
    async with serving(app) as here:
        before = len(asyncio.all_tasks())
        _, writer = await here.open(GET)
        await app.wire()
        during = len(asyncio.all_tasks())
        writer.transport.abort()
        await settled(lambda: len(asyncio.all_tasks()) == before)
        assert during - before == 2


async def test_addresses_are_told() -> None:
    """The scope names both ends and the scheme."""
    app = Wired()
    async with serving(app) as here:
        _, writer = await here.open(GET)
        await app.wire()
        scope = app.scopes[0]
        assert (scope["client"], scope["server"]) == (writer.get_extra_info("sockname"), (here.host, here.port))
        assert scope["scheme"] == "http"
        writer.transport.abort()


async def test_peer_that_never_asks_is_left() -> None:
    """A connection without a whole request is closed after a while."""
    async with serving(hello, keep_alive_seconds=0) as here:
        assert await here.ask(b"GET / HTTP/1.1\r\nHost:") == b""


async def test_open_stream_is_not_idle() -> None:
    """No clock runs against a subscriber who says nothing, over either protocol; after its stream's end one does."""
    app = Wired()
    async with serving(app) as here, await here.h2() as client:
        reader, writer = await here.open(GET)
        stream = client.request("GET", "/a")
        await app.wire(1)
        [listener] = here.server._listeners
        assert [False, False] == [connection._timer.running for connection in listener._connections]
        listener.patience = Patience(keep_alive_seconds=0)
        for wire in app.wires:
            wire.finish()
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        await client.until_closed()
        writer.close()
        assert (stream.ended, client.goaways) == (True, [(0, 1)])
