"""The crowd's clients: they read what comes as a browser does, and come back as the contract asks."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.events import Event as FrameEvent
from wsproto.utilities import RemoteProtocolError

from changes import settled
from crowd.asking import Answer, Ask, CutOff, Hearer, Malformed, Transport
from crowd.client import Client
from crowd.eventstream import EventStream
from crowd.frames import Frames
from crowd.ledger import POSITION, Item, Ledger
from crowd.turns import DISCONNECT, END, READY

# Bytes -> items.


def test_an_event_stream() -> None:
    """Events with their types, lines and ids; what the stream asks to wait; ids that come alone; comments are none."""
    stream = EventStream()
    items = stream.feed(b"retry: 1200\n\n:\n\nid: 1\ndata: a\ndata: b\n\nid: 2\n\nevent: e\ndata:c\n\n")
    assert [Item("message", "a\nb", "1"), Item(POSITION, "", "2"), Item("e", "c", "")] == items
    assert 1200 == stream.retry_ms


def test_an_event_stream_in_pieces() -> None:
    """Wherever the bytes are cut, the same comes of them; what was not finished was never seen."""
    text = "id: 1\ndata: Spüre\n\nid: 2\ndata: die Flut\n\nid: 3\nda".encode()
    for cut in range(len(text)):
        stream = EventStream()
        items = [*stream.feed(text[:cut]), *stream.feed(text[cut:])]
        assert [Item("message", "Spüre", "1"), Item("message", "die Flut", "2")] == items


class Page:
    """A WebSocket with the service at its other end."""

    def __init__(self) -> None:
        self.frames = Frames()
        self._service = Connection(ConnectionType.SERVER)

    def take(self, *events: FrameEvent) -> list[Item]:
        """Let the service send."""
        return self.frames.feed(b"".join(self._service.send(event) for event in events))

    def replies(self) -> list[FrameEvent]:
        """Give what the service gets back."""
        self._service.receive_data(self.frames.reply())
        return list(self._service.events())


def text(**fields: Any) -> TextMessage:
    return TextMessage(data=json.dumps(fields))


def test_a_websocket() -> None:
    """Events and what the service itself says, in the same words as over Server-Sent Events."""
    page = Page()
    items = page.take(text(id="1", data="a"), text(id="2", event="e", data="b"), text(control=POSITION, id="3"))
    assert [Item("message", "a", "1"), Item("e", "b", "2")] == items[:2]
    assert (POSITION, "3", []) == (items[2].name, items[2].id, page.replies())


def test_a_websockets_control_frames() -> None:
    """A ping is answered, a close is answered and kept; what the last word asks to wait is kept as well."""
    page = Page()
    page.take(Ping(payload=b"x"), text(control=DISCONNECT, retry_after_ms=7), CloseConnection(code=4401))
    assert ["Pong", "CloseConnection"] == [type(reply).__name__ for reply in page.replies()]
    assert (4401, 7) == (page.frames.close_code, page.frames.retry_ms)


def test_a_websocket_that_sends_bytes() -> None:
    """The service sends text; anything else is told."""
    with pytest.raises(RemoteProtocolError):
        Page().take(BytesMessage(data=b"x"))


# One answer.


class Ear:
    """A hearer that takes notes."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def answered(self, status: int) -> None:
        self.notes.append(status)

    def heard(self, item: Item) -> None:
        self.notes.append(item.id)

    def over(self, how: str, retry_ms: int | None, *, malformed: bool) -> None:
        self.notes.append((how, retry_ms, malformed))


def answer(transport: Transport = Transport.SSE) -> tuple[Answer, Ear]:
    """Give an answer, and who hears it."""
    ear = Ear()
    return Answer(Ask(transport, "s", lambda: "t"), ear), ear


def test_an_answer() -> None:
    """Its status, its items, its end, each once, and how long to wait."""
    given, ear = answer()
    given.begin(200)
    given.take(b"retry: 5\n\nid: 1\n\n")
    given.end("ended")
    given.end("cut")
    assert [200, "1", ("ended", 5, False)] == ear.notes


def test_an_answer_that_is_cut_off() -> None:
    """After so many bytes nothing more is heard; what was not finished by then was never seen."""
    ear = Ear()
    given = Answer(Ask(Transport.SSE, "s", lambda: "t", bytes=10), ear)
    given.begin(200)
    given.take(b"id: 1\n")
    with pytest.raises(CutOff):
        given.take(b"\nid: 2\n\n")
    assert [200, "1"] == ear.notes


def test_an_answer_that_is_no_stream() -> None:
    """The body of a refusal is not read."""
    given, ear = answer()
    given.begin(404)
    given.take(b"id: 1\n\n")
    assert [404] == ear.notes


def test_an_answer_that_was_let_go_of() -> None:
    """Who has left hears nothing; a page that leaves closes its WebSocket."""
    given, ear = answer(Transport.WEBSOCKET)
    given.begin(101)
    assert b"" != given.drop()
    given.end("cut")
    assert [101] == ear.notes


@pytest.mark.parametrize("data", [b"\x81\x03abc", b"\x81\x02{}", b"\x82\x01x", b"\xff\x00"])
def test_an_answer_that_cannot_be_read(data: bytes) -> None:
    """What is no frame, or no message of ours, is told."""
    given, _ = answer(Transport.WEBSOCKET)
    given.begin(101)
    with pytest.raises(Malformed):
        given.take(data)


