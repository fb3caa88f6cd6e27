"""Sockets that owe their token: how long, how many, and who has to leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from leaping import leaping
from tailrace.errors import TokenTimeout, TooManyConnections
from tailrace.first_message import MAX_OWING, TOKEN_SECONDS, FirstMessages
from tailrace.wire import UNHEARD


class Socket:
    """One that may have said something that the server has not looked at."""

    def __init__(self, source: str = "192.0.2.1", *, unheard: bool = False) -> None:
        self.unheard = unheard
        self.scope: Any = {"client": (source, 1), "extensions": {UNHEARD: lambda: self.unheard}}
        self._said: asyncio.Queue[Any] = asyncio.Queue()

    def say(self, text: str) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    def owe(self, messages: FirstMessages) -> asyncio.Task[Any]:
        """Wait for its first message."""
        return asyncio.create_task(messages.of(self.scope, self._said.get))


async def test_the_first_message_is_given() -> None:
    """And then the socket owes nothing."""
    messages, socket = FirstMessages(), Socket()
    waiting = socket.owe(messages)
    await asyncio.sleep(0)
    before = len(messages)
    socket.say("hi")
    assert (before, (await waiting)["text"], len(messages)) == (1, "hi", 0)


async def test_its_time_runs_out() -> None:
    """But not while something that it has said waits for us."""
    messages, socket = FirstMessages(), Socket(unheard=True)
    with leaping() as loop:
        began = loop.time()
        waiting = socket.owe(messages)
        await asyncio.sleep(2.5 * TOKEN_SECONDS)
        still = waiting.done()
        socket.unheard = False
        with pytest.raises(TokenTimeout):
            await waiting
        assert (still, len(messages)) == (False, 0)
        assert 3 * TOKEN_SECONDS == pytest.approx(loop.time() - began)


async def test_one_too_many_takes_the_place_of_the_oldest_of_most() -> None:
    """Not of somebody else's, nor of the newcomer's own."""
    messages = FirstMessages()
    elsewhere = Socket("192.0.2.2")
    sockets = [elsewhere, *(Socket() for _ in range(MAX_OWING))]
    waiting = [socket.owe(messages) for socket in sockets]
    with pytest.raises(TooManyConnections):
        await waiting[1]
    assert (len(messages), [task.done() for task in waiting].count(True)) == (MAX_OWING, 1)
    for socket in sockets:
        socket.say("hi")
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_has_said_something_has_not_to_leave() -> None:
    """A crowd whose tokens have all arrived is as large as it is: it waits for us."""
    messages = FirstMessages()
    sockets = [Socket(unheard=True) for _ in range(3 * MAX_OWING)]
    waiting = [socket.owe(messages) for socket in sockets]
    await asyncio.sleep(0)
    for socket in sockets:
        socket.say("hi")
    assert {message["text"] for message in await asyncio.gather(*waiting)} == {"hi"}


async def test_where_the_server_does_not_tell() -> None:
    """A foreign server's sockets owe their token from the beginning, wherever they come from."""
    messages = FirstMessages(0)

    async def never() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(TokenTimeout):
        await messages.of({"type": "websocket"}, never)
