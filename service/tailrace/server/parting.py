"""WebSockets of an HTTP/2 connection that have said their last, and whose peer has yet to hear it or to answer.

Over TCP such a peer is cut by `connection`. A stream is not by itself: one whose window stays shut keeps its close
frame for ever, one whose peer never ends its side counts as open for ever. So both are given a moment, and longer only
while they take what they are owed; then the stream is reset. Lives as long as the connection.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from tailrace.server.settings import LINGER_SECONDS

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from tailrace.server.sending import Sender


class Parting:
    """The streams that are seen off; ``seconds`` is how long each may take nothing."""

    def __init__(self, connection: H2Connection, sender: Sender, seconds: float = LINGER_SECONDS) -> None:
        self._connection = connection
        self._sender = sender
        self._seconds = seconds
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def begin(self, stream_id: int) -> None:
        """See off a stream to which nothing will be added."""
        loop = asyncio.get_running_loop()
        self._timers[stream_id] = loop.call_later(self._seconds, self._look, stream_id, self._left(stream_id))

    def gone(self) -> None:
        """The connection has gone."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _look(self, stream_id: int, left_before: int) -> None:
        del self._timers[stream_id]
        stream = self._connection.streams.get(stream_id)
        if stream is None or stream.closed:
            return  # both sides have ended
        if 0 < self._left(stream_id) < left_before:
            self.begin(stream_id)
            return
        with suppress(ProtocolError):  # the connection may be closing
            self._connection.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._sender.forget(stream_id)
        self._sender.write_out()

    def _left(self, stream_id: int) -> int:
        """Return how many bytes the peer has yet to take."""
        return len(self._sender.find(stream_id) or ())
