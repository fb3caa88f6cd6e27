"""What a peer has sent, and how long it may keep the loop; by a clock that is set by hand."""

from __future__ import annotations

import asyncio
from itertools import count

from tailrace.server.incoming import Incoming
from tailrace.server.settings import READ_BYTES, SLICE_BYTES, TURN_SECONDS


async def test_slices_keep_the_bytes_and_their_order() -> None:
    """What was added is taken whole, in pieces, and the end comes last."""
    incoming, data = Incoming(), bytes(range(256)) * 10
    for at in range(0, len(data), 100):
        incoming.add(data[at : at + 100])
    incoming.end()
    taken = [await incoming.take() for _ in range(len(data) // SLICE_BYTES + 1)]
    assert (b"".join(taken), max(map(len, taken)), taken[-1]) == (data, SLICE_BYTES, b"")


async def test_who_takes_waits_for_bytes_or_the_end() -> None:
    """A task that reads sleeps while there is nothing."""
    incoming = Incoming()
    taking = [asyncio.create_task(incoming.take())]
    await asyncio.sleep(0)
    incoming.add(b"hi")
    assert await taking[0] == b"hi"
    taking = [asyncio.create_task(incoming.take())]
    await asyncio.sleep(0)
    incoming.end()
    assert await taking[0] == b""


async def others_turns(incoming: Incoming, slices: int) -> int:
    """Take so many slices; give how often the loop went on meanwhile."""
    turns = count()

    def turn() -> None:
        next(turns)
        asyncio.get_running_loop().call_soon(turn)

    turn()
    for _ in range(slices):
        await incoming.take()
    return next(turns) - 1


async def test_slices_that_are_done_quickly_share_a_turn() -> None:
    """Others wait for a bounded time, not for a number of bytes."""
    incoming = Incoming(lambda: 1.0)
    incoming.add(bytes(10 * SLICE_BYTES))
    assert await others_turns(incoming, 10) == 1


async def test_slices_that_take_long_have_turns_of_their_own() -> None:
    """Whoever says what is hard to understand lets others go first after each slice."""
    now = count(start=1.0, step=2 * TURN_SECONDS)
    incoming = Incoming(lambda: next(now))
    incoming.add(bytes(10 * SLICE_BYTES))
    assert await others_turns(incoming, 10) == 10


def test_enough_is_told() -> None:
    """Above the mark the connection is to stop reading."""
    incoming = Incoming()
    incoming.add(bytes(READ_BYTES))
    before = incoming.full
    incoming.add(b"x")
    after = incoming.full
    incoming.clear()
    assert (before, after, incoming.full) == (False, True, False)