def test_where_the_last_id_goes() -> None:
    """A header for an event stream; for a WebSocket the address, where a page can put it."""
    sse, websocket = (Ask(each, "a/b c", lambda: "t", "v1.0") for each in Transport)
    assert ("/v1/sessions/a/b%20c/events", ("last-event-id", "v1.0")) == (sse.path, sse.headers()[-1])
    assert "/v1/sessions/a/b%20c/ws?last_event_id=v1.0" == websocket.path
    assert [("authorization", "Bearer t")] == websocket.headers()


# One client.


class Line:
    """A link that does nothing, and remembers what was done to it."""

    def __init__(self, ask: Ask, hearer: Hearer) -> None:
        self.ask = ask
        self.hearer = hearer
        self.done: list[str] = []

    def leave(self) -> None:
        self.done.append("leave")

    def vanish(self) -> None:
        self.done.append("vanish")

    def stall(self) -> None:
        self.done.append("stall")

    def resume(self) -> None:
        self.done.append("resume")

    def say(self, *names: str, id_: str = "", **fields: Any) -> None:
        """Let the service say something."""
        self.hearer.answered(200)
        for name in names:
            self.hearer.heard(Item(name, json.dumps(fields), id_))


class Exchange:
    """A dial that gives lines, one client that uses it, and tokens that are numbered."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.broken = False
        self.cut_at_once = -1
        self.tokens = iter("abcdefg")
        self.ledger = Ledger("ada", "s", lambda: 0.0)
        self.client = Client(
            self.ledger, Transport.SSE, self.dial, lambda: next(self.tokens), random.Random(7), hurry=1e-6
        )

    async def dial(self, ask: Ask, hearer: Hearer) -> Line:
        if self.broken:
            self.broken = False
            raise ConnectionRefusedError
        self.lines.append(line := Line(ask, hearer))
        if len(self.lines) - 1 == self.cut_at_once:
            hearer.over("cut", 0, malformed=False)
        return line

    async def line(self, number: int = 0) -> Line:
        """Wait for the client to dial so often."""
        await settled(lambda: len(self.lines) > number)
        return self.lines[number]


@pytest.fixture
async def exchange() -> Exchange:
    """A client that comes for the first time."""
    made = Exchange()
    made.client.come()
    return made


async def test_coming_back_with_the_last_id(exchange: Exchange) -> None:
    """Whatever the newest id came with; a fresh token each time."""
    line = await exchange.line()
    line.say(READY, "message", id_="1")
    line.say(POSITION, id_="2")
    line.say(DISCONNECT, reconnect=True)
    line.hearer.over("ended", 3, malformed=False)
    assert ("2", "a") == ((await exchange.line(1)).ask.last_id, exchange.lines[1].ask.token())


async def test_coming_back_to_who_does_not_answer(exchange: Exchange) -> None:
    """A refused connection is one that ended."""
    line = await exchange.line()
    exchange.broken = True
    line.hearer.over("cut", None, malformed=False)
    assert "" == (await exchange.line(1)).ask.last_id
    assert "could not connect" in exchange.ledger.story


@pytest.mark.parametrize(
    "happens, final",
    [
        (lambda line: line.say(END, id_="3.end"), "the session ended"),
        (lambda line: line.say(DISCONNECT, reconnect=False, reason="bad"), "told to stay away: bad"),
        (lambda line: line.hearer.answered(403), "answered with 403"),
        (lambda line: line.hearer.answered(503), "answered with 503"),
    ],
)
async def test_staying_away(exchange: Exchange, happens: Callable[[Line], None], final: str) -> None:
    """After the end, when told so, and after every status but that of a stream."""
    line = await exchange.line()
    happens(line)
    line.hearer.over("ended", 0, malformed=False)
    exchange.client.come()
    await asyncio.sleep(0)
    assert (final, 1) == (exchange.client.final, len(exchange.lines))


@pytest.mark.parametrize("how", ["leave", "vanish"])
async def test_going_for_a_while(exchange: Exchange, how: str) -> None:
    """Who goes hears nothing more of that connection, and comes back on another."""
    line = await exchange.line()
    line.say(READY, id_="1")
    getattr(exchange.client, how)(0.0)
    line.say("message", id_="2")
    line.hearer.over("cut", None, malformed=False)
    assert ("1", [how]) == ((await exchange.line(1)).ask.last_id, line.done)


async def test_going_for_good(exchange: Exchange) -> None:
    """Who goes without a time does not come back."""
    await exchange.line()
    exchange.client.leave()
    exchange.client.come()
    assert ("left", False) == (exchange.client.final, exchange.client.connected)


async def test_going_before_there_was_an_answer() -> None:
    """A client that goes while it dials vanishes as soon as it can, and comes back on another connection."""
    exchange = Exchange()
    exchange.client.come()
    exchange.client.vanish(0.0)
    exchange.client.come()
    await exchange.line(1)
    assert [["vanish"], []] == [line.done for line in exchange.lines]


async def test_a_connection_that_ends_while_it_begins(exchange: Exchange) -> None:
    """Also who is cut before the dial returns comes back."""
    exchange.cut_at_once = 1
    (await exchange.line()).hearer.over("cut", 0, malformed=False)
    await exchange.line(2)
    assert 3 == exchange.ledger.connections


async def test_stalling(exchange: Exchange) -> None:
    """Takes nothing for a while, then again."""
    line = await exchange.line()
    await settled(lambda: exchange.client._visit is not None and exchange.client._visit.link is line)
    exchange.client.stall(0.0)
    await settled(lambda: len(line.done) == 2)
    assert ["stall", "resume"] == line.done
