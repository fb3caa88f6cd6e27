"""Floods by those who have no token: they read their answers and keep to every limit that the server names.

Whoever is cut comes back, so many times a second at most, as an attacker does.
"""

from __future__ import annotations

import asyncio

from attack.wires import TICK_SECONDS, Http1, Http2, Scene
from h2raw import text

COMEBACKS_PER_SECOND = 300.0
"""New connections a second, all attackers together, at size 1."""
SUBSCRIBE = "/v1/sessions/x/events"
GET, HTTP = b"\x82", b"\x86"
"""``:method GET`` and ``:scheme http`` in HPACK's static table (RFC 7541 appendix A)."""
LONGEST_ID = b"v1.00c0ffee" + b".1" * 1_940
"""An id of as many partitions as a compression table of 4096 bytes can remember beside a path."""


def remembered(name: bytes, value: bytes) -> bytes:
    """Return a field that the decoder keeps in its table (RFC 7541 section 6.2.1)."""
    return b"\x40" + text(name) + text(value)


def request(path: str, *fields: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a GET twice: as it is first said, and as it can be said again, a byte a field: the table has it then."""
    kept = [(b":authority", b"a"), (b":path", path.encode()), *fields]
    first = GET + HTTP + b"".join(remembered(*each) for each in kept)
    return first, GET + HTTP + bytes(0x80 | 61 + number for number in range(len(kept), 0, -1))


async def steady(scene: Scene, connections: int, rate: float, path: str = SUBSCRIBE, last_id: bytes = b"") -> None:
    """Send ``rate`` requests a second on each HTTP/2 connection."""
    first, again = request(path, *([(b"last-event-id", last_id)] if last_id else []))
    loop = asyncio.get_running_loop()
    scene.start()

    async def visit(wire: Http2) -> None:
        wire.ask(first)
        began, asked = loop.time(), 1
        while not (wire.gone or scene.over):
            await scene.pause(max(TICK_SECONDS, began + asked / rate - loop.time()))
            due = int((loop.time() - began) * rate) + 1 - asked
            asked += due
            if (count := min(due, wire.room)) > 0:
                wire.ask(again, count)

    await scene.visits(connections, COMEBACKS_PER_SECOND, Http2, visit)


async def burst(scene: Scene, connections: int, requests: int, path: str) -> None:
    """Send so many requests at once on each HTTP/2 connection, before the server could name its limits."""
    first, again = request(path)
    scene.start()

    async def one() -> None:
        wire = await scene.open(Http2)
        if wire is not None:
            wire.ask(first)
            wire.ask(again, requests - 1)
            await scene.stay(wire)
            wire.leave()

    await scene.crowd(scene.sized(connections), one)


async def http1(scene: Scene, connections: int, rate: float, at_once: int) -> None:
    """Send ``rate`` requests a second on each HTTP/1.1 connection, ``at_once`` without waiting for an answer."""
    said = f"GET {SUBSCRIBE} HTTP/1.1\r\nhost: a\r\n\r\n".encode() * at_once
    scene.start()

    async def visit(wire: Http1) -> None:
        asked = 0
        while not (wire.gone or scene.over):
            if wire.answered >= asked:
                wire.say(said, at_once)
                asked += at_once
            await scene.pause(max(TICK_SECONDS, at_once / rate))

    await scene.visits(connections, COMEBACKS_PER_SECOND, Http1, visit)
