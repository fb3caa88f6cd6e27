"""How long a connection may be without a request. Time in which the client waits for the server does not count.

Knows no connection; `connection` says whether it is busy. Lives as long as it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls ``on_idle`` once; not while ``is_busy``, when something that the client has said waits for its turn."""

    __slots__ = ("_is_busy", "_on_idle", "_timer")

    def __init__(self, is_busy: Callable[[], bool], on_idle: Callable[[], None]) -> None:
        self._is_busy = is_busy
        self._on_idle = on_idle
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it is to call."""
        return self._timer is not None

    def start(self, seconds: float) -> None:
        """Call after so long from now."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fire, seconds)

    def stop(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self, seconds: float) -> None:
        self._timer = None
        if self._is_busy():
            self.start(seconds)
        else:
            self._on_idle()
