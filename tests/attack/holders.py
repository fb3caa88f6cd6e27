"""What a good token can be abused for: invented ids, questions for a time, replays without end, and refused requests
beside a stream."""

from __future__ import annotations

import asyncio
import time

from attack.producers import events_going_on
from attack.strangers import request
from attack.wires import Http1, Http2, Scene
from real.service import token

SESSION = "held"
VISITS_PER_SECOND = 50.0
"""New connections a second, all holders together, at size 1."""
INVENTED_ENTRIES = 4000
"""Partitions that do not exist, two bytes each: with them an id has 8 kB, as much as is read."""
QUICK_SECONDS = 0.005
"""How soon who goes on at once looks whether it may."""
MOST_OUTSTANDING = 50
"""Refused requests of a connection that wait for their answers: enough for full speed."""


def bearer(holder: int) -> bytes:
    """Return the credentials of one of the holders, each of whom is a subject of its own."""
    return b"Bearer " + token("*", subject=f"holder-{holder}", ttl_seconds=3600).encode()


def subscribe(holder: int, query: str = "", *headers: bytes) -> bytes:
    """Return an HTTP/1.1 request for a stream."""
    head = [f"GET /v1/sessions/{SESSION}/events{query} HTTP/1.1".encode(), b"host: a"]
    return b"\r\n".join([*head, b"authorization: " + bearer(holder), *headers, b"", b""])


def next_holder(scene: Scene) -> int:
    """Return whose turn it is to come: as many holders as the attack is larger than the table says, in turn."""
    return scene.tally.connections % scene.sized(1)


async def until_heard(scene: Scene, wire: Http1, word: bytes) -> None:
    """Wait until the word was heard, the connection was cut, or the time is over."""
    while not (word in wire.heard or wire.gone or scene.over):
        await scene.pause(QUICK_SECONDS)


async def invented_ids(scene: Scene, streams: int, per_second: float) -> None:
    """Hold as many streams as a subject may, each with an id of 4000 partitions too many, while events go on."""
    scene.start()
    first = await scene.open(Http1)
    if first is None:
        return
    first.say(subscribe(0), 1)
    await until_heard(scene, first, b"tailrace.ready")
    real = next((line[4:] for line in first.heard.splitlines() if line.startswith(b"id: ")), b"v1.0")
    first.leave()
    last_id = b"last-event-id: " + real + b".0" * INVENTED_ENTRIES + b".1"

    async def visit(wire: Http1) -> None:
        wire.say(subscribe(next_holder(scene), "", last_id), 1)
        await scene.stay(wire)

    with events_going_on(scene, per_second) as say:
        crowd = asyncio.create_task(scene.visits(streams, VISITS_PER_SECOND, Http1, visit))
        while not scene.over:
            say()
            await scene.pause(0.01)
        await crowd


async def since(scene: Scene, connections: int, requests: int) -> None:
    """Ask for so many streams that begin at a time, over each HTTP/2 connection; leave after a second, and again."""
    holder = bearer(0)
    scene.start()

    async def visit(wire: Http2) -> None:
        path = f"/v1/sessions/{SESSION}/events?since={int(time.time() * 1000) - 1000}"
        first, again = request(path, (b"authorization", holder))
        wire.ask(first)
        wire.ask(again, requests - 1)
        await scene.pause(1.0)

    await scene.visits(connections, 20.0, Http2, visit)


async def earliest(scene: Scene, streams: int) -> None:
    """Begin at the beginning, again and again: so many streams of one subject, each until it is live, or for 2 s."""
    scene.start()

    async def visit(wire: Http1) -> None:
        wire.say(subscribe(0, "?from=earliest"), 1)
        await until_heard(scene, wire, b"tailrace.live")

    await scene.visits(streams, VISITS_PER_SECOND, Http1, visit)


async def refused_beside_a_stream(scene: Scene, connections: int) -> None:
    """Hold a stream on each HTTP/2 connection, and beside it ask for what is refused, as fast as it is answered."""
    first, again = request("/nope")
    scene.start()

    async def visit(wire: Http2) -> None:
        wire.ask(request(f"/v1/sessions/{SESSION}/events", (b"authorization", bearer(next_holder(scene))))[0])
        wire.ask(first)
        while not (wire.gone or scene.over):
            count = min(MOST_OUTSTANDING - (wire.asked - wire.answered), wire.room)
            if count > 0:
                wire.ask(again, count)
            await scene.pause(QUICK_SECONDS)

    await scene.visits(connections, VISITS_PER_SECOND, Http2, visit)
