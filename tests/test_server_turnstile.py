"""A crowd that comes at once: heard a few at a time, so that others are served in between."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from changes import settled
from h2raw import PREFACE, SETTINGS, frame, headers
from serving import hello, serving
from tailrace.server.settings import FIRSTS_PER_TURN
from tailrace.server.turnstile import Turnstile

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CROWD = 5 * FIRSTS_PER_TURN


class Turns:
    """Knows which turn of the loop this is."""

    def __init__(self) -> None:
        self.now = 0
        self._next: asyncio.Handle | None = None

    def turn(self) -> None:
        self.now += 1
        self._next = asyncio.get_running_loop().call_soon(self.turn)

    def stop(self) -> None:
        assert self._next is not None
        self._next.cancel()


@contextmanager
def counted() -> Iterator[Turns]:
    """Count the turns of the loop until the end of the block."""
    turns = Turns()
    turns.turn()
    yield turns
    turns.stop()


class Crowd:
    """Those who come to one turnstile, and when each goes through."""

    def __init__(self, turns: Turns) -> None:
        self.turnstile = Turnstile(2)
        self.gone_through: list[int] = []
        self.by_turn: Counter[int] = Counter()
        self._turns = turns

    async def come(self, number: int) -> None:
        await self.turnstile.through()
        self.gone_through.append(number)
        self.by_turn[self._turns.now] += 1


async def test_so_many_a_turn_in_the_order_of_their_coming() -> None:
    """Nobody is overtaken, also by who comes later, and nobody waits for longer than that takes."""
    with counted() as turns:
        crowd = Crowd(turns)
        first = [asyncio.create_task(crowd.come(number)) for number in range(5)]
        await first[2]
        await asyncio.gather(*first, *(crowd.come(number) for number in range(5, 9)))
    assert (list(range(9)), 2, 5) == (crowd.gone_through, max(crowd.by_turn.values()), len(crowd.by_turn))


async def test_who_leaves_holds_up_nobody() -> None:
    """A place in the line that is given up is nobody's, and takes none of the turn."""
    with counted() as turns:
        crowd = Crowd(turns)
        tasks = [asyncio.create_task(crowd.come(number)) for number in range(8)]
        await tasks[0]
        for task in tasks[3:6]:
            task.cancel()
        await asyncio.wait(tasks)
    assert [0, 1, 2, 6, 7] == crowd.gone_through


async def test_it_rests_while_nobody_comes() -> None:
    """No turn of the loop is taken up; whoever comes then goes through at once."""
    with counted() as turns:
        crowd = Crowd(turns)
        await asyncio.gather(*map(crowd.come, range(3)))
        await settled(lambda: not crowd.turnstile._turning)
        now = turns.now
        await crowd.come(3)
        assert (turns.now, crowd.gone_through) == (now, [0, 1, 2, 3])


@pytest.mark.both_loops
@pytest.mark.parametrize("first", [GET, PREFACE + frame(SETTINGS) + headers(1)], ids=["HTTP/1.1", "HTTP/2"])
async def test_who_has_gone_is_not_heard(first: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A crowd that is cut off while it waits: most of it asks for nothing any more, nothing is left of it, and whoever
    comes then is answered."""
    heard = 0

    async def note(scope: Any, receive: Any, send: Any) -> None:
        nonlocal heard
        heard += 1
        await hello(scope, receive, send)

    async with serving(note) as here:
        for _ in range(CROWD):
            with socket.create_connection((here.host, here.port)) as one:
                one.sendall(first)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader, writer = await here.open(GET)
        assert await reader.readline() == b"HTTP/1.1 200 \r\n"
        writer.transport.abort()
        await settled(lambda: not here.server._listeners[0]._connections)
    assert (heard < CROWD, []) == (True, caplog.messages)


@pytest.mark.both_loops
async def test_a_crowd_of_connections() -> None:
    """Their requests have all arrived before the loop looks at the first; every one is heard and answered."""
    heard: Counter[int] = Counter()
    with counted() as turns, ExitStack() as stack:

        async def note(scope: Any, receive: Any, send: Any) -> None:
            heard[turns.now] += 1
            await hello(scope, receive, send)

        async with serving(note) as here:
            crowd = [stack.enter_context(socket.create_connection((here.host, here.port))) for _ in range(CROWD)]
            for each in crowd:
                each.sendall(GET)
            await settled(lambda: heard.total() == len(crowd))
            answers = [await asyncio.to_thread(each.recv, 15) for each in crowd]
    assert (max(heard.values()) <= FIRSTS_PER_TURN, set(answers)) == (True, {b"HTTP/1.1 200 \r\n"})
