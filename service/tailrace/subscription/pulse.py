"""Whether somebody is still there at the other end of a WebSocket.

Bytes that are taken prove nothing: ``TCP_USER_TIMEOUT`` sees only the next hop, which may be a proxy that keeps the
connection of a client that has gone. So a WebSocket is pinged whatever else is sent, and who answers nothing is let go.
`one` asks when it looks after its client. Lives as long as the subscription.
"""

from __future__ import annotations

from tailrace.timers import Wheel
from tailrace.wire import Wire

MAX_UNANSWERED_PINGS = 3
"""After so many heartbeats without a pong, or anything else, nobody is there: a minute by default. A slow client still
answers in time if it takes what may lie before a ping, some 128 KiB, at 3 kB a second. RFC 6455 section 5.5.2 obliges
everyone to answer, and browsers and libraries do by themselves, so nobody is spared for never having done it."""


class Pulse:
    """The pings of one client."""

    __slots__ = ("_heartbeat_seconds", "_pinged_at", "_unanswered", "_wheel", "_wire")

    def __init__(self, wire: Wire, wheel: Wheel, heartbeat_seconds: float) -> None:
        self._wire = wire
        self._wheel = wheel
        self._heartbeat_seconds = heartbeat_seconds
        self._pinged_at = wheel.now
        self._unanswered = 0

    @property
    def is_due(self) -> bool:
        """Whether it is time for a ping."""
        return self._wheel.now - self._pinged_at >= self._heartbeat_seconds

    def beats(self) -> bool:
        """Take note of a ping that is sent now; False, and it need not be, when the last ones were not answered."""
        if self._wire.was_heard():
            self._unanswered = 0
        if self._unanswered >= MAX_UNANSWERED_PINGS:
            return False
        self._unanswered += 1
        self._pinged_at = self._wheel.now
        return True
