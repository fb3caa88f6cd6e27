"""How long a connection may be without a request."""

from __future__ import annotations

import asyncio

from leaping import leaping
from tailrace.server.idle import IdleTimer


async def test_it_calls_once_after_its_time() -> None:
    """And not when it was stopped before."""
    calls: list[float] = []
    with leaping() as loop:
        began = loop.time()
        timer, other = (IdleTimer(lambda: False, lambda: calls.append(loop.time() - began)) for _ in range(2))
        timer.start(30)
        other.start(10)
        other.stop()
        running = timer.running, other.running
        await asyncio.sleep(100)
        assert (running, timer.running, [round(each) for each in calls]) == ((True, False), False, [30])


async def test_whoever_waits_for_us_is_not_idle() -> None:
    """Its time begins again, as often as it is still busy."""
    calls: list[int] = []
    busy = iter([True, True, False])
    with leaping():
        timer = IdleTimer(lambda: next(busy), lambda: calls.append(1))
        timer.start(30)
        await asyncio.sleep(80)
        before = list(calls)
        await asyncio.sleep(20)
        assert (before, calls, timer.running) == ([], [1], False)
