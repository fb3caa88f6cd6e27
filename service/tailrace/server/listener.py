"""One site: a listening socket, the application behind it, and the connections that came of it.

Binds by itself, so that socket options are set before anybody connects and a port in use is one plain sentence. Knows
connections only to count them, to let them go, and to cut those that do not. `run` decides when.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailrace.errors import ConfigurationError
from tailrace.server.connection import Connection
from tailrace.server.settings import (
    BACKLOG,
    CLOSE_SECONDS,
    SEND_BUFFER_BYTES,
    STALL_SECONDS,
    TLS_HANDSHAKE_SECONDS,
    TLS_SHUTDOWN_SECONDS,
    hypercorn_config,
    tls_context,
)

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """One listener and the ASGI application behind it; with both files it speaks TLS. Port 0 is any free port."""

    app: ASGIApp
    host: str
    port: int
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None


class Listener:
    """A site that listens; lives from `open` to `close` and until its last connection has gone."""

    def __init__(self, site: Site, keep_alive_seconds: float, stall_seconds: float) -> None:
        self._site = site
        self._patience = (keep_alive_seconds, stall_seconds)
        self._config = hypercorn_config()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._draining = False
        self._closing = False

    async def open(self) -> tuple[str, int]:
        """Listen; gives the bound host and port. Raises `ConfigurationError` in plain words if that cannot be."""
        site = self._site
        tls = None
        if site.tls_cert_file is not None and site.tls_key_file is not None:
            tls = tls_context(site.tls_cert_file, site.tls_key_file)
        listening = bind(site.host, site.port, self._patience[1])
        self._server = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=listening,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if tls else None,
        )
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
        if self._server is not None:
            # Not followed by wait_closed(): from Python 3.12 on it waits for connections, too.
            self._server.close()
        for connection in list(self._connections):
            connection.leave()
        await self._gone(grace_seconds)
        for connection in self._connections:
            connection.abort()
        await self._gone(CLOSE_SECONDS)
        for connection in self._connections:
            logger.warning("an application ignores that its client has gone; it is cancelled")
            connection.cancel()
        await self._gone(CLOSE_SECONDS)

    async def _gone(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections:
                    await asyncio.wait({connection.task for connection in self._connections})

    def _connection(self) -> Connection:
        return Connection(self._site.app, self._config, *self._patience, self._made, self._connections.discard)

    def _made(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._draining:
            connection.announce()
        if self._closing:  # accepted before, made only now
            connection.leave()


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
