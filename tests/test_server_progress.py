"""What a peer has taken, and how long one is waited for that takes too little."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any, cast

import pytest

from changes import settled
from leaping import leaping
from tailrace.server.progress import BYTES_ACKED, RESET, Watch, acknowledged, cut
from tailrace.wire import MIN_TAKEN_BYTES


class Transport:
    """A transport, and the socket under it; ``left`` and ``taken`` are set by hand."""

    def __init__(self, left: int = 1) -> None:
        self.left = left
        self.taken = 0
        self.aborted = False
        self.limits: list[str] = []

    def get_extra_info(self, name: str) -> Transport:
        assert name == "socket"
        return self

    def getsockopt(self, *_: int) -> bytes:
        return BYTES_ACKED.pack(self.taken)

    def setsockopt(self, *option: Any) -> None:
        assert option == (socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True


def begun(transport: Transport, limit: str = "") -> Watch:
    """Begin to ask for something every ten seconds."""
    watch = Watch(cast("asyncio.Transport", transport), transport.limits.append)
    watch.begin(10, limit)
    return watch


@pytest.mark.parametrize("limit", ["", "answer_timeout"])
async def test_who_takes_too_little_is_cut(limit: str) -> None:
    """When the time is over, and not before; it has come to the limit, if there is one."""
    transport = Transport()
    with leaping():
        begun(transport, limit)
        transport.taken = MIN_TAKEN_BYTES - 1
        await asyncio.sleep(9)
        assert (transport.aborted, transport.limits) == (False, [])
        await asyncio.sleep(2)
        assert (transport.aborted, transport.limits) == (True, [limit] if limit else [])


async def test_who_takes_enough_has_as_long_again() -> None:
    """And has to take as much again."""
    transport = Transport()
    with leaping():
        begun(transport)
        transport.taken = MIN_TAKEN_BYTES
        await asyncio.sleep(19)
        assert not transport.aborted
        await asyncio.sleep(2)
        assert transport.aborted


async def test_who_has_taken_everything_is_cut() -> None:
    """Nothing is left that it could take: it only does not leave."""
    transport = Transport(left=0)
    with leaping():
        begun(transport)
        transport.taken = MIN_TAKEN_BYTES
        await asyncio.sleep(11)
        assert transport.aborted


async def test_nothing_is_asked_after_the_end() -> None:
    """Ending twice, or what has not begun, is harmless."""
    transport = Transport()
    with leaping():
        watch = begun(transport)
        for _ in range(2):
            watch.end()
        await asyncio.sleep(100)
        assert not transport.aborted


async def test_beginning_again_is_one_question() -> None:
    """The second time counts, from then on."""
    transport = Transport()
    with leaping():
        watch = begun(transport)
        await asyncio.sleep(9)
        watch.begin(10)
        await asyncio.sleep(9)
        assert not transport.aborted
        await asyncio.sleep(2)
        assert transport.aborted


@pytest.mark.both_loops
async def test_peer_that_does_not_read_hears_of_the_cut() -> None:
    """At once, and the kernel holds nothing for it any more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _, writer = await asyncio.open_connection(*listening.getsockname())
        peer, _ = listening.accept()
        poll = select.poll()
        poll.register(peer, 0)
        transport: Any = writer.transport
        writer.write(bytes(1 << 24))
        assert (transport.get_write_buffer_size() > 0, poll.poll(0)) == (True, [])
        for _ in range(2):  # what has been cut already may be cut
            cut(transport)
        await settled(lambda: bool(poll.poll(0)))
        peer.close()


@pytest.mark.both_loops
async def test_peers_kernel_says_what_it_has_taken() -> None:
    """To the byte, as long as the connection lives."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _, writer = await asyncio.open_connection(*listening.getsockname())
        peer, _ = listening.accept()
        transport: Any = writer.transport
        before = acknowledged(transport)
        writer.write(b"x" * 1000)
        await settled(lambda: acknowledged(transport) - before == 1000)
        writer.close()
        await writer.wait_closed()
        assert acknowledged(transport) == 0
        peer.close()


async def test_socket_that_is_no_tcp_tells_nothing() -> None:
    """It is then held to have taken nothing."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    transport: Any = writer.transport
    assert acknowledged(transport) == 0
    theirs.close()
    await reader.read()
    writer.close()
    await writer.wait_closed()
