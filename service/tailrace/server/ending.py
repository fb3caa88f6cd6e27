"""How the process ends: politely at the first signal, at once at a second, and in any case.

Knows no connection. `run` takes the signals while it serves; whoever owns the process calls `leave_within` when nobody
is served any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""SIGTERM is what Kubernetes and systemd send, SIGINT is Ctrl-C."""


class Signals:
    """SIGTERM and SIGINT, while a ``with`` block lasts: the first calls ``on_first``, a second ends the process.

    Its status is then 128 + signal. After the block the signals mean what they meant before; after the first, what they
    mean to the kernel, for no handler of Python's runs while the loop waits for a thread to end. Nothing is taken
    outside the main thread, where Python gives none.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._had_one = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.getsignal(number)
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if self._had_one else handler)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._had_one:
            os._exit(128 + number)
        self._had_one = True
        self._on_first()


def leave_within(seconds: float) -> None:
    """End the process with status 0 when it has not ended by itself after so long, whatever still runs in it."""
    timer = threading.Timer(seconds, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    names = ", ".join(thread.name for thread in threading.enumerate() if not thread.daemon)
    logger.warning("nobody is served any more, but something still runs (%s): the process ends without it", names)
    os._exit(0)
