"""Where connections come in: accepts what has come to a listening socket, some of it a turn of the loop.

Guards against a storm of connections, which must not hold up those that are served, and against a process that has no
descriptor left: asyncio's own loop then writes a traceback for each connection in the queue, thousands of them, once a
second. This one leaves the socket alone for a moment. Knows no connections; `listener` says what becomes of a socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tailrace.server.settings import ACCEPT_PAUSE_SECONDS


class Door:
    """Accepts on ``listening``, which it owns, from `open` to `close`.

    ``enter`` gets each socket, and the address of its peer. ``at_once`` says how many may come in this turn of the
    loop. ``on_trouble`` is told when none can be had, mostly because no descriptor is left.
    """

    def __init__(
        self,
        listening: socket.socket,
        enter: Callable[[socket.socket, Any], None],
        at_once: Callable[[], int],
        on_trouble: Callable[[OSError], None],
    ) -> None:
        self._listening = listening
        self._enter = enter
        self._at_once = at_once
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Let them in."""
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Let nobody in any more; those who still wait outside are refused."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(self._at_once()):
            try:
                sock, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # nobody is there, or no longer
            except OSError as trouble:
                # The socket stays ready all along; to ask at once would keep the loop busy with it.
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(ACCEPT_PAUSE_SECONDS, self.open)
                self._on_trouble(trouble)
                return
            self._enter(sock, address)
