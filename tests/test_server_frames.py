"""The account of one WebSocket client, by itself: wsproto reads, the clock is set by hand."""

from __future__ import annotations

from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from framing import BINARY, CONTINUATION, PING, PONG, TEXT, fragments, frame, head
from tailrace.errors import Farewell, MessageTooBig, TooManyFrames
from tailrace.server.frames import ClientFrames
from tailrace.server.settings import FRAMES_AT_ONCE, FRAMES_PER_SECOND, MAX_MESSAGE_BYTES


class Client:
    """A client, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.account = ClientFrames(lambda: self.now)
        self._server: Any = Connection(ConnectionType.SERVER, [self.account])

    def sends(self, *frames: bytes) -> type[Farewell] | None:
        """Give why it may not go on, if it may not; wsproto then has its code for it."""
        self._server.receive_data(b"".join(frames))
        ends = [event.code for event in self._server.events() if isinstance(event, CloseConnection)]
        exceeded = self.account.exceeded
        assert [exceeded.close_code] * bool(ends) == ends if exceeded else ends == []
        return exceeded


@pytest.mark.parametrize("one", [frame(PING), frame(PONG), frame(TEXT), frame(BINARY, b"x")])
def test_so_many_frames_may_come_at_once(one: bytes) -> None:
    """And not one more, whatever kind they are of."""
    client = Client()
    assert client.sends(*[one] * FRAMES_AT_ONCE) is None
    assert client.sends(one) is TooManyFrames


def test_fragments_are_frames() -> None:
    """A message that never ends costs no memory, but time."""
    begun = frame(TEXT, fin=False)
    assert Client().sends(begun, *[frame(CONTINUATION, fin=False)] * FRAMES_AT_ONCE) is TooManyFrames


def test_the_largest_message_may_be_cut_small() -> None:
    """Into as many pieces as may come at once."""
    size = MAX_MESSAGE_BYTES // FRAMES_AT_ONCE
    assert Client().sends(*fragments(BINARY, *[b"x" * size] * FRAMES_AT_ONCE)) is None


def test_what_was_spent_comes_back_with_time() -> None:
    """So many a second, and never more than may come at once."""
    client = Client()
    client.sends(*[frame(PING)] * FRAMES_AT_ONCE)
    client.now += 2
    assert client.sends(*[frame(PING)] * int(2 * FRAMES_PER_SECOND)) is None
    client.now += 3600
    assert client.sends(*[frame(PING)] * FRAMES_AT_ONCE) is None
    assert client.sends(frame(PING)) is TooManyFrames


def test_a_steady_client_is_never_stopped() -> None:
    """At just the rate that is allowed."""
    client = Client()
    for _ in range(10 * FRAMES_AT_ONCE):
        client.now += 1 / FRAMES_PER_SECOND
        assert client.sends(frame(TEXT, b"x")) is None


def test_a_head_that_comes_in_pieces_is_one_frame() -> None:
    """wsproto asks again for every piece until the mask is whole."""
    client = Client()
    for number in range(FRAMES_AT_ONCE):
        piece = frame(CONTINUATION if number else TEXT, b"x" * 300, fin=False)
        for part in [*(piece[at : at + 1] for at in range(10)), piece[10:]]:
            assert client.sends(part) is None


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_is_refused_by_its_head(opcode: int) -> None:
    """Before a byte of it has come."""
    assert Client().sends(frame(opcode, b"x" * MAX_MESSAGE_BYTES)) is None
    assert Client().sends(head(opcode, MAX_MESSAGE_BYTES + 1)) is MessageTooBig


def test_fragments_add_up_and_a_ping_between_them_does_not() -> None:
    """Up to the message's end; the next begins at nothing."""
    client, half = Client(), b"x" * (MAX_MESSAGE_BYTES // 2)
    first, last = fragments(BINARY, half, half)
    assert client.sends(first, frame(PING, b"x" * 100), last) is None
    assert client.sends(first, frame(PONG, b"x" * 100), head(CONTINUATION, len(half) + 1)) is MessageTooBig


def test_it_is_offered_to_nobody() -> None:
    """It is no extension that a client could know of."""
    assert (False, True) == (ClientFrames(lambda: 0.0).offer(), ClientFrames(lambda: 0.0).enabled())
