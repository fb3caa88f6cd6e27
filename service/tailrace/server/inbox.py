"""What an application will receive: the queue between one stream of a connection and ASGI's ``receive``.

Guards against three things. A full queue must not stop a connection whose application has gone, so the last message
always fits. ASGI says a disconnect again to whoever asks again. And over HTTP/2 one application that does not read must
not stop its siblings, so there the bound is the stream's receive window, which `http2` opens only when the queue is
empty; `put` waits over HTTP/1.1 alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tailrace.server.settings import INBOX_MESSAGES
from tailrace.server.waiters import Waiters

Message = dict[str, Any]


class Inbox:
    """Messages for one application, in order; lives as long as its stream. One reader at a time.

    ``on_empty`` is called when the application has taken the last message there was; with it, `put` never waits.
    """

    __slots__ = ("_last", "_messages", "_on_empty", "_reader", "_room")

    def __init__(self, on_empty: Callable[[], None] | None = None) -> None:
        self._messages: deque[Message] | None = None
        self._last: Message | None = None
        self._on_empty = on_empty
        self._reader = Waiters()
        self._room = Waiters()

    def __len__(self) -> int:
        return len(self._messages or ())

    @property
    def closed(self) -> bool:
        """Whether the last message has been added."""
        return self._last is not None

    async def put(self, message: Message) -> None:
        """Add ``message``; over HTTP/1.1 wait while too many lie unread. Nothing follows the last."""
        if self.closed:
            return
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)
        self._reader.wake()
        while self._on_empty is None and len(self) > INBOX_MESSAGES and not self.closed:
            await self._room.wait()

    def close(self, message: Message) -> None:
        """Add the last message: a disconnect. Never waits, and wakes whoever waits; the first one stands."""
        if self._last is None:
            self._last = message
            self._reader.wake()
            self._room.wake()

    async def receive(self) -> Message:
        """ASGI's ``receive``."""
        while not self._messages:
            if self._last is not None:
                return self._last
            await self._reader.wait()
        message = self._messages.popleft()
        if not self._messages:
            self._messages = None  # an idle connection shall cost nothing
            if self._on_empty is not None:
                self._on_empty()
        self._room.wake()
        return message
