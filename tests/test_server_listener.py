"""Listening: sockets, their options, and what goes wrong at the start."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from certificates import make_certificate
from serving import Wired, hello, nothing_to_drain, serving
from tailrace.errors import ConfigurationError
from tailrace.server import Server, Site
from tailrace.server.listener import Listener, bind
from tailrace.server.settings import ADMISSION_SHARE, SEND_BUFFER_BYTES, Patience


def test_options_are_inherited_by_accepted_sockets() -> None:
    """Every connection has a bounded send buffer and a bound on unacknowledged bytes."""
    with bind("127.0.0.1", 0, stall_seconds=45) as listening:
        listening.setblocking(True)
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            # Linux doubles what it is asked for, to pay for its own books.
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER_BYTES
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000


@pytest.mark.both_loops
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "TLS"])
async def test_who_comes_with_the_end_is_sent_away(tmp_path: Path, secure: bool) -> None:
    """A connection that is accepted in the turn in which the site closes is closed, and nothing of it is left."""
    files: Any = {}
    if secure:
        certificate = make_certificate(tmp_path)
        files = {"tls_cert_file": certificate.cert_file, "tls_key_file": certificate.key_file}
    limits: list[str] = []
    listener = Listener(Site(hello, "127.0.0.1", 0, **files), Patience(), limits.append, ADMISSION_SHARE)
    with socket.create_connection(await listener.open()) as client:
        assert listener._door is not None
        listener._door._accept()
        await listener.close(0)
        assert (client.recv(1), listener._connections, listener._entering, limits) == (b"", set(), {}, [])


async def test_small_writes_leave_at_once() -> None:
    """No connection waits for more to send before it sends (TCP_NODELAY)."""
    app = Wired()
    async with serving(app) as here:
        _, writer = await here.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await app.wire()
        (connection,) = here.server._listeners[0]._connections
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writer.transport.abort()


def test_port_in_use_is_named() -> None:
    """A port that somebody has is one plain sentence."""
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            bind("127.0.0.1", port)
    assert caught.value.problems == [f"cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_unknown_host_is_named() -> None:
    """A host that is none is one plain sentence."""
    with pytest.raises(ConfigurationError, match=r"cannot listen on no\.such\.host\.invalid:80: "):
        bind("no.such.host.invalid", 80)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_interfaces_are_both_families() -> None:
    """``::`` takes IPv4 connections, too."""
    with bind("::", 0) as listening:
        listening.listen()
        with socket.create_connection(("127.0.0.1", listening.getsockname()[1])) as client:
            assert client.getpeername()[1] == listening.getsockname()[1]


async def test_second_site_that_cannot_listen_closes_the_first() -> None:
    """The error of one site leaves no other listening."""
    with bind("127.0.0.1", 0) as taken, bind("127.0.0.1", 0) as free:
        taken.listen()
        free_port, taken_port = free.getsockname()[1], taken.getsockname()[1]
        free.close()
        sites = [Site(hello, "127.0.0.1", free_port), Site(hello, "127.0.0.1", taken_port)]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{taken_port}"):
            await Server(sites, drain=nothing_to_drain).run()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port))


async def test_unreadable_certificate_is_named(tmp_path: Path) -> None:
    """A certificate that cannot be read is one plain sentence, and nothing listens."""
    site = Site(hello, "127.0.0.1", 0, tmp_path / "no.crt", tmp_path / "no.key")
    with pytest.raises(ConfigurationError, match=r"cannot read .*no\.crt"):
        await Server([site], drain=nothing_to_drain).run()
