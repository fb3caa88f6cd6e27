"""How much of what a connection has carried its peer has taken, and the end of one that takes too little.

How full a buffer is does not tell: over TLS there are two, and only the upper one can be seen. The kernel knows what
the peer has acknowledged. Knows a transport and nothing of what is spoken on it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from tailrace.server.settings import CLOSE_SECONDS, LINGER_SECONDS
from tailrace.wire import MIN_TAKEN_BYTES

TCP_INFO = getattr(socket, "TCP_INFO", 0)
STATE_CLOSED = 7
"""``TCP_CLOSE`` in ``tcpi_state``, the first byte of Linux's ``struct tcp_info``: the peer has reset the connection."""
BYTES_ACKED = struct.Struct("120xQ")
"""``tcpi_bytes_acked`` of Linux's ``struct tcp_info`` (<linux/tcp.h>, RFC 4898 tcpEStatsAppHCThruOctetsAcked)."""


RESET = struct.pack("ii", 1, 0)
"""``struct linger``: linger, for no time."""


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has reset the connection; a transport that does not read does not say. False where unknown."""
    return _told(transport, 1) == bytes([STATE_CLOSED])


def acknowledged(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer's kernel has acknowledged so far; 0 where that cannot be told."""
    told = _told(transport, BYTES_ACKED.size)
    return int(BYTES_ACKED.unpack(told)[0]) if len(told) == BYTES_ACKED.size else 0  # an older kernel says less


def _told(transport: asyncio.Transport, size: int) -> bytes:
    """Return the first ``size`` bytes of ``struct tcp_info``, or as many as there are."""
    sock = transport.get_extra_info("socket")
    if sock is None:  # closed meanwhile: as uvloop says it over TLS
        return b""
    try:
        return bytes(sock.getsockopt(socket.IPPROTO_TCP, TCP_INFO, size))
    except (OSError, ValueError):  # closed meanwhile; no TCP; another system
        return b""


def cut(transport: asyncio.Transport) -> None:
    """End a connection with a reset: whatever is on its way is dropped, here and in the kernel, and the peer hears it.

    Without the option Linux goes on alone, with all that it holds for a peer which does not read, until
    ``TCP_USER_TIMEOUT``; then it drops the connection, and the peer is told nothing (socket(7), SO_LINGER).
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError, ValueError):  # closed meanwhile
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


class Watch:
    """Cuts a connection whose peer takes too little of what it is owed. Lives as long as the connection."""

    __slots__ = ("_note_limit", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, note_limit: Callable[[str], None]) -> None:
        self._transport = transport
        self._note_limit = note_limit
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, limit: str = "") -> None:
        """From now on the peer must take `MIN_TAKEN_BYTES` in every such time, until nothing is left or `end`.

        One that is cut has come to ``limit``, by its name in the metrics; empty where somebody else counts it.
        """
        self.end()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._look, seconds, limit, acknowledged(self._transport))

    def see_off(self, *, linger: bool) -> None:
        """Close: flush first, and read what still comes for a moment if ``linger``; cut what does not go in time."""
        if linger and self._transport.can_write_eof():
            with suppress(OSError):  # the peer has gone already, and the transport is about to say so
                self._transport.write_eof()
            self.begin(LINGER_SECONDS)
        else:
            self._transport.close()
            self.begin(CLOSE_SECONDS)

    def end(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, seconds: float, limit: str, before: int) -> None:
        left = self._transport.get_write_buffer_size()
        if left and acknowledged(self._transport) - before >= MIN_TAKEN_BYTES:
            self.begin(seconds, limit)
        else:
            if limit:
                self._note_limit(limit)
            cut(self._transport)
