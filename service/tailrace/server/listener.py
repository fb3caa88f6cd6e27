"""One site: a listening socket, the application behind it, and the connections that came of it.

Binds by itself, so that socket options are set before anybody connects and a port in use is one plain sentence. Knows
connections only to count them, to let them go, and to cut those that do not. `run` decides when.

There is a bound on connections. One that comes above it takes the place of another that carries no admitted stream
(`places` says of which); where all carry one, or wait for the server, it is closed at once. No answer is given: before
it there would have to be a handshake, which costs more than the answer, and a native EventSource gives up for good on a
503, but comes back after a cut.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailrace.errors import ConfigurationError
from tailrace.log import Seldom
from tailrace.places import Places, source_of
from tailrace.server.connection import Connection
from tailrace.server.door import Door
from tailrace.server.settings import (
    ACCEPTS_PER_TURN,
    ACCEPTS_PER_TURN_OF_MANY,
    BACKLOG,
    HANDSHAKES_PER_TURN,
    MAX_SOCKETS,
    READ_AT_ONCE_BYTES,
    SEND_BUFFER_BYTES,
    STALL_SECONDS,
    TLS_SHUTDOWN_SECONDS,
    Patience,
    hypercorn_config,
)
from tailrace.server.tls import tls_context
from tailrace.server.turnstile import Turnstile
from tailrace.server.untaken import Untaken

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """One listener and the ASGI application behind it; with both files it speaks TLS. Port 0 is any free port.

    ``hsts_seconds`` is for how long browsers shall come by TLS alone; without TLS it is not said.
    ``max_sockets`` is how many connections it has at once, handshakes included.
    """

    app: ASGIApp
    host: str
    port: int
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    max_sockets: int = MAX_SOCKETS
    hsts_seconds: int | None = None


class Listener:
    """A site that listens; lives from `open` to `close` and until its last connection has gone.

    ``on_limit`` is told of each limit that a peer comes to, by its name in the metrics. ``admission_share`` is what
    those who are not admitted may take of the loop's time while others need it.
    """

    def __init__(self, site: Site, patience: Patience, on_limit: Callable[[str], None], admission_share: float) -> None:
        self.app = site.app
        self.config = hypercorn_config(None if site.tls_cert_file is None else site.hsts_seconds)
        self.patience = patience
        self.read_buffer = memoryview(bytearray(READ_AT_ONCE_BYTES))
        self.strangers: Places[Connection] = Places()
        self.newcomers = Turnstile(admission_share)
        self.members = Turnstile(admission_share)
        self.untaken = Untaken(self.note_limit)
        self.max_sockets = site.max_sockets
        self._site = site
        self._on_limit = on_limit
        self._seldom = Seldom(logger)
        self._connections: set[Connection] = set()
        self._entering: dict[Connection, socket.socket] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._door: Door | None = None
        self._tls: ssl.SSLContext | None = None
        self._draining = False
        self._closing = False

    async def open(self) -> tuple[str, int]:
        """Listen; gives the bound host and port. Raises `ConfigurationError` in plain words if that cannot be."""
        site = self._site
        if site.tls_cert_file is not None and site.tls_key_file is not None:
            self._tls = tls_context(site.tls_cert_file, site.tls_key_file)
        listening = bind(site.host, site.port, self.patience.stall_seconds)
        self._door = Door(listening, self._enter, self._accepts_at_once, self._lack)
        listening.listen(BACKLOG)
        self._door.open()
        host, port = listening.getsockname()[:2]
        return host, port

    def announce(self) -> None:
        """The drain begins: tell every peer, also those still to come."""
        self._draining = True
        for connection in list(self._connections):
            connection.announce()

    async def close(self, grace_seconds: float) -> None:
        """Stop listening; idle connections close now, the others get ``grace_seconds`` and are then cut."""
        self._closing = True
        if self._door is not None:
            self._door.close()
        await asyncio.sleep(0)  # cancelled before it has begun, a handshake would leave its socket open
        if self._tls is not None:  # without TLS it is a turn long; cancelled in that, uvloop's connection never ends
            for handshake in self._handshakes:
                handshake.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        for connection in list(self._connections):
            connection.leave()
        await self._gone(grace_seconds)
        for connection in self._connections:
            connection.abort()
        await self._gone(self.patience.hearing_seconds)
        for connection in self._connections:
            logger.warning("an application ignores that its client has gone; it is cancelled")
            connection.cancel()
        await self._gone(self.patience.hearing_seconds)

    async def _gone(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections:
                    await asyncio.wait({connection.task for connection in self._connections})

    # What connections say: `tailrace.server.keeper.Keeper`.

    def made(self, connection: Connection) -> None:
        self._entering.pop(connection, None)
        self._connections.add(connection)
        if self._draining:
            connection.announce()
        if self._closing:  # accepted before, made only now
            connection.leave()

    def gone(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def note_limit(self, limit: str) -> None:
        self._on_limit(limit)
        if limit != "idle_timeout":
            self._seldom.log(logging.INFO, limit, "a client came to a limit of the server: %s", limit)

    # Coming in.

    def _accepts_at_once(self) -> int:
        """Return how many connections to take in this turn of the loop."""
        if self._tls is not None:
            return HANDSHAKES_PER_TURN
        return ACCEPTS_PER_TURN_OF_MANY if self.newcomers.contended else ACCEPTS_PER_TURN

    def _enter(self, sock: socket.socket, address: tuple[str, int]) -> None:
        if len(self._entering) + len(self._connections) >= self.max_sockets:
            self.note_limit("sockets")
            if not self._make_room():
                sock.close()
                return
        connection = Connection(self, source_of(address))
        self.strangers.add(connection.source, connection)
        self._entering[connection] = sock
        handshake = asyncio.get_running_loop().create_task(self._shake_hands(connection, sock))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: Connection, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self.patience.tls_handshake_seconds if self._tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if self._tls else None,
            )
        except ConnectionAbortedError:
            if connection in self._entering:  # or it had to leave
                self.note_limit("tls_handshake_timeout")
        except OSError:
            pass  # the peer speaks no TLS, or has gone
        finally:
            if self._entering.pop(connection, None) is not None:
                self.strangers.discard(connection.source, connection)

    def _make_room(self) -> bool:
        """Cut a stranger; return whether there is one."""
        leaver = self.strangers.evict()
        if leaver is None:
            return False
        if (sock := self._entering.pop(leaver, None)) is not None:
            with suppress(OSError):  # it has gone already
                sock.shutdown(socket.SHUT_RDWR)  # its handshake fails, and cleans up
        else:
            leaver.abort()
        return True

    def _lack(self, trouble: OSError) -> None:
        self._on_limit("sockets")
        self._seldom.log(logging.WARNING, "no_socket", "cannot take another connection: %s", trouble.strerror)
        self._make_room()


def bind(host: str, port: int, stall_seconds: float = STALL_SECONDS) -> socket.socket:
    """Bind a TCP socket to the first address of ``host``, with our options; accepted sockets inherit them.

    Raises `ConfigurationError` naming host and port.
    """
    sock = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        _set_options(sock, stall_seconds)
        sock.bind(address)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise ConfigurationError([f"cannot listen on {host}:{port}: {error.strerror or error}"]) from error
    return sock


def _set_options(sock: socket.socket, stall_seconds: float) -> None:
    sock.setblocking(False)
    # Else a restart within a minute finds the port taken by connections that are already over.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * stall_seconds))
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" is everybody
