"""When an HTTP/2 peer may send more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import h2.events

from tailrace.server.inbox import Inbox
from tailrace.server.windows import WINDOW_STEP, Windows

HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]


class Pair:
    """A peer that has sent a body of ``size`` on stream 1, and the windows that it is given back."""

    def __init__(self, size: int) -> None:
        self.peer = h2.connection.H2Connection()
        self.peer.initiate_connection()
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.connection.initiate_connection()
        self.peer.send_headers(1, HEAD)
        self.peer.send_data(1, b"x" * size)
        self.connection.receive_data(self.peer.data_to_send())
        self.windows = Windows(self.connection, lambda: None)
        self.stream: Any = SimpleNamespace(stream_id=1, inbox=Inbox(), unacknowledged=size)

    def opened(self) -> list[tuple[int | None, int | None]]:
        """Give stream and size of each window that the peer hears was opened."""
        events = self.peer.receive_data(self.connection.data_to_send())
        return [(each.stream_id, each.delta) for each in events if isinstance(each, h2.events.WindowUpdated)]


def test_windows_are_opened_in_steps() -> None:
    """What is not worth a frame waits."""
    pair = Pair(WINDOW_STEP - 1)
    pair.windows.used(WINDOW_STEP - 1)
    pair.windows.open_connection()
    pair.windows.open_stream(pair.stream)
    assert pair.opened() == []


def test_both_windows_are_given_back() -> None:
    """The connection's, and that of a stream whose application has read everything, once."""
    pair = Pair(WINDOW_STEP)
    pair.windows.used(WINDOW_STEP)
    for _ in range(2):
        pair.windows.open_connection()
        pair.windows.open_stream(pair.stream)
    assert pair.opened() == [(0, WINDOW_STEP), (1, WINDOW_STEP)]


async def test_unread_messages_keep_a_stream_shut() -> None:
    """An application that does not read stops its peer, on this stream alone."""
    pair = Pair(WINDOW_STEP)
    await pair.stream.inbox.put({})
    pair.windows.open_stream(pair.stream)
    assert pair.opened() == []


def test_stream_that_has_ended_needs_no_window() -> None:
    """It may have been reset in the meantime: nothing is said, nothing raised."""
    pair = Pair(WINDOW_STEP)
    pair.connection.reset_stream(1)
    pair.windows.open_stream(pair.stream)
    assert (pair.opened(), pair.stream.unacknowledged) == ([], 0)
