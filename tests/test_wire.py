"""The plain wire: the same bytes as the fast ones, by nothing but ASGI's ``send``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import FakeRecord, ListWire, append, make_tail
from changes import settled
from tailrace.encoding import FORMATS, Framing, chunk, frame
from tailrace.wire import (
    EXTENSION,
    HIGH_WATER_BYTES,
    MIN_TAKEN_BYTES,
    PlainWire,
    Taken,
    Wire,
    is_disconnect,
    open_wire,
    say_last,
    texts_of_frames,
)

Message = dict[str, Any]
HTTP: Message = {"type": "http"}
WEBSOCKET: Message = {"type": "websocket"}
FULL = b"x" * (HIGH_WATER_BYTES + 1)


class Peer:
    """The other side of ASGI: it keeps what is sent, and says what it is told to say."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()
        """Cleared, it lets no `send` return."""
        self.reads.set()
        self.trouble: Exception | None = None

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        await self.reads.wait()
        if self.trouble is not None:
            raise self.trouble

    async def receive(self) -> Message:
        return await self.heard.get()

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent)


def refuse(message: Any = None) -> None:
    """Stand where nothing is expected."""
    raise AssertionError(message)


def serve(wire: Wire, peer: Peer, on_message: Callable[[Any], None] = refuse) -> asyncio.Task[None]:
    """Begin to serve."""
    return asyncio.create_task(wire.serve(peer.receive, on_message))


async def carried(scope: Message, writes: Sequence[bytes]) -> list[Message]:
    """Give what a peer gets of these writes."""
    peer = Peer()
    wire = PlainWire(scope, peer.send)
    for data in writes:
        wire.write(data)
    wire.finish()
    await serve(wire, peer)
    return peer.sent


def test_nobody_is_taken_for_gone() -> None:
    """ASGI tells of no pongs."""
    wire = PlainWire(WEBSOCKET, Peer().send)
    assert [True, True] == [wire.was_heard(), wire.was_heard()]


# Where wires come from.


def test_servers_wire_is_taken() -> None:
    """Where the server offers a wire, that is the one."""
    offered = PlainWire(HTTP, Peer().send)
    assert open_wire({**HTTP, "extensions": {EXTENSION: lambda: offered}}, Peer().send) is offered


@pytest.mark.parametrize("scope", [HTTP, {**HTTP, "extensions": None}, {**HTTP, "extensions": {"other": {}}}])
def test_without_an_offer_the_wire_is_plain(scope: Message) -> None:
    """Any ASGI server will do."""
    assert isinstance(open_wire(scope, Peer().send), PlainWire)


@pytest.mark.parametrize("scope,framing", [(HTTP, Framing.BODY), (WEBSOCKET, Framing.FRAMES)])
def test_framing_follows_the_scope(scope: Message, framing: Framing) -> None:
    """A reader is told what the wire takes."""
    assert PlainWire(scope, Peer().send).framing is framing


@pytest.mark.parametrize(
    "kind,expected",
    [("http.disconnect", True), ("websocket.disconnect", True), ("http.request", False), ("websocket.receive", False)],
)
def test_disconnect_is_known_on_both(kind: str, expected: bool) -> None:
    """Both transports have a last message."""
    assert is_disconnect({"type": kind}) is expected


# What a peer takes.


@pytest.mark.parametrize(
    "now,moved",
    [
        (Taken("a", 100 + MIN_TAKEN_BYTES), True),
        (Taken("a", 99 + MIN_TAKEN_BYTES), False),
        (Taken("a", 0), False),
        (Taken("b", 0), True),
    ],
)
def test_peer_has_moved_when_it_took_enough(now: Taken, moved: bool) -> None:
    """Enough by the same measure, or anything at all that made another measure apply."""
    assert now.moved_since(Taken("a", 100)) == moved


async def test_plain_wire_counts_what_the_server_has_taken() -> None:
    """A `send` that does not return has taken nothing."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    serving = serve(wire, peer)
    wire.write(b"taken")
    await settled(lambda: wire.taken.amount == 5)
    peer.reads.clear()
    wire.write(b"not taken")
    await settled(lambda: len(peer.sent) == 2)
    assert wire.taken.amount == 5
    wire.abort()
    await serving


# Bytes.


async def test_bytes_go_in_order_and_together() -> None:
    """What was written in one turn is one message; the response stays open."""
    assert await carried(HTTP, [b"a", b"b"]) == [{"type": "http.response.body", "body": b"ab", "more_body": True}]


async def test_bytes_go_as_they_come() -> None:
    """Writes of different turns need not wait for each other."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    task = serve(wire, peer)
    for data in (b"a", b"b", b"c"):
        wire.write(data)
        await settled(lambda: peer.body.endswith(data))  # noqa: B023  awaited before the next
    wire.finish()
    await task
    assert [message["body"] for message in peer.sent] == [b"a", b"b", b"c"]


