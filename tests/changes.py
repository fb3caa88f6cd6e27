"""Waiting in tests for a condition, instead of for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 20.0
"""No test should come near it; it turns a hang into a failure that says where."""


class Changes:
    """Conditions are looked at again after every `tell`."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self) -> None:
        """Something has changed."""
        changed, self._next = self._next, asyncio.get_running_loop().create_future()
        if not changed.done():
            changed.set_result(None)

    async def until(self, condition: Callable[[], bool], over: Callable[[], bool] = lambda: False) -> None:
        """Wait for ``condition``. Raises `ConnectionError` if ``over`` comes first."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                if over():
                    raise ConnectionError("the other side has gone")
                await asyncio.shield(self._next)


async def settled(condition: Callable[[], bool]) -> None:
    """Give the loop turns until ``condition`` holds: for what nobody tells."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # that is its whole point
            await asyncio.sleep(0)
