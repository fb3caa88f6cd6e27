"""The applications of one connection, a task each, and the time that they take.

Until a request is admitted its application's time is charged to those who are not. Knows no request. Lives as long as
the connection, which ends when the last of them has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tailrace.server.timed import Timed


class Applications:
    """The tasks that run; ``charge`` is told of the seconds that each of their steps takes."""

    __slots__ = ("_charge", "_tasks")

    def __init__(self, charge: Callable[[float], None]) -> None:
        self._charge = charge
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Timed:
        """Run one more; return its account."""
        timed = Timed(coroutine, self._charge)
        task = asyncio.get_running_loop().create_task(timed)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return timed

    def cancel(self) -> None:
        """Cancel those that do not hear their disconnect."""
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until none runs any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)
