"""The server's life: start, signals, drain, and an end that nobody can hold up."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certificates import make_certificate
from h2client import connect
from serving import OK, Receive, Send, Wired, hello, serving

GET = b"GET /a HTTP/1.1\r\nHost: here\r\n\r\n"


class Draining(Wired):
    """Ends its streams when told to, and keeps what was asked of it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def drain(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        for wire in self.wires:
            wire.finish()
        await self.until(lambda: self.done == len(self.wires))


async def test_stop_without_connections_returns() -> None:
    """A server with nothing to do ends when it is asked to."""
    async with serving(hello) as here:
        here.server.stop()
        await here.running


async def test_http2_peers_hear_goaway_and_are_served_on() -> None:
    """GOAWAY comes before the drain, names every stream as welcome, and the streams go on."""
    app = Draining()
    async with serving(app, drain=app.drain) as here, await here.h2() as client:
        stream = client.request("GET", "/a")
        wire = await app.wire()
        here.server.stop()
        await client.until(lambda: bool(client.goaways))
        assert client.goaways == [(0, 2**31 - 1)]
        wire.write(b"still here\n")
        assert await stream.read_until(b"\n") == b"still here\n"
        app.go_on.set()
        await stream.read()
        assert stream.ended


async def test_new_requests_are_answered_during_the_drain() -> None:
    """The listener is open while the application drains, and answers are the last of their connection."""
    app = Draining()

    async def both(scope: Any, receive: Receive, send: Send) -> None:
        await (app if scope["path"] == "/a" else hello)(scope, receive, send)

    async with serving(both, drain=app.drain) as here, await here.h2() as client:
        here.server.stop()
        await app.begun.wait()
        assert b"connection: close" in await here.ask(GET.replace(b"/a", b"/b"))
        assert (await client.request("GET", "/b").head())[":status"] == "200"
        async with await connect(here.host, here.port) as late:
            await late.until(lambda: late.goaways == [(0, 2**31 - 1)])
        app.go_on.set()


async def test_connection_made_during_the_drain_begins_well(tmp_path: Path) -> None:
    """The first frame is SETTINGS, also where GOAWAY follows at once (RFC 9113 section 3.4)."""
    app, certificate = Draining(), make_certificate(tmp_path)
    async with serving(hello, certificate=certificate, drain=app.drain) as here:
        here.server.stop()
        await app.begun.wait()
        tls = certificate.client_context("h2")
        reader, writer = await asyncio.open_connection(here.host, here.port, ssl=tls)
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        assert (head[3], (await reader.readexactly(9))[3]) == (0x4, 0x7)
        writer.transport.abort()
        app.go_on.set()


async def test_sites_close_in_their_order() -> None:
    """The last site answers as long as the first has connections."""
    app = Draining()
    app.go_on.set()
    async with serving(stubborn, hello, drain=app.drain, grace_seconds=20) as here:
        reader, writer = await here.open(GET)
        await reader.readuntil(b"\r\n\r\n")
        here.server.stop()
        with pytest.raises(ConnectionError):
            await refused(here.port)
        _, admin = await asyncio.open_connection(here.host, here.ports[1])
        admin.transport.abort()
        writer.transport.abort()
        await here.running


async def refused(port: int) -> None:
    """Connect again and again, until nobody listens."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.abort()


async def stubborn(_scope: Any, receive: Receive, send: Send) -> None:
    """Stream until the client goes, whatever the drain says."""
    await send(OK)
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_streams_that_do_not_end_are_cut() -> None:
    """After the grace a connection is cut, and the server returns."""
    async with serving(stubborn) as here:
        reader, writer = await here.open(GET)
        await reader.readuntil(b"\r\n\r\n")
        here.server.stop()
        await here.running
        writer.close()


async def test_application_that_hears_nothing_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Not even an application that waits for something else holds the exit; the log says so."""

    async def deaf(_scope: Any, _receive: Receive, send: Send) -> None:
        await send(OK)
        await asyncio.Event().wait()

    async with serving(deaf) as here:
        reader, writer = await here.open(GET)
        await reader.readuntil(b"\r\n\r\n")
        here.server.stop()
        await here.running
        writer.close()
    assert "it is cancelled" in caplog.text


async def test_failing_drain_is_logged_and_the_end_comes(caplog: pytest.LogCaptureFixture) -> None:
    """An application that cannot drain does not keep the process."""

    async def fail() -> None:
        raise LookupError("on purpose")

    async with serving(hello, drain=fail) as here:
        here.server.stop()
        await here.running
    assert "the drain failed" in caplog.text


async def test_tls_peer_that_ignores_close_notify_does_not_hold_the_exit(tmp_path: Path) -> None:
    """A TLS peer that neither reads nor answers is cut."""
    certificate = make_certificate(tmp_path)
    async with serving(stubborn, certificate=certificate) as here:
        with socket.create_connection((here.host, here.port)) as plain:
            peer = await asyncio.to_thread(
                certificate.client_context("http/1.1").wrap_socket, plain, server_hostname="localhost"
            )
            with peer:
                await asyncio.to_thread(peer.sendall, GET)
                await asyncio.to_thread(peer.recv, 1)
                here.server.stop()
                await here.running


async def test_peer_that_speaks_no_tls_is_dropped(tmp_path: Path) -> None:
    """Plain HTTP on a TLS port ends that connection, and says nothing."""
    async with serving(hello, certificate=make_certificate(tmp_path)) as here:
        reader, writer = await asyncio.open_connection(here.host, here.port)
        writer.write(GET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
            await reader.readexactly(1000)
        writer.close()


# The process.

PROGRAM = """
import asyncio
from tailrace.server import Server, Site, run

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await receive())["type"] != "http.disconnect":
        pass

async def drain():
    print("draining", flush=True)
    if DRAIN_FOR_EVER:
        await asyncio.Event().wait()

async def main():
    def started(addresses):
        print(addresses[0][1], flush=True)
    await Server([Site(app, "127.0.0.1", 0)], drain=drain, grace_seconds=0).run(started=started)

run(main)
"""


@contextmanager
def program(*, drain_for_ever: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server in a process of its own; gives it and its port."""
    code = textwrap.dedent(PROGRAM).replace("DRAIN_FOR_EVER", str(drain_for_ever))
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_and_ends_without_a_word(number: signal.Signals) -> None:
    """One signal: drain, cut what stays, status 0, nothing on standard error."""
    with program(drain_for_ever=False) as (process, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(GET)
        client.recv(1)
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "draining\n", "")


def test_second_signal_ends_at_once() -> None:
    """A second signal does not wait for the drain: status 128 + signal."""
    with program(drain_for_ever=True) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_garbage_is_collected_seldom() -> None:
    """In the process that serves: a full collection walks over the whole tail while nobody is served."""
    script = "import gc; from tailrace.server.run import GC_THRESHOLDS, run\n"
    script += "async def main(): print(gc.get_threshold() == GC_THRESHOLDS, gc.get_freeze_count() > 0)\n"
    ended = subprocess.run([sys.executable, "-c", script + "run(main)"], capture_output=True, text=True, check=True)
    assert ended.stdout == "True True\n"
