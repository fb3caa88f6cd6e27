"""The wires by themselves: what they take, and how they end."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from tailrace.encoding import Framing
from tailrace.server.inbox import Inbox
from tailrace.server.sendbuffer import SendBuffer
from tailrace.server.settings import Patience
from tailrace.server.timed import Timed
from tailrace.server.wires import DirectWire, StreamWire
from tailrace.wire import HIGH_WATER_BYTES, Wire


class Standing:
    """Keeps what streams say."""

    def __init__(self) -> None:
        self.untaken_bytes = 0
        self.admitted = 0
        self.refused = 0

    def untaken(self, size: int) -> None:
        self.untaken_bytes = size

    def admit(self) -> None:
        self.admitted += 1

    def dismiss(self) -> None:
        self.admitted -= 1

    def refuse(self) -> bool:
        self.refused += 1
        return False

    def expect(self) -> None:
        return

    async def hear(self) -> None:
        return


class Carrier:
    """A connection that keeps what it is given."""

    def __init__(self) -> None:
        self.paused = False
        self.draining = False
        self.taken = 0
        self.patience = Patience()
        self.standing: Any = Standing()
        self.written: list[bytes] = []
        self.aborted = False
        self.limits: list[str] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drained(self) -> None:
        return

    def note_limit(self, limit: str) -> None:
        self.limits.append(limit)

    def is_unheard(self) -> bool:
        return False

    def abort(self) -> None:
        self.aborted = True

    def close(self, *, linger: bool) -> None:
        raise AssertionError(linger)

    def set_idle(self, idle: bool) -> None:
        raise AssertionError(idle)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Timed:
        raise AssertionError(coroutine)


class Sender:
    """The streams of a connection, which keep what is asked of them."""

    def __init__(self) -> None:
        self.held_up: int | None = None
        self.woken: list[int] = []
        self.cancelled: list[int] = []
        self.admits: list[int] = []

    def admitted(self, stream_id: int) -> None:
        self.admits.append(stream_id)

    def wake(self, stream_id: int) -> None:
        self.woken.append(stream_id)

    def cancel(self, stream_id: int) -> None:
        self.cancelled.append(stream_id)


def direct(carrier: Carrier, framing: Framing = Framing.CHUNKS) -> tuple[DirectWire, Inbox]:
    inbox = Inbox()
    return DirectWire(inbox, framing, carrier), inbox


def of_stream(sender: Sender) -> tuple[StreamWire, SendBuffer, Inbox]:
    inbox, buffer = Inbox(), SendBuffer(answers_request=False)
    return StreamWire(inbox, Framing.BODY, sender, 7, buffer), buffer, inbox


def test_direct_bytes_go_straight_to_the_connection() -> None:
    """A write is one write of the connection, the very bytes."""
    carrier, data = Carrier(), b"2\r\nhi\r\n"
    wire, _ = direct(carrier)
    wire.write(data)
    assert carrier.written == [data]


def test_direct_wire_begins_as_writable_as_the_transport_is() -> None:
    """A connection may hold more than its mark before its wire is made."""
    carrier = Carrier()
    carrier.paused = True
    wire, _ = direct(carrier)
    before = wire.writable
    wire.notify()
    assert (before, wire.writable) == (False, True)


def test_a_wire_that_has_ended_is_never_writable_again() -> None:
    """Bytes that the transport takes again are no use to a stream that is over."""
    wire, _ = direct(Carrier())
    wire.end()
    wire.notify()
    assert not wire.writable


def test_stream_bytes_go_to_the_buffer() -> None:
    """A write fills the stream's buffer and wakes its sender."""
    sender = Sender()
    wire, buffer, _ = of_stream(sender)
    wire.write(b"hi")
    assert (buffer.take(9), sender.woken) == (b"hi", [7])


def test_stream_wire_is_writable_below_the_mark() -> None:
    """The buffer's mark is the wire's, and a write above it is still taken whole."""
    wire, buffer, _ = of_stream(Sender())
    wire.write(b"x" * HIGH_WATER_BYTES)
    before = wire.writable
    wire.write(b"x")
    assert (before, wire.writable, len(buffer)) == (True, False, HIGH_WATER_BYTES + 1)


def test_direct_wire_counts_what_the_peer_acknowledged() -> None:
    """The connection is all its own."""
    carrier = Carrier()
    wire, _ = direct(carrier)
    carrier.taken = 7
    assert wire.taken == ("connection", 7)


def test_stream_wire_counts_by_what_holds_it_up() -> None:
    """Its own window, whatever its siblings take; the connection, where that takes nothing more."""
    sender = Sender()
    wire, buffer, _ = of_stream(sender)
    wire.write(b"x" * 100)
    before = wire.taken
    buffer.take(30)
    after, sender.held_up = wire.taken, 7
    assert (before, after, wire.taken) == (("window", -100), ("window", -70), ("connection", 7))


def test_nothing_is_taken_after_the_end() -> None:
    """When the stream is about to say its last word, no byte may follow."""
    carrier = Carrier()
    wire, _ = direct(carrier)
    wire.end()
    wire.write(b"late")
    assert (carrier.written, wire.writable) == ([], False)


@pytest.mark.parametrize("framing,kind", [(Framing.CHUNKS, "http"), (Framing.FRAMES, "websocket")])
async def test_finish_makes_serve_return(framing: Framing, kind: str) -> None:
    """The one task of a connection leaves when it is asked to, by the disconnect that ASGI knows."""
    wire, inbox = direct(Carrier(), framing)
    wire.finish()
    await wire.serve(inbox.receive, print)
    assert (await inbox.receive())["type"] == f"{kind}.disconnect"


async def test_serve_hands_on_what_the_peer_says() -> None:
    """Every message but the disconnect is passed on."""
    wire, inbox = direct(Carrier(), Framing.FRAMES)
    await inbox.put({"type": "websocket.receive", "text": "hi"})
    wire.finish()
    heard: list[Any] = []
    await wire.serve(inbox.receive, heard.append)
    assert heard == [{"type": "websocket.receive", "text": "hi"}]


async def test_abort_cuts_the_connection() -> None:
    """Over HTTP/1.1 a cut is the transport's; `serve` returns."""
    carrier = Carrier()
    wire, inbox = direct(carrier)
    wire.abort()
    await wire.serve(inbox.receive, print)
    assert (carrier.aborted, wire.writable) == (True, False)


async def test_abort_cancels_the_stream_alone() -> None:
    """Over HTTP/2 a cut is one stream's; `serve` returns."""
    sender = Sender()
    wire, _, inbox = of_stream(sender)
    wire.abort()
    await wire.serve(inbox.receive, print)
    assert (sender.cancelled, wire.writable) == ([7], False)


def test_a_sign_of_life_counts_once() -> None:
    """It is the stream that sees one."""
    wire, _ = direct(Carrier(), Framing.FRAMES)
    before, wire.heard = wire.was_heard(), True
    assert [False, True, False] == [before, wire.was_heard(), wire.was_heard()]


def fail() -> None:
    """Be a subscriber with a defect."""
    raise LookupError("on purpose")


def test_who_fails_when_writable_loses_its_own_wire(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the callback is logged, and cuts that one."""
    sender = Sender()
    wire, _, _ = of_stream(sender)
    wire.on_writable = fail
    wire.notify()
    assert (sender.cancelled, "cut" in caplog.text) == ([7], True)


def test_both_are_wires() -> None:
    """They have the shape that a reader writes to."""
    wires: list[Wire] = [direct(Carrier())[0], of_stream(Sender())[0]]
    assert [wire.framing for wire in wires] == [Framing.CHUNKS, Framing.BODY]
