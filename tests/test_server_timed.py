"""Coroutines whose steps are timed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from changes import settled
from tailrace.server.timed import Timed


async def test_each_step_is_charged_and_no_waiting() -> None:
    """What a task waits for is not its work, however long that is."""
    charged: list[float] = []
    go_on = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        await go_on.wait()

    task = asyncio.create_task(Timed(work(), charged.append))
    await settled(lambda: len(charged) == 2)
    before = list(charged)
    for _ in range(100):
        await asyncio.sleep(0)
    waiting = list(charged)
    go_on.set()
    await task
    assert (before, len(charged)) == (waiting, 3)


async def test_who_is_free_is_charged_no_more() -> None:
    """Not even for the step in which it became so."""
    charged: list[float] = []

    async def work() -> None:
        await asyncio.sleep(0)
        timed.charge = None
        await asyncio.sleep(0)

    timed = Timed(work(), charged.append)
    await asyncio.create_task(timed)
    assert len(charged) == 1


async def test_errors_and_cancellation_pass_through() -> None:
    """To the work, and from it."""

    async def fail() -> None:
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await asyncio.create_task(Timed(fail(), None))
    task = asyncio.create_task(Timed(asyncio.sleep(3600), None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_done_about_an_error_is_charged() -> None:
    """A time-out is how somebody who was slowed goes on."""
    charged: list[float] = []

    async def work() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    await asyncio.create_task(Timed(work(), charged.append))
    assert len(charged) == 2


async def test_it_can_be_awaited_and_closed_like_its_work() -> None:
    """Whoever holds it need not know."""
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    await Timed(work(), None)
    Timed(work(), None).close()
    assert done == [1]
