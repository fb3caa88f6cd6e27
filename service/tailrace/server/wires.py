"""The wires: how a subscriber's bytes reach the connection without passing Hypercorn's ``send``.

`DirectWire` writes framed bytes straight to the transport of an HTTP/1.1 connection: chunks of a response body, or
WebSocket frames. `StreamWire` puts body bytes or WebSocket frames into the buffer of one HTTP/2 stream, under its flow
control. Both implement `tailrace.wire.Wire`, know nothing of what they carry, and live as long as their response; the
stream that made one calls `end` before it says the last word itself, so that no byte can follow it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.encoding import Framing
from tailrace.server.inbox import Inbox
from tailrace.wire import Taken, is_disconnect

if TYPE_CHECKING:
    from starlette.types import Message, Receive

    from tailrace.server.sendbuffer import SendBuffer
    from tailrace.server.settings import Patience
    from tailrace.server.standing import Standing
    from tailrace.server.timed import Timed

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """The connection, as the protocols, streams and wires on it see it."""

    paused: bool
    """Whether the transport holds more than its mark."""
    draining: bool
    """Whether the service is on its way out: the peer should reconnect elsewhere."""
    standing: Standing
    """What the connection is to the server, and what becomes of requests on it."""

    @property
    def patience(self) -> Patience:
        """How long the peer may take for what."""

    @property
    def taken(self) -> int:
        """How many bytes the peer has acknowledged, of all that the connection has carried."""

    def write(self, data: bytes) -> None:
        """Hand ``data`` to the transport at once; dropped when the connection has gone."""

    async def drained(self) -> None:
        """Wait while `paused`; returns at once when the connection has gone."""

    def abort(self) -> None:
        """Cut the connection."""

    def close(self, *, linger: bool) -> None:
        """Flush and close, reading what still comes for a moment if ``linger``; cut what does not go."""

    def is_unheard(self) -> bool:
        """Whether the peer has said something that waits for its turn."""

    def set_idle(self, idle: bool) -> None:
        """Say whether any request is under way."""

    def note_limit(self, limit: str) -> None:
        """Count that the peer came to a limit, by its name in the metrics."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Timed:
        """Run an application, timed as one that is not admitted; the connection awaits it before it ends."""


class Streams(Protocol):
    """The sending side of an HTTP/2 connection, as one of its wires sees it."""

    @property
    def held_up(self) -> int | None:
        """While the connection takes nothing more, how much the peer has acknowledged; else None."""

    def wake(self, stream_id: int) -> None:
        """Send what the stream's buffer holds, in the loop's next turn."""

    def cancel(self, stream_id: int) -> None:
        """Reset the stream (RFC 9113 section 8.1: CANCEL)."""

    def admitted(self, stream_id: int) -> None:
        """The stream's answer is a subscriber's stream, which may be as long as it likes."""


def _nothing() -> None:
    """Stand in for a callback that nobody has set."""


class ServerWire(ABC):
    """What the two have in common; ``inbox`` is where the application behind it receives."""

    __slots__ = ("_alive", "_inbox", "framing", "heard", "on_writable")

    def __init__(self, inbox: Inbox, framing: Framing) -> None:
        self._inbox = inbox
        self._alive = True
        self.framing = framing
        self.heard = False
        """Set by the stream when its peer has sent anything."""
        self.on_writable: Callable[[], None] = _nothing

    @property
    def ended(self) -> bool:
        """Whether no byte is taken any more."""
        return not self._alive

    def admitted(self) -> None:  # noqa: B027  a connection of HTTP/1.1 has one answer at a time
        """The client was admitted: its stream has begun."""

    def end(self) -> None:
        """Take no byte from now on: the stream has closed, or is about to say its last word."""
        self._alive = False
        self.on_writable = _nothing  # the reader behind it may go

    @property
    @abstractmethod
    def writable(self) -> bool:
        """As in `tailrace.wire.Wire`."""

    @property
    @abstractmethod
    def taken(self) -> Taken:
        """As in `tailrace.wire.Wire`."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """As in `tailrace.wire.Wire`."""

    @abstractmethod
    def _cut(self) -> None:
        """End the connection, or the stream, without a farewell."""

    def abort(self) -> None:
        self.end()
        self.finish()
        self._cut()

    def finish(self) -> None:
        if self.framing is Framing.FRAMES:
            self._inbox.close({"type": "websocket.disconnect", "code": 1000, "reason": ""})
        else:
            self._inbox.close({"type": "http.disconnect"})

    def was_heard(self) -> bool:
        heard, self.heard = self.heard, False
        return heard

    async def serve(self, receive: Receive, on_message: Callable[[Message], None]) -> None:
        while not is_disconnect(message := await receive()):
            on_message(message)

    def pause(self) -> None:  # noqa: B027  a stream of HTTP/2 has a buffer, and a mark, of its own
        """The connection holds more than its mark."""

    def notify(self) -> None:
        """Call ``on_writable``; whoever fails there loses this wire, not the connection of others."""
        try:
            self.on_writable()
        except Exception:
            logger.exception("a subscriber failed when its wire became writable; it is cut")
            self.abort()


class DirectWire(ServerWire):
    """A wire onto the transport of an HTTP/1.1 connection."""

    __slots__ = ("_carrier", "writable")

    writable: bool

    def __init__(self, inbox: Inbox, framing: Framing, carrier: Carrier) -> None:
        super().__init__(inbox, framing)
        self._carrier = carrier
        self.writable = not carrier.paused  # set where it changes, because it is read twice for every event

    def end(self) -> None:
        super().end()
        self.writable = False

    def pause(self) -> None:
        self.writable = False

    def notify(self) -> None:
        self.writable = self._alive
        super().notify()

    @property
    def taken(self) -> Taken:
        return Taken("connection", self._carrier.taken)

    def write(self, data: bytes) -> None:
        if self._alive:
            self._carrier.write(data)

    def _cut(self) -> None:
        self._carrier.abort()


class StreamWire(ServerWire):
    """A wire into the buffer of one HTTP/2 stream; many writes of one turn of the loop leave as few DATA frames."""

    __slots__ = ("_buffer", "_stream_id", "_streams")

    def __init__(self, inbox: Inbox, framing: Framing, streams: Streams, stream_id: int, buffer: SendBuffer) -> None:
        super().__init__(inbox, framing)
        self._streams = streams
        self._stream_id = stream_id
        self._buffer = buffer

    def admitted(self) -> None:
        self._streams.admitted(self._stream_id)

    @property
    def writable(self) -> bool:
        return self._alive and not self._buffer.full

    @property
    def taken(self) -> Taken:
        """A full connection holds up all its streams; else it is this stream's own window that is shut."""
        held_up = self._streams.held_up
        return Taken("window", -len(self._buffer)) if held_up is None else Taken("connection", held_up)

    def write(self, data: bytes) -> None:
        if self._alive:
            self._buffer.extend(data)
            self._streams.wake(self._stream_id)

    def _cut(self) -> None:
        self._streams.cancel(self._stream_id)
