"""WebSocket frames by the book, over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441): one table, every rule a row.

The groups, and most rows, follow the public list of cases of the Autobahn test suite. A row says what a client sends
and what must come back from an application that echoes. Each is played twice: all at once, to one that sends by ASGI,
and byte by byte, to one that writes to its wire. Beside it is a sibling, over HTTP/2 on the same connection, which must
not notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from framing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HTTP1,
    HTTP2,
    NO_STATUS,
    PING,
    PONG,
    TEXT,
    Echo,
    Frame,
    Peer,
    close,
    fragments,
    frame,
    head,
    peers,
)
from serving import serving
from tailrace.server.settings import MAX_MESSAGE_BYTES

WHOLE_ONLY_BYTES = 2000
"""What is longer than this is not sent byte by byte: that takes a second for 64 KiB, and shows nothing new."""


@dataclass(frozen=True)
class Case:
    """A row. ``echoes`` are (opcode, payload). With ``ends`` what is sent makes the server close with this code;
    without it the client closes when all has come."""

    rule: str
    sends: Sequence[bytes]
    echoes: Sequence[tuple[int, bytes]] = ()
    pongs: Sequence[bytes] = ()
    ends: int | None = None
    section: str = "5.2"


def says(opcode: int, payload: bytes, rule: str, *parts: bytes, section: str = "5.6") -> Case:
    """Make the row of one message, whole or in ``parts``, that comes back."""
    sends = fragments(opcode, *parts) if parts else [frame(opcode, payload)]
    return Case(rule, sends, [(opcode, payload)], section=section)


# 1 Framing.


def framing() -> Iterator[Case]:
    """Lengths and masks."""
    for opcode, kind, byte in ((TEXT, "text", b"*"), (BINARY, "binary", b"\xfe")):
        for size in (0, 1, 125, 126, 127, 128, 65535, MAX_MESSAGE_BYTES):
            yield says(opcode, byte * size, f"{kind} of {size} bytes")
    yield Case("mask of zeros", [frame(TEXT, b"hi", mask=b"\0\0\0\0")], [(TEXT, b"hi")], section="5.3")
    yield Case("text without a mask", [frame(TEXT, b"hi", mask=None)], ends=1002, section="5.1")
    yield Case("ping without a mask", [frame(PING, mask=None)], ends=1002, section="5.1")
    yield Case("close without a mask", [frame(CLOSE, b"\x03\xe8", mask=None)], ends=1002, section="5.1")
    yield Case("length in 2 bytes where 1 would do", [head(TEXT, 125, width=2)], ends=1002)
    yield Case("length in 8 bytes where 2 would do", [head(TEXT, 65535, width=8)], ends=1002)
    yield Case("length with its highest bit set", [head(TEXT, 1 << 63)], ends=1002)


# 2 Pings and pongs.


def pings() -> Iterator[Case]:
    """Pings are answered with what they carry, in order; pongs are not."""
    rule = "5.5.2"
    yield Case("empty ping", [frame(PING)], pongs=[b""], section=rule)
    yield Case("ping with text", [frame(PING, b"Hello, world!")], pongs=[b"Hello, world!"], section=rule)
    yield Case("ping with bytes", [frame(PING, b"\0\xff\xfe\xfd\0")], pongs=[b"\0\xff\xfe\xfd\0"], section=rule)
    yield Case("ping of 125 bytes", [frame(PING, b"\xfe" * 125)], pongs=[b"\xfe" * 125], section=rule)
    yield Case("ping of 126 bytes", [frame(PING, b"\xfe" * 126)], ends=1002, section="5.5")
    yield Case("ping whose length is in 8 bytes", [head(PING, 1 << 16)], ends=1002, section="5.5")
    yield Case("unasked pong", [frame(PONG)], section="5.5.3")
    yield Case("unasked pong with bytes", [frame(PONG, b"\xff" * 125)], section="5.5.3")
    yield Case("pong of 126 bytes", [frame(PONG, b"x" * 126)], ends=1002, section="5.5")
    yield Case("unasked pong, then ping", [frame(PONG, b"no"), frame(PING, b"yes")], pongs=[b"yes"], section="5.5.3")
    ten = [b"payload %d" % number for number in range(10)]
    yield Case("ten pings", [frame(PING, each) for each in ten], pongs=ten, section=rule)


# 3 Reserved bits.


def reserved_bits() -> Iterator[Case]:
    """No extension was agreed on, so all of them are 0."""
    for rsv in range(1, 8):
        yield Case(f"reserved bits {rsv:03b} of a text", [frame(TEXT, b"hi", rsv=rsv)], ends=1002)
    yield Case("reserved bit of an empty text", [frame(TEXT, rsv=4)], ends=1002)
    yield Case("reserved bit of a binary", [frame(BINARY, b"\0", rsv=5)], ends=1002)
    yield Case("reserved bit of a ping", [frame(PING, b"hi", rsv=6)], ends=1002)
    yield Case("reserved bit of a pong", [frame(PONG, b"hi", rsv=1)], ends=1002)
    yield Case("reserved bit of a close", [frame(CLOSE, b"\x03\xe8", rsv=7)], ends=1002)
    first, last = frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", rsv=4)
    yield Case("reserved bit of a continuation", [first, last], ends=1002)
    yield Case("pings before it are answered", [frame(PING, b"1"), frame(TEXT, rsv=2)], pongs=[b"1"], ends=1002)


# 4 Opcodes.


def opcodes() -> Iterator[Case]:
    """Five are in use; the rest is reserved."""
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"opcode {opcode}", [frame(opcode)], ends=1002)
        yield Case(f"opcode {opcode} with bytes", [frame(opcode, b"reserved")], ends=1002)
        between = [frame(TEXT, b"a", fin=False), frame(opcode, b"b"), frame(CONTINUATION, b"c")]
        yield Case(f"opcode {opcode} between fragments", between, ends=1002)


# 5 Fragments.


def fragmentation() -> Iterator[Case]:
    """Messages may be cut; control frames may not, but may come between."""
    rule = "5.4"
    yield Case("ping in two", fragments(PING, b"a", b"b"), ends=1002, section=rule)
    yield Case("pong in two", fragments(PONG, b"a", b"b"), ends=1002, section=rule)
    yield Case("close in two", fragments(CLOSE, b"\x03", b"\xe8"), ends=1002, section=rule)
    yield says(TEXT, b"onetwo", "text in two", b"one", b"two", section=rule)
    yield says(BINARY, b"\0\1\2", "binary in three", b"\0", b"\1", b"\2", section=rule)
    yield says(TEXT, b"", "text in three empty ones", b"", b"", b"", section=rule)
    yield says(BINARY, b"", "binary in two empty ones", b"", b"", section=rule)
    yield says(TEXT, b"middle", "text between empty ones", b"", b"middle", b"", section=rule)
    yield says(TEXT, b"0123456789" * 10, "text in a hundred", *[b"%d" % (at % 10) for at in range(100)], section=rule)
    cut = [b"x" * 1300] * 50
    yield says(BINARY, b"x" * 65000, "binary of 65000 bytes in fifty", *cut, section=rule)
    one, two = fragments(TEXT, b"one", b"two")
    onetwo = [(TEXT, b"onetwo")]
    yield Case("ping between fragments", [one, frame(PING, b"p"), two], onetwo, [b"p"], section=rule)
    yield Case("pong between fragments", [one, frame(PONG, b"p"), two], onetwo, section=rule)
    five = fragments(TEXT, b"1", b"2", b"3", b"4", b"5")
    between = [piece for each in five for piece in (each, frame(PING, b"a"), frame(PING, b"b"))]
    yield Case("two pings after each of five", between, [(TEXT, b"12345")], [b"a", b"b"] * 5, section=rule)
    yield Case("close between fragments", [one, close(1001)], ends=1001, section=rule)
    for fin in (True, False):
        lonely = frame(CONTINUATION, b"what?", fin=fin)
        name = "last" if fin else "first"
        yield Case(f"continuation of nothing, {name}", [lonely], ends=1002, section=rule)
        yield Case(f"continuation of nothing, {name}, then text", [lonely, frame(TEXT)], ends=1002, section=rule)
        after = [one, two, lonely]
        yield Case(f"continuation of a whole message, {name}", after, onetwo, ends=1002, section=rule)
        yield Case(f"text within a message, {name}", [one, frame(TEXT, b"t", fin=fin)], ends=1002, section=rule)
        yield Case(f"binary within a text, {name}", [one, frame(BINARY, b"t", fin=fin)], ends=1002, section=rule)
        begun = frame(BINARY, b"b", fin=False)
        yield Case(f"text within a binary, {name}", [begun, frame(TEXT, b"t", fin=fin)], ends=1002, section=rule)


# 6 UTF-8.

VALID = {
    "Greek": "κόσμε".encode(),
    "a little of everything": "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    "NUL": b"\0",
    "first of two bytes": b"\xc2\x80",
    "first of three bytes": b"\xe0\xa0\x80",
    "first of four bytes": b"\xf0\x90\x80\x80",
    "last of one byte": b"\x7f",
    "last of two bytes": b"\xdf\xbf",
    "last of three bytes": b"\xef\xbf\xbf",
    "last of all": b"\xf4\x8f\xbf\xbf",
    "last before the surrogates": b"\xed\x9f\xbf",
    "first after the surrogates": b"\xee\x80\x80",
    "replacement character": b"\xef\xbf\xbd",
    "byte order mark": b"\xef\xbb\xbfx",
    **{f"noncharacter U+{point:X}": chr(point).encode() for point in (0xFDD0, 0xFFFE, 0x1FFFE, 0x8FFFF, 0x10FFFE)},
}
INVALID = {
    "first of five bytes": b"\xf8\x88\x80\x80\x80",
    "first of six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "last of four bytes": b"\xf7\xbf\xbf\xbf",
    "last of five bytes": b"\xfb\xbf\xbf\xbf\xbf",
    "last of six bytes": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "first beyond Unicode": b"\xf4\x90\x80\x80",
    **{f"lone continuation {byte:X}": bytes([byte]) for byte in (0x80, 0x90, 0xBF)},
    "many continuations": bytes(range(0x80, 0xC0)),
    **{f"lone start {byte:X}": bytes([byte, 0x20]) for byte in (0xC0, 0xC2, 0xDF, 0xE0, 0xEF, 0xF0, 0xF4, 0xF8, 0xFC)},
    **{f"start {start[0]:X} without its last": start for start in (b"\xdf", b"\xe0\xa0", b"\xef\xbf", b"\xf0\x90\x80")},
    **{f"impossible {byte:X}": bytes([byte]) for byte in (0xC0, 0xC1, 0xF5, 0xFE, 0xFF)},
    "overlong slash in two": b"\xc0\xaf",
    "overlong slash in three": b"\xe0\x80\xaf",
    "overlong slash in four": b"\xf0\x80\x80\xaf",
    "overlong slash in five": b"\xf8\x80\x80\x80\xaf",
    "overlong slash in six": b"\xfc\x80\x80\x80\x80\xaf",
    "longest overlong in two": b"\xc1\xbf",
    "longest overlong in three": b"\xe0\x9f\xbf",
    "longest overlong in four": b"\xf0\x8f\xbf\xbf",
    "overlong NUL in two": b"\xc0\x80",
    "overlong NUL in three": b"\xe0\x80\x80",
    "overlong NUL in four": b"\xf0\x80\x80\x80",
    "first high surrogate": b"\xed\xa0\x80",
    "last high surrogate": b"\xed\xaf\xbf",
    "first low surrogate": b"\xed\xb0\x80",
    "last low surrogate": b"\xed\xbf\xbf",
    "pair of surrogates": b"\xed\xa0\x81\xed\xb0\x80",
    "Greek, and a surrogate": "κόσμε".encode() + b"\xed\xa0\x80edited",
}


def utf8() -> Iterator[Case]:
    """Text is UTF-8 (RFC 3629), as a whole; what is not is 1007, as soon as it is known."""
    rule = "8.1"
    for name, text in VALID.items():
        pieces = [text[at : at + 1] for at in range(len(text))]
        yield says(TEXT, text, f"valid: {name}", section=rule)
        yield says(TEXT, text, f"valid, a fragment each byte: {name}", *pieces, section=rule)
    for name, text in INVALID.items():
        pieces = [text[at : at + 1] for at in range(len(text))]
        yield Case(f"invalid: {name}", [frame(TEXT, text)], ends=1007, section=rule)
        yield Case(f"invalid, a fragment each byte: {name}", fragments(TEXT, *pieces), ends=1007, section=rule)
    yield says(BINARY, b"".join(INVALID.values()), "all that is invalid, in a binary", section=rule)
    for name in ("first beyond Unicode", "overlong slash in two", "first high surrogate", "Greek, and a surrogate"):
        text = INVALID[name]
        yield Case(f"known before the frame ends: {name}", [_begun(text)], ends=1007, section=rule)
        yield Case(f"known before the message ends: {name}", [frame(TEXT, text, fin=False)], ends=1007, section=rule)
    greek = "κόσμε".encode()
    for size in range(1, len(greek)):
        if size % 2:  # Greek letters have two bytes
            yield Case(f"cut off after {size} bytes", [frame(TEXT, greek[:size])], ends=1007, section=rule)
    yield Case("cut off at a fragment", fragments(TEXT, greek[:3], b""), ends=1007, section=rule)
    yield says(TEXT, greek, "cut within a letter, and gone on", greek[:3], greek[3:], section=rule)


def _begun(text: bytes) -> bytes:
    """Write the beginning of a frame that goes on for another 100 bytes."""
    return head(TEXT, len(text) + 100) + frame(TEXT, text)[6:]


# 7 Closing.

GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def closing() -> Iterator[Case]:
    """A close is answered at once, with its code; one that may not be is 1002; nothing follows."""
    yield Case("close without a code", [frame(CLOSE)], ends=NO_STATUS, section="5.5.1")
    yield Case("close of one byte", [frame(CLOSE, b"\x03")], ends=1002, section="5.5.1")
    yield Case("close of 125 bytes", [close(1000, b"x" * 123)], ends=1000, section="5.5.1")
    yield Case("close of 126 bytes", [close(1000, b"x" * 124)], ends=1002, section="5.5")
    yield Case("close with a reason", [close(1000, "κόσμε".encode())], ends=1000, section="5.5.1")
    yield Case("close with a reason that is not UTF-8", [close(1000, b"\xed\xa0\x80")], ends=1007, section="5.5.1")
    yield Case("close with a reason that is cut off", [close(1000, b"\xce")], ends=1007, section="5.5.1")
    for code in GOOD_CODES:
        yield Case(f"code {code}", [close(code)], ends=code, section="7.4")
        yield Case(f"code {code} with a reason", [close(code, b"enough")], ends=code, section="7.4")
    for code in BAD_CODES:
        yield Case(f"code {code} may not be sent", [close(code)], ends=1002, section="7.4")
        yield Case(f"code {code} may not be sent, reason or not", [close(code, b"why")], ends=1002, section="7.4")
    yield Case("second close", [close(1000), close(1001)], ends=1000, section="5.5.1")
    yield Case("ping after the close", [close(1000), frame(PING)], ends=1000, section="5.5.1")
    yield Case("text after the close", [close(1000), frame(TEXT, b"late")], ends=1000, section="5.5.1")
    yield Case("nonsense after the close", [close(1000), b"\xff" * 200], ends=1000, section="5.5.1")
    yield Case("nonsense after nonsense", [b"\xff" * 200, close(1000)], ends=1002, section="7.1.7")
    yield Case("pings before the close", [frame(PING, b"1"), close(3000)], pongs=[b"1"], ends=3000, section="5.5.2")


# 9 Limits.


def limits() -> Iterator[Case]:
    """The largest message is counted in bytes, and refused by its length, before it has come (settings)."""
    rule = "7.4.1"
    letters = "é" * (MAX_MESSAGE_BYTES // 2)
    yield says(TEXT, letters.encode(), "as many bytes as allowed, half as many letters", section=rule)
    yield Case("one byte too many", [head(TEXT, MAX_MESSAGE_BYTES + 1)], ends=1009, section=rule)
    yield Case("one byte too many, binary", [head(BINARY, MAX_MESSAGE_BYTES + 1)], ends=1009, section=rule)
    yield Case("as large as can be said", [head(BINARY, (1 << 63) - 1)], ends=1009, section=rule)
    first = frame(TEXT, "é".encode() * 20_000, fin=False)
    yield Case("fewer letters, too many bytes", [first, head(CONTINUATION, 30_000)], ends=1009, section=rule)
    cut = frame(BINARY, b"x" * 30_000, fin=False), frame(CONTINUATION, b"x" * 30_000, fin=False)
    yield Case("too large in fragments", [*cut, head(CONTINUATION, 5_537)], ends=1009, section=rule)


GROUPS = {
    "1": framing,
    "2": pings,
    "3": reserved_bits,
    "4": opcodes,
    "5": fragmentation,
    "6": utf8,
    "7": closing,
    "9": limits,
}
"""12 and 13 are about compression, which is declined; 8 is empty, 10 is "binary of 65000 bytes in fifty"."""
CASES = [
    pytest.param(case, id=f"{group} {case.rule} (RFC 6455 section {case.section})")
    for group, rows in GROUPS.items()
    for case in rows()
]


@pytest.mark.parametrize("protocol", [HTTP1, HTTP2])
@pytest.mark.parametrize("case", CASES)
async def test_frames(case: Case, protocol: str) -> None:
    """What comes back is what the row says, however it was cut and whoever echoes; the sibling goes on."""
    small = sum(map(len, case.sends)) < WHOLE_ONLY_BYTES
    async with serving(Echo()) as here:
        for path, slowly in (("/send", False), ("/wire", small)):
            async with peers(here, protocol, path, path) as (peer, sibling):
                await play(case, peer, slowly=slowly)
                check(case, await peer.rest())
                await sibling.echo(b"still here")


async def play(case: Case, peer: Peer, *, slowly: bool) -> None:
    """Send what the row says; where that does not end the socket, wait for what it says, and close."""
    for data in case.sends:
        await (peer.send_slowly if slowly else peer.send)(data)
    if case.ends is None:
        await peer.until(lambda: len(peer.frames) >= len(case.echoes) + len(case.pongs))
        await peer.send(close(1000))


def check(case: Case, frames: Sequence[Frame]) -> None:
    """Compare, kind by kind: an echo may come before or after a pong."""
    kinds = {opcode: [each for each in frames if each.opcode == opcode] for opcode in (TEXT, BINARY, PONG, CLOSE)}
    assert [case.ends or 1000] == [each.code for each in kinds[CLOSE]]
    assert list(case.pongs) == [each.payload for each in kinds[PONG]]
    echoes = [(each.opcode, each.payload) for each in kinds[TEXT] + kinds[BINARY]]
    assert echoes == list(case.echoes) or (case.ends and not echoes)  # the close may be faster
    assert frames[-1].opcode == CLOSE
