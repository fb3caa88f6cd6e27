"""Whose first request is heard in this turn of the loop: some of those who have just come, whoever came first.

A first request costs most of a millisecond: a head, a token, a subscription. Where a network has been away thousands
come at once, and the loop would hear them all before it serves anybody else again. Knows no connections.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turnstile:
    """Lets ``per_turn`` through in a turn of the loop. Lives as long as its listener; rests while nobody comes."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn = per_turn
        self._left = per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turning = False

    async def through(self) -> None:
        """Go through, in this turn or in the first that has room."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        if self._left:
            self._left -= 1
        else:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _turn(self) -> None:
        self._left = self._per_turn
        while self._waiting and self._left:
            future = self._waiting.popleft()
            if not future.done():  # it may have been cancelled
                future.set_result(None)
                self._left -= 1
        self._turning = self._left < self._per_turn
        if self._turning:
            asyncio.get_running_loop().call_soon(self._turn)
