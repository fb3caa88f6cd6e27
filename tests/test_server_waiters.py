"""Waiting for one thing to change."""

from __future__ import annotations

import asyncio

from tailrace.server.waiters import Waiters


async def test_wake_wakes_everybody() -> None:
    """All who wait go on."""
    waiters = Waiters()
    tasks = [asyncio.create_task(waiters.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters.wake()
    assert await asyncio.gather(*tasks) == [None, None, None]


async def test_wake_with_nobody_waiting_is_forgotten() -> None:
    """Whoever comes after a wake waits for the next."""
    waiters = Waiters()
    waiters.wake()
    task = asyncio.create_task(waiters.wait())
    await asyncio.sleep(0)
    assert not task.done()
    waiters.wake()
    await task


async def test_cancelled_waiter_disturbs_nobody() -> None:
    """A waiter that was cancelled is passed over."""
    waiters = Waiters()
    gone, stays = asyncio.create_task(waiters.wait()), asyncio.create_task(waiters.wait())
    await asyncio.sleep(0)
    gone.cancel()
    waiters.wake()
    await stays
