"""What an application receives, and when its connection waits for it."""

from __future__ import annotations

import asyncio

from tailrace.server.inbox import Inbox
from tailrace.server.settings import INBOX_MESSAGES

GONE = {"type": "http.disconnect"}


async def fill(inbox: Inbox) -> asyncio.Task[None]:
    """Put as many as fit, and begin to put one more."""
    for number in range(INBOX_MESSAGES):
        await inbox.put({"number": number})
    task = asyncio.create_task(inbox.put({"number": INBOX_MESSAGES}))
    await asyncio.sleep(0)
    return task


async def test_messages_keep_their_order_and_the_last_comes_last() -> None:
    """What was put is received in order, the disconnect after it."""
    inbox = Inbox()
    await inbox.put({"number": 1})
    await inbox.put({"number": 2})
    inbox.close(GONE)
    assert [await inbox.receive() for _ in range(3)] == [{"number": 1}, {"number": 2}, GONE]


async def test_disconnect_is_said_again() -> None:
    """Whoever asks again after the disconnect hears it again, instead of waiting for ever."""
    inbox = Inbox()
    inbox.close(GONE)
    assert [await inbox.receive(), await inbox.receive()] == [GONE, GONE]


async def test_receive_waits_for_a_message() -> None:
    """An application that asks first is woken by the message."""
    inbox = Inbox()
    task = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    await inbox.put({"number": 1})
    assert await task == {"number": 1}


async def test_put_waits_while_too_many_lie_unread() -> None:
    """An application that does not read stops its own connection from reading."""
    inbox = Inbox()
    task = await fill(inbox)
    assert not task.done()
    await inbox.receive()
    await task


async def test_close_fits_always_and_frees_the_writer() -> None:
    """A full queue holds up neither the disconnect nor the connection."""
    inbox = Inbox()
    task = await fill(inbox)
    inbox.close(GONE)
    await task


async def test_nothing_follows_the_last() -> None:
    """What comes after the disconnect is dropped, a second disconnect too."""
    inbox = Inbox()
    inbox.close(GONE)
    await inbox.put({"number": 1})
    inbox.close({"type": "other"})
    assert [await inbox.receive(), await inbox.receive()] == [GONE, GONE]


async def test_with_on_empty_put_never_waits() -> None:
    """Over HTTP/2 the window is the bound, and is told when the queue is empty."""
    told: list[int] = []
    inbox = Inbox(lambda: told.append(len(inbox)))
    for number in range(INBOX_MESSAGES + 5):
        await inbox.put({"number": number})
    for _ in range(INBOX_MESSAGES + 5):
        await inbox.receive()
    assert told == [0]
