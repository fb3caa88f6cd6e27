"""Accepting: who comes in, in which turn, and what happens when no descriptor is left."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from changes import settled
from tailrace.server.door import Door
from tailrace.server.listener import bind
from tailrace.server.settings import ACCEPT_PAUSE_SECONDS, ACCEPTS_PER_TURN

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Rooms:
    """What comes through a door that opens at once, and what is told of trouble."""

    def __init__(self) -> None:
        self.entered: list[socket.socket] = []
        self.troubles: list[OSError] = []
        self.listening = bind("127.0.0.1", 0)
        self.listening.listen(ACCEPTS_PER_TURN + 1)
        self.address = self.listening.getsockname()
        self.door = Door(self.listening, self._enter, lambda: ACCEPTS_PER_TURN, self.troubles.append)

    def _enter(self, sock: socket.socket, address: object) -> None:
        assert address == sock.getpeername()
        self.entered.append(sock)

    def close(self) -> None:
        if self.listening.fileno() >= 0:
            self.door.close()
        for sock in self.entered:
            sock.close()


@contextmanager
def rooms() -> Iterator[Rooms]:
    """Make a door; it is shut at the end."""
    made = Rooms()
    try:
        yield made
    finally:
        made.close()


async def test_who_comes_is_let_in() -> None:
    """Each connection is one socket."""
    with rooms() as here, socket.create_connection(here.address), socket.create_connection(here.address) as last:
        here.door.open()
        await settled(lambda: len(here.entered) == 2)
        assert here.entered[-1].getpeername() == last.getsockname()


async def test_a_turn_has_a_bound() -> None:
    """A crowd is let in over several turns of the loop."""
    with rooms() as here, ExitStack() as crowd:
        for _ in range(ACCEPTS_PER_TURN + 1):
            crowd.enter_context(socket.create_connection(here.address))
        here.door._accept()
        first = len(here.entered)
        here.door._accept()
        assert (first, len(here.entered)) == (ACCEPTS_PER_TURN, ACCEPTS_PER_TURN + 1)


async def test_shut_door_refuses() -> None:
    """After the close nobody listens, also where the door was left alone for a moment."""
    with rooms() as here:
        here.door._pause = asyncio.get_running_loop().call_later(60, here.door.open)
        here.door.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(here.address)
        assert here.door._pause.cancelled()


PROGRAM = """
import asyncio, json, os, resource, sys
LOOP = None
from tailrace.server import Server, Site

async def app(scope, receive, send):
    if scope["path"] == "/told":
        body = json.dumps({"gaps": [b - a for a, b in zip(told, told[1:])]}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass

told = []

async def nothing():
    pass

async def main():
    loop = asyncio.get_running_loop()
    def started(addresses):
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + ROOM, used + ROOM))
        print(addresses[0][1], flush=True)
    def on_limit(limit):
        told.append(loop.time())
        print(limit, flush=True)
    await Server([Site(app, "127.0.0.1", 0)], drain=nothing, grace_seconds=0, on_limit=on_limit).run(started=started)

with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""
ROOM = 5


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "__import__('uvloop').new_event_loop"])
def test_process_without_descriptors_goes_on(loop: str) -> None:
    """It says so once, asks again now and then, serves whom it has, and takes the next one as soon as it can."""
    code = textwrap.dedent(PROGRAM).replace("LOOP = None", f"LOOP = {loop}").replace("ROOM", str(ROOM))
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = ("127.0.0.1", int(process.stdout.readline()))
            with ExitStack() as crowd:
                for _ in range(2 * ROOM):
                    crowd.enter_context(socket.create_connection(address)).sendall(GET)
                assert [process.stdout.readline() for _ in range(4)] == ["sockets\n"] * 4
            with socket.create_connection(address) as late:
                late.sendall(GET.replace(b"/ ", b"/told "))
                gaps = json.loads(late.makefile("rb").read().split(b"\r\n")[-4])["gaps"]
        finally:
            process.terminate()
        _, err = process.communicate()
    assert min(gaps) >= ACCEPT_PAUSE_SECONDS / 2  # the clocks of loops are coarse
    assert (process.returncode, err) == (0, "cannot take another connection: Too many open files\n")
