"""The windows through which an HTTP/2 peer sends to us: one of the connection, one of each stream.

The connection's is opened at once, a stream's when its application has read everything there was: so one application
that does not read stops its own peer, and holds up nobody else. Knows no applications; `http2` says when.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from tailrace.server.streams import HttpStream
    from tailrace.server.websocket import WebSocketStream

WINDOW_STEP = 16 * 1024
"""Windows are opened in steps of this, not for every byte: a quarter of the initial window (RFC 9113 section 6.9.2)."""


class Windows:
    """Counts what came in, and gives it back; lives as long as the connection. ``write_out`` sends what h2 has made."""

    __slots__ = ("_connection", "_unacknowledged", "_write_out")

    def __init__(self, connection: H2Connection, write_out: Callable[[], None]) -> None:
        self._connection = connection
        self._write_out = write_out
        self._unacknowledged = 0

    def used(self, size: int) -> None:
        """Count DATA of the connection, whatever its stream."""
        self._unacknowledged += size

    def open_connection(self) -> None:
        """Open the connection's window, if it is worth a frame."""
        if self._unacknowledged >= WINDOW_STEP:
            with suppress(ProtocolError):  # the last that came may have been the end
                self._connection.increment_flow_control_window(self._unacknowledged)
            self._unacknowledged = 0

    def open_stream(self, stream: HttpStream | WebSocketStream) -> None:
        """Open the stream's window, if it is worth a frame and its application has read everything there was."""
        if len(stream.inbox) or stream.unacknowledged < WINDOW_STEP:
            return
        with suppress(ProtocolError, KeyError):  # it may have ended meanwhile; h2 forgets such streams
            self._connection.increment_flow_control_window(stream.unacknowledged, stream.stream_id)
        stream.unacknowledged = 0
        self._write_out()
