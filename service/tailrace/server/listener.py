"""One site: a listening socket, the application behind it, and the connections that came of it.

Binds by itself, so that socket options are set before anybody connects and a port in use is one plain sentence. Knows
connections only to count them, to let them go, and to cut those that do not. `run` decides when.

There is a bound on connections. Whoever comes above it takes the place of the one that has been without a request for
longest; where all have one, it is closed at once. No answer is given: one would have to be made after a handshake that
costs more than the answer, and a native EventSource gives up for good on a 503, but comes back after a cut.
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
from tailrace.server.connection import Connection
from tailrace.server.door import Door
from tailrace.server.settings import (
    BACKLOG,
    FIRSTS_PER_TURN,
    MAX_SOCKETS,
    SEND_BUFFER_BYTES,
    STALL_SECONDS,
    TLS_SHUTDOWN_SECONDS,
    Patience,
    hypercorn_config,
    tls_context,
)
from tailrace.server.turnstile import Turnstile

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

    ``on_limit`` is told of each limit that a peer comes to, by its name in the metrics.
    """

    def __init__(self, site: Site, patience: Patience, on_limit: Callable[[str], None]) -> None:
        self.app = site.app
        self.config = hypercorn_config(None if site.tls_cert_file is None else site.hsts_seconds)
        self.patience = patience
        self.turnstile = Turnstile(FIRSTS_PER_TURN)
        self.max_sockets = site.max_sockets
        self._site = site
        self._on_limit = on_limit
        self._seldom = Seldom(logger)
        self._connections: set[Connection] = set()
        self._resting: dict[Connection, None] = {}
        self._entering: set[Connection] = set()
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
        self._door = Door(listening, self._enter, self._lack)
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
        self._entering.discard(connection)
        self._connections.add(connection)
        if self._draining:
            connection.announce()
        if self._closing:  # accepted before, made only now
            connection.leave()

    def gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._resting.pop(connection, None)

    def rests(self, connection: Connection, *, resting: bool) -> None:
        self._resting.pop(connection, None)
        if resting:
            self._resting[connection] = None

    def note_limit(self, limit: str) -> None:
        self._on_limit(limit)
        if limit != "idle_timeout":
            self._seldom.log(logging.INFO, limit, "a client came to a limit of the server: %s", limit)

    # Coming in.

    def _enter(self, sock: socket.socket) -> None:
        if len(self._entering) + len(self._connections) >= self.max_sockets:
            self.note_limit("sockets")
            if not self._make_room():
                sock.close()
                return
        connection = Connection(self)
        self._entering.add(connection)
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
            self.note_limit("tls_handshake_timeout")
        except OSError:
            pass  # the peer speaks no TLS, or has gone
        finally:
            self._entering.discard(connection)

    def _make_room(self) -> bool:
        """Cut who has been without a request for longest; whether there is one."""
        for connection in self._resting:
            del self._resting[connection]
            connection.abort()
            return True
        return False

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
