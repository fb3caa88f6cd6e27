"""Time that leaps: when nothing is ready, the next timer of the loop is due at once.

So back-offs, heartbeats and drains are tested without waiting for them, and no test depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def leaping() -> Iterator[asyncio.AbstractEventLoop]:
    """Make the running loop leap until the end of the block; ``loop.time()`` is the clock. No real I/O meanwhile."""
    loop: Any = asyncio.get_running_loop()
    selector, now = loop._selector, loop.time()
    select = selector.select

    def leap(timeout: float | None = None) -> Any:
        nonlocal now
        if timeout is None:
            raise RuntimeError("everyone waits, and nothing is to come")
        now += timeout
        return select(0)

    loop.time, selector.select = lambda: now, leap
    try:
        yield loop
    finally:
        del loop.time, selector.select


async def until(condition: Callable[[], object], seconds: float = 100.0) -> None:
    """Let time pass, in small steps, until ``condition`` holds: for what nobody tells. Within `leaping` it takes none;
    elsewhere it is for other threads and processes, which `changes.settled` would keep from the core."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.001)
