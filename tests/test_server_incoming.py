"""What a peer has sent, and how long it may keep the loop; by a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from tailrace.server.incoming import Incoming
from tailrace.server.settings import PIECE_SECONDS, READ_BYTES

SLICE_BYTES = 128


async def at_once() -> None:
    """Wait for no turn."""


async def noted(turns: list[int]) -> None:
    """Note a turn."""
    turns.append(len(turns))


async def test_slices_keep_the_bytes_and_their_order() -> None:
    """What was added is taken whole, in pieces, and the end comes last."""
    incoming, data = Incoming(at_once), bytes(range(256)) * 10
    for at in range(0, len(data), 100):
        incoming.add(data[at : at + 100])
    incoming.end()
    taken = [await incoming.take(SLICE_BYTES) for _ in range(len(data) // SLICE_BYTES + 1)]
    assert (b"".join(taken), max(map(len, taken)), taken[-1]) == (data, SLICE_BYTES, b"")


async def test_who_takes_waits_for_bytes_or_the_end() -> None:
    """A task that reads sleeps while there is nothing."""
    incoming = Incoming(at_once)
    taking = [asyncio.create_task(incoming.take(SLICE_BYTES))]
    await asyncio.sleep(0)
    incoming.add(b"hi")
    assert await taking[0] == b"hi"
    taking = [asyncio.create_task(incoming.take(SLICE_BYTES))]
    await asyncio.sleep(0)
    incoming.end()
    assert await taking[0] == b""


async def turns_for(slices: int, clock: Callable[[], float]) -> int:
    """Take so many slices of what has come at once; return how many turns that took."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1

    incoming = Incoming(turn, clock)
    incoming.add(bytes(slices * SLICE_BYTES))
    for _ in range(slices):
        await incoming.take(SLICE_BYTES)
    return turns


async def test_slices_that_are_done_quickly_share_a_turn() -> None:
    """Others wait for a bounded time, not for a number of bytes."""
    assert await turns_for(10, lambda: 1.0) == 1


async def test_slices_that_take_long_have_turns_of_their_own() -> None:
    """Whoever says what is hard to understand lets others go first after each slice."""
    now = count(start=1.0, step=2 * PIECE_SECONDS)
    assert await turns_for(10, lambda: next(now)) == 10


async def test_what_comes_later_waits_for_a_turn() -> None:
    """Whoever says a little again and again has no advantage over one that says much at once."""
    turns: list[int] = []
    incoming = Incoming(lambda: noted(turns), lambda: 1.0)
    for _ in range(3):
        taking = asyncio.create_task(incoming.take(SLICE_BYTES))
        await asyncio.sleep(0)
        incoming.add(b"x")
        await taking
    assert len(turns) == 3


async def test_what_is_cleared_in_its_turn_was_never_said() -> None:
    """A peer that has gone while it waited is not heard."""

    async def turn() -> None:
        incoming.clear()
        incoming.end()

    incoming = Incoming(turn)
    incoming.add(b"x")
    assert await incoming.take(SLICE_BYTES) == b""


async def test_a_rest_ends_with_the_connection() -> None:
    """Whoever has to wait holds up nobody's end."""
    incoming = Incoming(at_once)
    await incoming.rest(0)
    resting = asyncio.create_task(incoming.rest(3600))
    await asyncio.sleep(0)
    incoming.add(b"x")
    await asyncio.sleep(0)
    before = resting.done()
    incoming.end()
    await resting
    assert not before


def test_enough_is_told() -> None:
    """Above the mark the connection is to stop reading."""
    incoming = Incoming(at_once)
    incoming.add(bytes(READ_BYTES))
    before = incoming.full
    incoming.add(b"x")
    after = incoming.full
    incoming.clear()
    assert (before, after, incoming.full) == (False, True, False)
