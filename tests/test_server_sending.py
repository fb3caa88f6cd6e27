"""The way out of HTTP/2 streams: round robin, in turns, and when it stops."""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes

from leaping import leaping
from tailrace.server.inbox import Inbox
from tailrace.server.sendbuffer import SendBuffer
from tailrace.server.sending import TURN_BYTES, Sender
from tailrace.wire import MIN_TAKEN_BYTES
from test_server_wires import Carrier

HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


class Pair:
    """A sender and the peer it sends to."""

    def __init__(self, streams: int) -> None:
        self.carrier = Carrier()
        self.peer = h2.connection.H2Connection(h2.config.H2Configuration())
        self.peer.initiate_connection()
        self.peer.update_settings({4: 1 << 24})  # windows that are never in the way
        self.peer.increment_flow_control_window(1 << 24)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        connection.receive_data(self.peer.data_to_send())
        self.empty = 0
        self.sender = Sender(connection, self.carrier, self._count)
        self.wires = {}
        for number in range(streams):
            stream_id = 2 * number + 1
            self.peer.send_headers(stream_id, HEAD, end_stream=True)
            connection.receive_data(self.peer.data_to_send())
            connection.send_headers(stream_id, [(b":status", b"200")])
            self.wires[stream_id] = self.sender.open(stream_id, Inbox(), websocket=False)

    def _count(self) -> None:
        self.empty += 1

    def heard(self) -> list[h2.events.Event]:
        """Give what the peer has heard by now."""
        data, self.carrier.written = b"".join(self.carrier.written), []
        return self.peer.receive_data(data)

    def data(self) -> list[tuple[int | None, int]]:
        """Give stream and size of each DATA frame that the peer has heard."""
        events = self.heard()
        return [(one.stream_id, len(one.data or b"")) for one in events if isinstance(one, h2.events.DataReceived)]


async def test_streams_take_turns() -> None:
    """A stream with much to say holds up no other: a frame each."""
    pair = Pair(2)
    pair.wires[1].write(b"x" * 40000)
    pair.wires[3].write(b"x" * 20000)
    await asyncio.sleep(0)
    assert pair.data() == [(1, 16384), (3, 16384), (1, 16384), (3, 3616), (1, 7232)]


async def test_one_write_for_all_streams() -> None:
    """What many streams of a connection say in one turn is one system call."""
    pair = Pair(50)
    for wire in pair.wires.values():
        wire.write(b"hi")
    await asyncio.sleep(0)
    assert len(pair.carrier.written) == 1


async def test_turn_has_a_bound() -> None:
    """One connection does not hold the loop: the rest is the next turn's."""
    pair = Pair(1)
    pair.wires[1].write(b"x" * (TURN_BYTES + 1))
    await asyncio.sleep(0)
    first = sum(size for _, size in pair.data())
    await asyncio.sleep(0)
    assert (first, sum(size for _, size in pair.data())) == (TURN_BYTES, 1)


async def test_paused_transport_stops_sending() -> None:
    """Nothing is made while the transport holds more than its mark; it goes on when told."""
    pair = Pair(1)
    pair.carrier.paused = True
    pair.wires[1].write(b"hi")
    await asyncio.sleep(0)
    before, pair.carrier.paused = pair.data(), False
    pair.sender.resume()
    await asyncio.sleep(0)
    assert (before, pair.data()) == ([], [(1, 2)])


async def test_full_transport_holds_up_all_streams() -> None:
    """Then what the peer has acknowledged says how it gets on; otherwise nothing holds them up but their windows."""
    pair = Pair(1)
    pair.carrier.taken = 7
    before, pair.carrier.paused = pair.sender.held_up, True
    assert (before, pair.sender.held_up) == (None, 7)


def at_a_shut_window(pair: Pair) -> SendBuffer:
    """Let stream 1 have said its last, which the peer does not let out."""
    pair.peer.update_settings({4: 0})
    pair.sender._connection.receive_data(pair.peer.data_to_send())
    pair.wires[1].write(b"x" * 10_000)
    buffer = pair.sender.complete(1)
    assert buffer is not None
    return buffer


@pytest.mark.parametrize("taken,ended", [(MIN_TAKEN_BYTES - 1, True), (MIN_TAKEN_BYTES, False)])
async def test_last_word_is_waited_for_while_the_peer_takes_something(taken: int, ended: bool) -> None:
    """No more than so long at a window that stays shut, whoever waits there; then the stream is reset."""
    pair = Pair(1)
    buffer = at_a_shut_window(pair)
    with leaping():
        waiting = asyncio.create_task(pair.sender.patiently(1, buffer.sent))
        await asyncio.sleep(pair.carrier.patience.stall_seconds - 1)
        buffer.take(taken)
        assert not waiting.done()
        await asyncio.sleep(2)
        assert (waiting.done(), pair.sender.find(1) is None) == (ended, ended)
        pair.sender.gone()
        await waiting


async def test_stream_of_a_full_transport_is_not_to_blame() -> None:
    """The connection is watched as a whole; its streams wait with it."""
    pair = Pair(1)
    pair.carrier.paused = True
    buffer = at_a_shut_window(pair)
    with leaping():
        waiting = asyncio.create_task(pair.sender.patiently(1, buffer.sent))
        await asyncio.sleep(10 * pair.carrier.patience.stall_seconds)
        assert not waiting.done()
        pair.sender.gone()
        await waiting


async def test_end_rides_on_the_last_bytes() -> None:
    """END_STREAM needs no frame of its own, and the buffer is gone when it was sent."""
    pair = Pair(1)
    pair.wires[1].write(b"bye")
    buffer = pair.sender.complete(1)
    assert buffer is not None
    await buffer.sent()
    kinds = [type(event).__name__ for event in pair.heard()]
    assert kinds[-2:] == ["DataReceived", "StreamEnded"]
    assert (len(pair.sender), pair.empty) == (0, 1)


async def test_reset_forgets_what_was_waiting() -> None:
    """After RST_STREAM nothing of the stream follows."""
    pair = Pair(1)
    pair.wires[1].write(b"never")
    pair.sender.reset(1, ErrorCodes.INTERNAL_ERROR)
    await asyncio.sleep(0)
    kinds = [type(event).__name__ for event in pair.heard()]
    assert ("StreamReset" in kinds, "DataReceived" in kinds) == (True, False)


async def test_wire_that_is_cut_in_its_own_callback() -> None:
    """A subscriber that fails when its wire has room again is reset, and its sibling is served."""
    pair = Pair(2)

    def fail() -> None:
        raise LookupError("on purpose")

    pair.wires[1].on_writable = fail
    pair.wires[1].write(b"x" * 100_000)
    pair.wires[3].write(b"hi")
    await asyncio.sleep(0)
    kinds = {(type(event).__name__, getattr(event, "stream_id", None)) for event in pair.heard()}
    assert {("StreamReset", 1), ("DataReceived", 3)} <= kinds
