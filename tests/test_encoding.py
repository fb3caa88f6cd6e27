"""Events on the wire: what a browser, an HTTP client and a WebSocket client read is what the record said."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from builders import BODY, DECODER, EPOCH, FakeRecord
from tailrace.encoding import FORMATS, Format, Framing, chunk, frame
from tailrace.event import Arrival, Decoder, Event, Kind
from tailrace.position import Position

CHUNKS, FRAMES = FORMATS[Framing.CHUNKS], FORMATS[Framing.FRAMES]
LINES = st.text(st.sampled_from("\r\n:ax ") | st.characters(exclude_categories=["Cs"]), max_size=30)
TRICKS = st.sampled_from(["\n\nid: 1\ndata: x\n\n", "\r\rretry: 1\r\r", "\r\nevent: error\r\n", "\ufeffdata: x", ":\n"])


def arrival() -> Arrival:
    """Begin a stretch of partition 1 of topic ``t``."""
    return Arrival(Position((EPOCH,), ((10, 20),)), 0, "t", 1)


def event_of(value: bytes | None, type_: bytes | None = None, offset: int = 24) -> Event:
    """Decode a record with this value and type."""
    headers = [] if type_ is None else [("event", type_)]
    return DECODER.decode(FakeRecord(offset, value=value, headers=headers), arrival())


def encoded(format_: Format, event: Event) -> bytes:
    """Encode with the event's own id."""
    return format_.event(event, event.id)


# What foreign readers make of it.


@dataclass(frozen=True)
class Message:
    """A `MessageEvent`."""

    last_event_id: str
    type: str
    data: str


class EventSource:
    """Interprets an event stream by the letter of the HTML Living Standard, section 9.2.6."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.retries: list[str] = []
        self._last_event_id = self._type = self._data = ""

    def read(self, stream: bytes) -> EventSource:
        for line in re.split(r"\r\n|\n|\r", stream.decode().removeprefix("\ufeff"))[:-1]:
            if not line:
                self._dispatch()
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                self._process(name, value.removeprefix(" "))
        return self

    def _process(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retries.append(value)

    def _dispatch(self) -> None:
        if self._data:
            self.messages.append(Message(self._last_event_id, self._type or "message", self._data.removesuffix("\n")))
        self._type = self._data = ""


def dechunked(stream: bytes) -> bytes:
    """Undo the chunked coding, strictly (RFC 9112 section 7.1)."""
    body = b""
    while stream:
        size, _, stream = stream.partition(b"\r\n")
        assert re.fullmatch(b"[1-9a-f][0-9a-f]*", size)
        length = int(size, 16)
        assert stream[length : length + 2] == b"\r\n"
        body, stream = body + stream[:length], stream[length + 2 :]
    return body


def frames_of(stream: bytes) -> list[tuple[Opcode, bytes]]:
    """Read whole frames with wsproto, as a client does."""
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(stream)
    found, payload = [], b""
    for part in protocol.received_frames():
        assert isinstance(part.payload, str | bytes | bytearray)
        payload += part.payload.encode() if isinstance(part.payload, str) else part.payload
        if part.frame_finished:
            assert part.message_finished
            found.append((part.opcode, payload))
            payload = b""
    assert not payload
    return found


def normalised(text: str) -> str:
    """Give ``text`` as an event stream can carry it."""
    return re.sub(r"\r\n|\r", "\n", text)


def test_message_over_sse() -> None:
    """Id, type and data, each on its line."""
    assert encoded(BODY, event_of(b"hi", b"token")) == f"id: v1.{EPOCH}.10.-25\nevent: token\ndata: hi\n\n".encode()


def test_message_without_a_type_over_sse() -> None:
    """No type, no ``event:`` line: a plain `message`."""
    assert encoded(BODY, event_of(b"hi")) == f"id: v1.{EPOCH}.10.-25\ndata: hi\n\n".encode()


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"a\r\nb"])
def test_line_break_is_one_more_data_line(data: bytes) -> None:
    """A line break of any kind inside the data begins a new ``data:`` line, never a field."""
    assert encoded(BODY, event_of(data)).endswith(b"\ndata: a\ndata: b\n\n")


@pytest.mark.parametrize(
    "data,expected",
    [
        (b"", ""),
        (b"\n", "\n"),
        (b"\r\n\r\n", "\n\n"),
        (b"\n\r", "\n\n"),
        (b" a ", " a "),
        (b"a\n", "a\n"),
        (b"\n\nid: 9\n\n", "\n\nid: 9\n\n"),
        (b"\x00", "\x00"),
        (b"a\xe2\x80\xa8b", "a\u2028b"),
    ],
)
def test_data_as_a_browser_reads_it(data: bytes, expected: str) -> None:
    """Every value arrives as one event, with its line breaks normalised and every space kept; the empty one too."""
    messages = EventSource().read(encoded(BODY, event_of(data))).messages
    assert messages == [Message(f"v1.{EPOCH}.10.-25", "message", expected)]


@given(st.lists(st.tuples(LINES | TRICKS, LINES | TRICKS), max_size=5))
def test_no_record_can_add_fields_or_events(records: list[tuple[str, str]]) -> None:
    """Whatever types and values say, each record is one event with its own id; one of ours if it must be skipped."""
    events = [event_of(value.encode(), type_.encode(), offset) for offset, (type_, value) in enumerate(records)]
    source = EventSource().read(b"".join(encoded(BODY, event) for event in events))
    expected = [
        (event.id.decode(), event.type or "message", normalised(value))
        for event, (_, value) in zip(events, records, strict=True)
        if event.kind is Kind.MESSAGE
    ]
    told = [each for each in source.messages if each.type != "tailrace.skipped"]
    assert expected == [(each.last_event_id, each.type, each.data) for each in told]
    assert (len(records), source.retries) == (len(source.messages), [])


@given(LINES | TRICKS, LINES | TRICKS)
def test_websocket_keeps_every_character(type_: str, value: str) -> None:
    """In JSON nothing is normalised: type and value are the record's."""
    event = event_of(value.encode(), type_.encode())
    [(opcode, payload)] = frames_of(encoded(FRAMES, event))
    said = json.loads(payload)
    fields = {"id": event.id.decode(), **({"event": event.type} if event.type else {}), "data": value}
    assert (opcode, event.kind is not Kind.MESSAGE or fields == said) == (Opcode.TEXT, True)


