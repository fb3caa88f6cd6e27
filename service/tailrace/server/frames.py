"""What a WebSocket client may send: how large a message, how many frames.

An extension of wsproto's that is never offered to anybody: wsproto asks it about each frame's head, so that a message
is refused by its length before a byte of it was taken, and a frame too many before it was looked at. Hypercorn counts
letters, not bytes, after they have come; and nothing of it bounds frames: one stranger's empty pings, 20 us each and
50 000 of them in one read, held up everybody else for a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from tailrace.errors import Farewell, MessageTooBig, TooManyFrames
from tailrace.server.level import Level
from tailrace.server.settings import FRAMES_AT_ONCE, FRAMES_PER_SECOND, MAX_MESSAGE_BYTES, Allowance

_FRAMES = Allowance(FRAMES_AT_ONCE, FRAMES_PER_SECOND)
_NO_BITS = RsvBits(rsv1=False, rsv2=False, rsv3=False)


class ClientFrames(Extension):
    """The account of one client; lives as long as its WebSocket. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._frames = Level(_FRAMES, clock())
        self._message_bytes = 0
        self._frame_bytes = 0
        self.exceeded: type[Farewell] | None = None
        """Why the last frame was one too many."""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, proto: Any, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Look at a frame's head, which may come here several times while its mask is not whole.

        A `CloseReason` fails the connection.
        """
        del proto, rsv
        if self._frames.left(self._clock()) > FRAMES_AT_ONCE - 1:
            self.exceeded = TooManyFrames
            return CloseReason.POLICY_VIOLATION
        self._frame_bytes = 0 if opcode.iscontrol() else payload_length
        if self._message_bytes + self._frame_bytes > MAX_MESSAGE_BYTES:
            self.exceeded = MessageTooBig
            return CloseReason.MESSAGE_TOO_BIG
        return _NO_BITS

    def frame_inbound_complete(self, proto: Any, fin: bool) -> None:
        """Take a frame to account."""
        self._frames.add(1, self._clock())
        if proto.header.opcode.iscontrol():
            return  # between the fragments of a message
        self._message_bytes = 0 if fin else self._message_bytes + self._frame_bytes
