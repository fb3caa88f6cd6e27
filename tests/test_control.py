"""What the service itself says: the table, and the same words on both transports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import BODY, EPOCH, Block, FakeRecord, append, make_tail
from tailrace import control
from tailrace.encoding import FORMATS, Framing, chunk, frame
from tailrace.errors import ComeBack, Forbidden, GoingAway, SessionEnded
from tailrace.position import Position
from tailrace.wire import texts_of_frames

CHUNKS, FRAMES = FORMATS[Framing.CHUNKS], FORMATS[Framing.FRAMES]
POSITION = Position((EPOCH,), ((5, 6),))
ID = POSITION.text()

FIELDS: dict[str, dict[str, Any]] = {
    control.READY: {
        "id": ID,
        "session": "org/7",
        "resumed": False,
        "encoding": "text",
        "continuity": "complete",
        "heartbeat_seconds": 15.0,
        "expires_in_seconds": 300,
    },
    control.LIVE: {"id": ID, "replayed": 3},
    control.RESET: {"id": ID, "reason": "bounded", "requested": "v1.x\n\ndata: y"},
    control.SKIPPED: {"id": ID, "reason": "not_text", "topic": "t", "partition": 1, "offset": 5},
    control.POSITION: {"id": ID},
    control.END: {"id": ID + ".end"},
    control.REFRESH: {"expires_in_seconds": 30},
    control.DISCONNECT: {"id": ID, "code": 1001, "reason": "going away", "reconnect": True, "retry_after_ms": 1500},
}


def blocks(data: bytes) -> list[Block]:
    """Read an event stream."""
    return Block.all(data.decode())


def messages(data: bytes) -> list[dict[str, Any]]:
    """Read WebSocket frames."""
    return [json.loads(text) for text in texts_of_frames(data)]


def test_table_is_pinned() -> None:
    """Names and fields are what clients were written against: more may come, none may go."""
    assert {name: tuple(fields) for name, fields in FIELDS.items()} == dict(control.TABLE)


@pytest.mark.parametrize("name", FIELDS)
def test_over_sse_it_is_a_named_event(name: str) -> None:
    """With an ``id:`` line exactly where it carries an id, so that the browser's last id moves with it."""
    [block] = blocks(control.write(BODY, name, **FIELDS[name]))
    assert (block.event, block.id, json.loads(block.data)) == (name, FIELDS[name].get("id"), FIELDS[name])


@pytest.mark.parametrize("name", FIELDS)
def test_over_websocket_the_same_json_has_a_name(name: str) -> None:
    """The same fields, beside ``control``."""
    assert messages(control.write(FRAMES, name, **FIELDS[name])) == [{"control": name, **FIELDS[name]}]


@pytest.mark.parametrize("format_", [BODY, FRAMES], ids=["sse", "websocket"])
def test_id_may_be_a_position(format_: Any) -> None:
    """It is written as its text."""
    by_position = control.write(format_, control.POSITION, id=POSITION)
    assert by_position == control.write(format_, control.POSITION, id=ID)


@pytest.mark.parametrize(
    "fields", [{}, {"id": ID}, {"replayed": 1, "id": ID}, {"id": ID, "replayed": 1, "more": 2}, {"id": ID, "n": 1}]
)
def test_other_fields_are_a_mistake(fields: dict[str, Any]) -> None:
    """What is not in the table cannot be written; the message names the event and its fields."""
    with pytest.raises(ValueError, match=r"tailrace\.live carries \('id', 'replayed'\), not "):
        control.write(BODY, control.LIVE, **fields)


def test_skipped_carries_what_the_table_says() -> None:
    """It is written elsewhere, about a record, and is held to the same table."""
    [event] = append(make_tail(), FakeRecord(4, value=b"\xff"))
    [block] = blocks(BODY.event(event, event.id))
    assert (block.event, tuple(json.loads(block.data))) == (control.SKIPPED, control.TABLE[control.SKIPPED])


# How a stream opens.


