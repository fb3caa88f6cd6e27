"""An event, written for the wires: SSE text, HTTP/1.1 chunks, WebSocket frames.

Pure. Bytes are made down to the wire's own framing, so that all live readers of a session can share them and nothing
between the tail and the socket touches them again. What the service itself says is written here too; *what* it says is
in `control`.

    Event ──Format──▶ body | chunks | frames
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from tailrace.event import END, MESSAGE, Event

_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
_LF, _CR = b"\n\r"  # numbers: a byte is found seven times as fast as a string of one


class Framing(Enum):
    """What a wire expects its bytes to be."""

    BODY = "body"
    """Bytes of a response body, as they are (HTTP/2 DATA, or ASGI's ``send``)."""
    CHUNKS = "chunks"
    """Whole HTTP/1.1 chunks, headers included (RFC 9112 section 7.1)."""
    FRAMES = "frames"
    """Whole unmasked WebSocket frames (RFC 6455 section 5.2)."""


def chunk(data: bytes) -> bytes:
    """Wrap ``data``, which is not empty, as one HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """Wrap ``payload`` as one final, unmasked WebSocket frame; opcode 1 is text, 9 a ping (RFC 6455 section 11.8)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write events: the text, and the framing around it."""

    framing: Framing
    slot: str
    """Where an `Event` keeps its bytes in this format."""
    wrap: Callable[[bytes], bytes]
    write_event: Callable[[bytes, Event], bytes]
    write_control: Callable[[str, Mapping[str, Any]], bytes]

    def event(self, event: Event, id_: bytes) -> bytes:
        """Encode for one wire; empty for an end, and only for that: `reader` says it when nothing comes after it."""
        if event.kind is MESSAGE:
            return self.wrap(self.write_event(id_, event))
        if event.kind is END:
            return b""
        arrival = event.arrival
        fields = {"id": id_.decode(), "reason": event.type, "topic": arrival.topic_name}
        return self.control("tailrace.skipped", {**fields, "partition": arrival.partition, "offset": event.offset})

    def control(self, name: str, fields: Mapping[str, Any]) -> bytes:
        """Encode an event that the service itself makes."""
        return self.wrap(self.write_control(name, fields))


def _sse_event(id_: bytes, event: Event) -> bytes:
    """Write one event (HTML Living Standard section 9.2.5); a line break inside the data is one more ``data:`` line."""
    data = event.data
    if _LF in data or _CR in data:
        data = _LINE_BREAK.sub(b"\ndata: ", data)
    if event.type:
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (id_, event.type.encode(), data)
    return b"id: %b\ndata: %b\n\n" % (id_, data)


def _sse_control(name: str, fields: Mapping[str, Any]) -> bytes:
    id_line = b"id: %b\n" % fields["id"].encode() if "id" in fields else b""
    return b"%bevent: %b\ndata: %b\n\n" % (id_line, name.encode(), orjson.dumps(fields))


def _json_event(id_: bytes, event: Event) -> bytes:
    data = orjson.dumps(event.data.decode())
    if event.type:
        return b'{"id":"%b","event":%b,"data":%b}' % (id_, orjson.dumps(event.type), data)
    return b'{"id":"%b","data":%b}' % (id_, data)


def _json_control(name: str, fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"control": name, **fields})


def _as_it_is(data: bytes) -> bytes:
    return data


FORMATS: Mapping[Framing, Format] = {
    Framing.BODY: Format(Framing.BODY, "body", _as_it_is, _sse_event, _sse_control),
    Framing.CHUNKS: Format(Framing.CHUNKS, "chunks", chunk, _sse_event, _sse_control),
    Framing.FRAMES: Format(Framing.FRAMES, "frames", frame, _json_event, _json_control),
}