async def test_frames_become_messages() -> None:
    """Each text frame is a message of its own; pings are the server's business, and dropped."""
    writes = [frame(b"a") + frame(b"", 0x9), frame("ü".encode()), frame(b"", 0x9)]
    assert await carried(WEBSOCKET, writes) == [
        {"type": "websocket.send", "text": "a"},
        {"type": "websocket.send", "text": "ü"},
    ]


@given(st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([0x1, 0x9]))), st.integers(0, 70_000))
def test_texts_of_frames_undoes_frame(frames: list[tuple[bytes, int]], long: int) -> None:
    """Of a run of frames of any length, every text comes back, and no ping."""
    data = b"".join(frame(payload, opcode) for payload, opcode in [*frames, (b"x" * long, 0x1)])
    assert texts_of_frames(data) == [payload for payload, opcode in frames if opcode == 0x1] + [b"x" * long]


VALUES = (b"a", b"b\nc", b"", "ü\r\n".encode() * 100, b"\xff", b"x" * 70_000)


async def test_plain_and_fast_bodies_are_the_same() -> None:
    """A plain response body is what the fast wire's chunks say without their headers."""
    events = append(make_tail(), *(FakeRecord(offset, value=value) for offset, value in enumerate(VALUES)))
    plain = [FORMATS[Framing.BODY].event(event, event.id) for event in events]
    body = b"".join(message["body"] for message in await carried(HTTP, plain))
    assert [chunk(data) for data in plain] == [FORMATS[Framing.CHUNKS].event(event, event.id) for event in events]
    assert body == b"".join(plain)


async def test_plain_and_fast_frames_are_the_same() -> None:
    """A server that frames the plain wire's messages sends the very frames of the fast one."""
    events = append(make_tail(), *(FakeRecord(offset, value=value) for offset, value in enumerate(VALUES)))
    fast = [FORMATS[Framing.FRAMES].event(event, event.id) for event in events]
    assert [frame(message["text"].encode()) for message in await carried(WEBSOCKET, fast)] == fast


# Room.


async def test_writable_up_to_the_mark() -> None:
    """A write is taken whole, and then the wire is full."""
    wire = PlainWire(HTTP, Peer().send)
    wire.write(FULL[1:])
    before = wire.writable
    wire.write(b"x")
    assert (before, wire.writable) == (True, False)


async def test_owner_hears_when_there_is_room_again() -> None:
    """Once the bytes above the mark have been sent, and not before."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    calls: list[bool] = []

    def on_writable() -> None:
        calls.append(wire.writable)
        wire.finish()

    wire.on_writable = on_writable
    peer.reads.clear()
    wire.write(FULL)
    task = serve(wire, peer)
    await settled(lambda: bool(peer.sent))
    before = list(calls)
    peer.reads.set()
    await task
    assert (before, calls) == ([], [True])


async def test_owner_hears_nothing_below_the_mark() -> None:
    """A wire that was never full does not call."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    wire.on_writable = refuse
    wire.write(FULL[1:])
    task = serve(wire, peer)
    await settled(lambda: bool(peer.sent))
    wire.write(b"more")
    await settled(lambda: peer.body.endswith(b"more"))
    wire.finish()
    await task
    assert [len(message["body"]) for message in peer.sent] == [HIGH_WATER_BYTES, 4]


async def test_nobody_needs_to_listen() -> None:
    """A wire without an owner is a wire."""
    assert len((await carried(HTTP, [FULL]))[0]["body"]) == len(FULL)


# Its end.


async def test_finish_sends_the_rest_first() -> None:
    """What was written is handed on, then `serve` returns; what comes after the end is dropped."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    task = serve(wire, peer)
    wire.write(b"last word")
    wire.finish()
    wire.write(b"too late")
    writable = wire.writable
    await task
    assert (peer.body, writable) == (b"last word", False)


async def test_finish_wakes_a_wire_at_rest() -> None:
    """With nothing to send `serve` returns at once."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    task = serve(wire, peer)
    await asyncio.sleep(0)
    wire.finish()
    await task
    assert peer.sent == []