@given(st.binary(max_size=50))
def test_base64_survives_both_transports(value: bytes) -> None:
    """Any bytes at all come through as their base64."""
    event = Decoder(session_header=None, encoding="base64", max_event_bytes=100).decode(
        FakeRecord(1, value=value), arrival()
    )
    [message] = EventSource().read(encoded(BODY, event)).messages
    [(_, payload)] = frames_of(encoded(FRAMES, event))
    assert message.data == json.loads(payload)["data"] == event.data.decode()


# What is no message.


@pytest.mark.parametrize("format_", [BODY, CHUNKS, FRAMES], ids=lambda format_: format_.framing.value)
def test_end_has_no_bytes(format_: Format) -> None:
    """An end is said by the reader, when nothing comes after it, and only then."""
    assert encoded(format_, event_of(None)) == b""


SKIPPED = {"id": f"v1.{EPOCH}.10.-25", "reason": "not_text", "topic": "t", "partition": 1, "offset": 24}


def test_skipped_over_sse() -> None:
    """The client is told which record it missed, and its last id moves past it."""
    [message] = EventSource().read(encoded(BODY, event_of(b"\xff"))).messages
    assert (message.last_event_id, message.type) == (SKIPPED["id"], "tailrace.skipped")
    assert json.loads(message.data) == SKIPPED


def test_skipped_over_websocket() -> None:
    """The same fields beside the event's name."""
    [(_, payload)] = frames_of(encoded(FRAMES, event_of(b"\xff")))
    assert json.loads(payload) == {"control": "tailrace.skipped", **SKIPPED}


def test_control_event_without_an_id() -> None:
    """Where no id is carried there is no ``id:`` line, or it would wipe out the client's."""
    assert BODY.control("tailrace.x", {"n": 1}) == b'event: tailrace.x\ndata: {"n":1}\n\n'


def test_control_event_with_hostile_text() -> None:
    """What a client sent, and is told back, cannot break out of its line."""
    [message] = EventSource().read(BODY.control("tailrace.reset", {"requested": "\n\ndata: x\r\n"})).messages
    assert json.loads(message.data) == {"requested": "\n\ndata: x\r\n"}


# Framing.


@given(st.lists(LINES, min_size=1, max_size=4))
def test_chunks_are_the_body(values: list[str]) -> None:
    """Without their headers, chunks are the very bytes of the plain body."""
    events = [event_of(value.encode()) for value in values]
    chunks = b"".join(encoded(CHUNKS, event) for event in events)
    assert dechunked(chunks) == b"".join(encoded(BODY, event) for event in events)


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, 65_536])
def test_chunk_of_any_length(size: int) -> None:
    """The size is in hex, without leading zeros."""
    assert dechunked(chunk(b"x" * size)) == b"x" * size


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_frame_of_any_length(size: int) -> None:
    """Each of the three ways to write a length is used where RFC 6455 section 5.2 wants it."""
    assert frames_of(frame(b"x" * size) + frame(b"y")) == [(Opcode.TEXT, b"x" * size), (Opcode.TEXT, b"y")]


def test_ping_is_a_frame() -> None:
    """Opcode 9 (RFC 6455 section 5.5.2)."""
    assert frames_of(frame(b"", 0x9)) == [(Opcode.PING, b"")]


@pytest.mark.parametrize("framing", Framing)
def test_every_framing_has_its_format(framing: Framing) -> None:
    """A wire finds its format by its framing, and an event has a place for its bytes."""
    assert (FORMATS[framing].framing, hasattr(event_of(b""), framing.value)) == (framing, True)
