"""Those who wait for one thing to change: futures, none while nobody waits.

An `asyncio.Event` per connection and stream costs ten times as much memory and must be cleared by hand. Knows nothing
of what is waited for.
"""

from __future__ import annotations

import asyncio


class Waiters:
    """Wakes all who wait. Whoever wakes looks again at what it waited for."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] | None = None

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._futures is None:
            self._futures = []
        self._futures.append(future)
        await future

    def wake(self) -> None:
        """Let everyone go on who waits now."""
        futures, self._futures = self._futures or (), None
        for future in futures:
            if not future.done():
                future.set_result(None)