def test_jitter_is_half_around() -> None:
    """Half to one and a half, and not always the same: whoever was cut together does not come back together."""
    times = [control.jittered_ms(2000) for _ in range(1000)]
    assert (min(times) >= 1000, max(times) <= 3000) == (True, True)
    assert (min(times) < 1300, max(times) > 2700) == (True, True)


def test_sse_opens_with_its_own_retry() -> None:
    """A whole number of milliseconds around `RETRY_MS`, in a block of its own, which is no event."""
    name, _, value = control.opening(BODY).decode().partition(": ")
    assert (name, value[-2:], abs(int(value) - control.RETRY_MS) <= control.RETRY_MS / 2) == ("retry", "\n\n", True)


def test_websocket_opens_with_nothing() -> None:
    """It has no ``retry:``; `tailrace.disconnect` says when to come back."""
    assert control.opening(FRAMES) == b""


def test_retry_is_framed() -> None:
    """Over chunks it is one chunk."""
    assert control.retry(CHUNKS, 1500) == chunk(b"retry: 1500\n\n")


# Signs of life.


def test_a_ping_is_a_ping() -> None:
    """Opcode 9, and nothing in it (RFC 6455 section 5.5.2)."""
    assert control.PING == frame(b"", 9)


@pytest.mark.parametrize(
    "framing,moved_to,expected",
    [
        (Framing.BODY, None, b":\n\n"),
        (Framing.BODY, POSITION, b"id: %b\n\n" % ID.encode()),
        (Framing.CHUNKS, None, chunk(b":\n\n")),
        (Framing.CHUNKS, POSITION, chunk(b"id: %b\n\n" % ID.encode())),
        (Framing.FRAMES, None, b"\x89\x00"),
        (Framing.FRAMES, POSITION, b"\x89\x00" + frame(b'{"control":"tailrace.position","id":"%b"}' % ID.encode())),
    ],
)
def test_heartbeat(framing: Framing, moved_to: Position | None, expected: bytes) -> None:
    """A comment or an ``id:``-only block; a ping, and `tailrace.position` where the position moved."""
    assert control.heartbeat(FORMATS[framing], moved_to) == expected


# Farewells.


def test_disconnect_over_sse_governs_the_browser() -> None:
    """``retry:`` comes with it, and says the same as the event."""
    data = control.disconnect(BODY, GoingAway(), POSITION, 1500)
    [block] = blocks(data)
    assert data.startswith(b"retry: 1500\n\n")
    assert (block.event, block.id, json.loads(block.data)) == (control.DISCONNECT, ID, FIELDS[control.DISCONNECT])


def test_disconnect_over_websocket() -> None:
    """The same fields, and no ``retry:``."""
    assert messages(control.disconnect(FRAMES, GoingAway(), POSITION, 1500)) == [
        {"control": control.DISCONNECT, **FIELDS[control.DISCONNECT]}
    ]


def test_disconnect_without_an_id_leaves_the_clients_alone() -> None:
    """Who was not admitted keeps the id that it came with: no ``id:`` line, no ``id``."""
    [block] = blocks(control.disconnect(BODY, ComeBack("not ready"), None, 1500))
    fields = json.loads(block.data)
    assert (block.id, tuple(fields)) == (None, control.TABLE[control.DISCONNECT][1:])


@pytest.mark.parametrize(
    "why,code,reason,reconnect",
    [
        (GoingAway(), 1001, "going away", True),
        (SessionEnded(), 1000, "session ended", False),
        (ComeBack("the tail is cold"), 1013, "the tail is cold", True),
        (Forbidden(), 4403, "insufficient_scope", False),
    ],
)
def test_disconnect_says_why(why: Any, code: int, reason: str, reconnect: bool) -> None:
    """Code, reason and whether to come back are the error's own; without a detail, its word."""
    fields = control.disconnect_fields(why, POSITION, 7)
    assert (tuple(fields), fields) == (
        control.TABLE[control.DISCONNECT],
        {"id": ID, "code": code, "reason": reason, "reconnect": reconnect, "retry_after_ms": 7},
    )
