"""The end of the process: polite to whoever is polite, and on time whoever is not.

In a process of its own, on both event loops, in clear text and over TLS.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import Certificate, make_certificate
from idle_service import token
from subscriber import TRANSPORTS, Http1, Http2, Line, controls

HERE = Path(__file__).parent
ENDS_WITHIN_SECONDS = 20.0
"""Far above the drain and the grace of these processes, far below anything else that could end them."""

both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
both_securities = pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])


@dataclass
class Child:
    """A process that serves."""

    process: subprocess.Popen[str]
    port: int
    clear_port: int
    admin_port: int
    certificate: Certificate | None

    async def connect(self, kind: str) -> Line:
        alpn = "h2" if kind.endswith("h2") else "http/1.1"
        tls = self.certificate.client_context(alpn) if self.certificate else None
        return await Line.connect(kind, "127.0.0.1", self.port, tls)

    async def admin(self, request: str) -> bytes:
        """Send a request to the admin site; give the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
        writer.write(f"{request} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async def ended(self) -> tuple[int, str]:
        """Wait for the end; give the status, and what it said on stderr."""
        _, text = await asyncio.to_thread(self.process.communicate, timeout=ENDS_WITHIN_SECONDS)
        return self.process.returncode, text


@contextmanager
def child(loop: str, folder: Path, *, tls: bool = False, drain_seconds: float = 0.3) -> Iterator[Child]:
    """Run the idle service; it is killed at the end of the block."""
    certificate = make_certificate(folder)
    command = [sys.executable, "-X", "dev", str(HERE / "idle_process.py"), loop, str(drain_seconds), str(folder)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            clear, secure, admin = json.loads(process.stdout.readline())
            yield Child(process, secure if tls else clear, clear, admin, certificate if tls else None)
        finally:
            process.kill()


@asynccontextmanager
async def subscribed(here: Child) -> AsyncIterator[list[tuple[Line, Http1 | Http2]]]:
    """Subscribe a client of each transport."""
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(await here.connect(kind)) for kind in TRANSPORTS]
        yield [(line, await line.subscribe(token())) for line in lines]


# Those who cooperate.


@both_loops
@pytest.mark.parametrize("tls,number", [(False, signal.SIGTERM), (True, signal.SIGINT)], ids=["clear", "tls"])
async def test_polite_end(tmp_path: Path, loop: str, tls: bool, number: signal.Signals) -> None:
    """Every stream hears `tailrace.disconnect` and ends; status 0, and not a word."""
    with child(loop, tmp_path, tls=tls) as here:
        async with subscribed(here) as everyone:
            here.process.send_signal(number)
            for _, subscriber in everyone:
                await until_ended(subscriber)
            assert [controls(subscriber) for _, subscriber in everyone] == [["ready", "disconnect"]] * 4
            assert await here.ended() == (0, "")


async def until_ended(subscriber: Http1 | Http2) -> None:
    """Wait for a polite end."""
    await subscriber.until(lambda: subscriber.ended)


@both_loops
async def test_goaway_comes_first(tmp_path: Path, loop: str) -> None:
    """An HTTP/2 peer hears it while its streams go on, and with every one of them still welcome."""
    with child(loop, tmp_path, drain_seconds=3600) as here:
        async with await here.connect("sse-h2") as line:
            streams = [await line.subscribe(token()) for _ in range(2)]
            here.process.send_signal(signal.SIGTERM)
            client = line.client
            await client.until(lambda: bool(client.goaways))
            assert client.goaways == [(0, 2**31 - 1)]
            assert not all(stream.ended for stream in streams)


@both_loops
async def test_readiness_goes_first_and_the_admin_site_last(tmp_path: Path, loop: str) -> None:
    """As Kubernetes wants it: no new clients are sent while those there are still served, and told to go one by one."""
    with child(loop, tmp_path, drain_seconds=3600) as here:
        async with subscribed(here) as everyone:
            assert b" 200 " in await here.admin("GET /readyz")
            here.process.send_signal(signal.SIGTERM)
            await told(here, b"draining")
            assert not all(subscriber.gone for _, subscriber in everyone)
            assert b" 200 " in await here.admin("GET /livez")


async def told(here: Child, word: bytes) -> None:
    """Ask for the readiness until it says ``word``."""
    while word not in await here.admin("GET /readyz"):
        pass


@both_loops
@both_securities
async def test_who_comes_during_the_drain(tmp_path: Path, loop: str, tls: bool) -> None:
    """An event stream and a WebSocket are told to come back in a way that a browser survives; other routes get 503."""
    with child(loop, tmp_path, tls=tls, drain_seconds=3600) as here:
        async with subscribed(here):
            here.process.send_signal(signal.SIGTERM)
            await told(here, b"draining")
            for kind in TRANSPORTS:
                async with await here.connect(kind) as line:
                    late = line.ask(token())
                    await until_ended(late)
                    assert (controls(late), late.status) == (["disconnect"], 101 if kind == "websocket" else 200)
                    assert late.parser.close_code == (1001 if line.websocket else None)


# Those who do not.


async def stalls(here: Child, stack: AsyncExitStack) -> None:
    """Subscribe over each transport, and read nothing more; over HTTP/2 also one window that stays shut."""
    for kind in TRANSPORTS:
        line = await stack.enter_async_context(await here.connect(kind))
        await line.subscribe(token())
        line.stall()
    for kind in ("sse-h2", "websocket-h2"):
        line = await stack.enter_async_context(await here.connect(kind))
        (await line.subscribe(token())).stall()
    await here.admin("POST /produce")


async def hang_about(here: Child, stack: AsyncExitStack) -> None:
    """Stay: idle, in the middle of a head or of a body, or half open."""
    begun = [b"", b"GET /v1/sess", b"POST /v1/cookie HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
    for data in begun:
        line = await stack.enter_async_context(await here.connect("sse"))
        line.transport.write(data)
    for kind in TRANSPORTS:
        line = await stack.enter_async_context(await here.connect(kind))
        await line.subscribe(token())
        line.half_close()


async def keep_coming(here: Child) -> int:
    """Ask for something small again and again, on connections of their own; give how often, when nobody listens."""
    for number in itertools.count():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.clear_port)
        except ConnectionRefusedError:
            return number
        except OSError:
            continue
        with suppress(OSError):
            writer.write(b"GET /openapi.yaml HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await reader.read()
        writer.transport.abort()
    raise AssertionError


@both_loops
@both_securities
async def test_nobody_holds_up_the_end(tmp_path: Path, loop: str, tls: bool) -> None:
    """Who takes, ends or answers nothing, or comes all the time, is cut in time: status 0, and not a word."""
    with child(loop, tmp_path, tls=tls) as here:
        async with AsyncExitStack() as stack:
            await hang_about(here, stack)
            await stalls(here, stack)
            coming = asyncio.create_task(keep_coming(here))
            here.process.send_signal(signal.SIGTERM)
            assert await here.ended() == (0, "")
            assert await coming > 0


@both_loops
@both_securities
async def test_close_frame_and_goaway_that_are_not_answered(tmp_path: Path, loop: str, tls: bool) -> None:
    """A peer that stays when it has been told to go is cut: after its close frame, or with its streams ended."""
    with child(loop, tmp_path, tls=tls) as here:
        async with subscribed(here) as everyone:
            here.process.send_signal(signal.SIGTERM)
            assert await here.ended() == (0, "")
            assert all(line.closed for line, _ in everyone)


@both_loops
async def test_handshake_that_stays_unfinished(tmp_path: Path, loop: str) -> None:
    """Nothing but the beginning of a ClientHello holds up the end no more than others."""
    with (
        child(loop, tmp_path, tls=True) as here,
        socket.create_connection(("127.0.0.1", here.port)) as plain,
    ):
        plain.sendall(b"\x16\x03\x01\x02\x00\x01")
        async with subscribed(here):  # so it has been accepted, too
            here.process.send_signal(signal.SIGTERM)
            status, _ = await here.ended()
        assert status == 0


# Signals.


@both_loops
@pytest.mark.parametrize("first,second", [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
async def test_second_signal(tmp_path: Path, loop: str, first: signal.Signals, second: signal.Signals) -> None:
    """Either one, whichever came before it, ends the process at once: status 128 + signal."""
    with child(loop, tmp_path, drain_seconds=3600) as here:
        async with subscribed(here):
            here.process.send_signal(first)
            await told(here, b"draining")
            here.process.send_signal(second)
            assert await here.ended() == (128 + second, "")