async def test_full_wire_does_not_call_after_its_end() -> None:
    """Who finished is not told that there is room."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    wire.on_writable = refuse
    wire.write(FULL)
    wire.finish()
    await serve(wire, peer)
    assert len(peer.body) == len(FULL)


async def test_abort_sends_nothing_more() -> None:
    """A cut waits for nothing, and takes nothing."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    task = serve(wire, peer)
    wire.write(b"never")
    wire.abort()
    wire.write(b"never")
    await task
    assert (peer.sent, wire.writable) == ([], False)


async def test_owner_may_abort_when_it_is_called() -> None:
    """An owner that fails when there is room again loses its wire, and `serve` returns."""
    wire = PlainWire(HTTP, Peer().send)
    wire.on_writable = wire.abort
    wire.write(FULL)
    await serve(wire, Peer())
    assert not wire.writable


async def test_abort_before_serve() -> None:
    """A subscriber that failed at once is not served at all."""
    peer = Peer()
    wire = PlainWire(HTTP, peer.send)
    wire.abort()
    await serve(wire, peer)
    assert peer.sent == []


async def test_abort_does_not_wait_for_a_stalled_peer() -> None:
    """A peer that reads nothing cannot hold its task for ever."""
    peer = Peer()
    peer.reads.clear()
    wire = PlainWire(HTTP, peer.send)
    task = serve(wire, peer)
    wire.write(b"stuck")
    await settled(lambda: bool(peer.sent))
    wire.abort()
    await task
    assert not wire.writable


@pytest.mark.parametrize("stalled", [False, True])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_disconnect_ends_it(kind: str, stalled: bool) -> None:
    """A peer that has gone ends the wire, whatever `send` is doing."""
    peer = Peer()
    wire = PlainWire({"type": kind}, peer.send)
    if stalled:
        peer.reads.clear()
    task = serve(wire, peer)
    wire.write(frame(b"hi"))
    await settled(lambda: bool(peer.sent))
    peer.heard.put_nowait({"type": f"{kind}.disconnect"})
    await task
    assert not wire.writable


async def test_messages_are_handed_on() -> None:
    """What the peer says before it leaves is the owner's to judge."""
    peer = Peer()
    wire = PlainWire(WEBSOCKET, peer.send)
    heard: list[Any] = []
    said = [{"type": "websocket.receive", "text": "a"}, {"type": "websocket.receive", "text": "b"}]
    for message in [*said, {"type": "websocket.disconnect"}]:
        peer.heard.put_nowait(message)
    await serve(wire, peer, heard.append)
    assert heard == said


async def test_trouble_with_sending_is_raised() -> None:
    """What a foreign server raises on a dead client reaches the transport."""
    peer = Peer()
    peer.trouble = OSError("gone")
    wire = PlainWire(HTTP, peer.send)
    wire.write(b"hi")
    with pytest.raises(OSError, match="gone"):
        await serve(wire, peer)
    assert not wire.writable


async def test_trouble_with_a_message_is_raised() -> None:
    """An owner that fails on a message ends its wire, and the failure is not lost."""

    def fail(message: Any) -> None:
        raise LookupError(message["type"])

    peer = Peer()
    peer.heard.put_nowait({"type": "http.request"})
    with pytest.raises(LookupError, match=r"http\.request"):
        await serve(PlainWire(HTTP, peer.send), peer, fail)


async def test_cancelled_wire_leaves_no_task() -> None:
    """A server that cancels the application gets everything back."""
    peer = Peer()
    peer.reads.clear()
    wire = PlainWire(HTTP, peer.send)
    wire.write(b"stuck")
    task = serve(wire, peer)
    await settled(lambda: bool(peer.sent))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


# The last word.


async def test_last_word_is_awaited() -> None:
    """The response ends only when the peer has been told."""
    peer, wire = Peer(), ListWire()
    await say_last(wire, peer.send({"body": b""}), seconds=60)
    assert (peer.sent, wire.aborted) == ([{"body": b""}], False)


async def test_peer_that_does_not_take_the_last_word_is_cut() -> None:
    """No task waits for a peer that reads nothing."""
    peer, wire = Peer(), ListWire()
    peer.reads.clear()
    await say_last(wire, peer.send({"body": b""}), seconds=0)
    assert wire.aborted
