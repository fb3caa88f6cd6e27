"""The sending side of one HTTP/2 connection, without a task.

A stream with something to say is marked; the marked ones are served round robin in the loop's next turn, a frame each,
while their windows and the transport take it. So many writes become few DATA frames and few system calls. (Hypercorn
asks a priority tree, which fails at 1000 streams, costs 25 us a frame, and orders by a scheme that RFC 9113 section
5.3.2 took back; its writers sleep for ever when the connection dies.) Knows no applications, no events: `http2` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from tailrace.encoding import Framing
from tailrace.server.sendbuffer import SendBuffer
from tailrace.server.settings import MAX_UNTAKEN_ANSWERS, MAX_UNTAKEN_BYTES, UNTAKEN_ANSWER_BYTES
from tailrace.server.wires import StreamWire
from tailrace.wire import HIGH_WATER_BYTES, MIN_TAKEN_BYTES

if TYPE_CHECKING:
    from h2.connection import H2Connection

    from tailrace.server.inbox import Inbox
    from tailrace.server.wires import Carrier

EVERYBODY = 0
"""Stands among the streams for all of them, as in WINDOW_UPDATE (RFC 9113 section 6.9)."""

GOING_AWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + (2**31 - 1).to_bytes(4, "big") + b"\x00\x00\x00\x00"
"""GOAWAY, NO_ERROR, every stream still welcome: "ask elsewhere next time" (RFC 9113 section 6.8). Written raw, because
h2's own forbids every later frame. Without it Chromium reconnects on this very connection, to a process that leaves."""

TURN_BYTES = 4 * HIGH_WATER_BYTES
"""Most that one connection sends in one turn of the loop, so that it does not hold up the others."""


def _nothing() -> None:
    """Stand in for `Sender`'s callback when the connection has gone."""


class Sender:
    """The buffers of a connection's streams, and their way out. Lives as long as the connection.

    ``on_sent`` is called when a stream has nothing more to send, for whatever reason.
    """

    __slots__ = ("_answers", "_carrier", "_connection", "_marked", "_on_sent", "_streams", "_turn")

    def __init__(self, connection: H2Connection, carrier: Carrier, on_sent: Callable[[], None]) -> None:
        self._connection = connection
        self._carrier = carrier
        self._on_sent = on_sent
        self._streams: dict[int, tuple[SendBuffer, StreamWire]] = {}
        self._marked: dict[int, None] = {}
        self._answers: dict[int, int] = {}
        """Answers that are no streams and that the peer has yet to take: how many bytes, by stream."""
        self._turn: asyncio.Handle | None = None

    def __len__(self) -> int:
        """How many streams have yet to say their last."""
        return len(self._streams)

    @property
    def held_up(self) -> int | None:
        """While the connection takes nothing more, how much the peer has acknowledged; else None."""
        return self._carrier.taken if self._carrier.paused else None

    def open(self, stream_id: int, inbox: Inbox, *, websocket: bool) -> StreamWire:
        """Begin a stream; gives its wire."""
        buffer = SendBuffer(answers_request=not websocket)
        wire = StreamWire(inbox, Framing.FRAMES if websocket else Framing.BODY, self, stream_id, buffer)
        self._streams[stream_id] = (buffer, wire)
        return wire

    def answer(self, stream_id: int) -> None:
        """An answer has begun; unless it is `admitted`, the peer owes us its reading."""
        if found := self._streams.get(stream_id):
            self._answers[stream_id] = len(found[0])
            self._tell_untaken()

    def admitted(self, stream_id: int) -> None:
        """The answer is a subscriber's stream, which has bounds of its own."""
        if self._answers.pop(stream_id, None) is not None:
            self._tell_untaken()

    @property
    def has_too_many_untaken(self) -> bool:
        """Whether the peer has left so much untaken that it is given no more."""
        return len(self._answers) >= MAX_UNTAKEN_ANSWERS or sum(self._answers.values()) > MAX_UNTAKEN_BYTES

    async def turned(self) -> None:
        """Where too much seems to be untaken, first let what can be sent be sent."""
        if self._turn is not None and self.has_too_many_untaken:
            await asyncio.sleep(0)

    def relieve(self) -> None:
        """Give up all that is untaken."""
        for stream_id in list(self._answers):
            self.cancel(stream_id)

    def refuse(self, stream_id: int) -> None:
        """Refuse a stream for which nothing was done (RFC 9113 section 8.7: REFUSED_STREAM)."""
        with suppress(ProtocolError):  # it may have been reset in the same breath
            self._connection.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)

    def _note_untaken(self, stream_id: int, size: int) -> None:
        if stream_id in self._answers:
            self._answers[stream_id] = size
            self._tell_untaken()

    def _tell_untaken(self) -> None:
        self._carrier.standing.untaken(sum(self._answers.values()) + UNTAKEN_ANSWER_BYTES * len(self._answers))

    def push(self, stream_id: int, data: bytes) -> SendBuffer | None:
        """Add ``data`` to what the stream has to say; gives the buffer, None where the stream has gone."""
        if buffer := self.find(stream_id):
            buffer.extend(data)
            self._note_untaken(stream_id, len(buffer))
            self.wake(stream_id)
        return buffer

    def find(self, stream_id: int) -> SendBuffer | None:
        """Return the stream's buffer, unless everything was sent or it has gone."""
        found = self._streams.get(stream_id)
        return found[0] if found else None

    def wake(self, stream_id: int) -> None:
        """Send what the stream's buffer holds, in the loop's next turn."""
        self._marked[stream_id] = None
        self.resume()

    def complete(self, stream_id: int) -> SendBuffer | None:
        """Say that nothing will be added; gives the buffer, to wait for it."""
        if buffer := self.find(stream_id):
            buffer.complete = True
            self.wake(stream_id)
        return buffer

    async def patiently(self, stream_id: int, wait: Callable[[], Awaitable[None]]) -> None:
        """Await ``wait``, which ends when the peer has taken something; reset a stream whose window it keeps shut."""
        while buffer := self.find(stream_id):
            before, is_answer, patience = len(buffer), stream_id in self._answers, self._carrier.patience
            with suppress(TimeoutError):
                async with asyncio.timeout(patience.answer_seconds if is_answer else patience.stall_seconds):
                    await wait()
                return
            if self.held_up is None and before - len(buffer) < MIN_TAKEN_BYTES:
                if is_answer:
                    self._carrier.note_limit("answer_timeout")
                self.cancel(stream_id)

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """End the stream with RST_STREAM, whatever it had yet to say."""
        if stream_id in self._streams:
            with suppress(ProtocolError):
                self._connection.reset_stream(stream_id, code)
            self.forget(stream_id)
            self.write_out()

    def cancel(self, stream_id: int) -> None:
        """Reset the stream, as one that nobody waits for."""
        self.reset(stream_id, ErrorCodes.CANCEL)

    def forget(self, stream_id: int) -> None:
        """The stream has sent everything, or has gone; wake who waits for it."""
        self._marked.pop(stream_id, None)
        self.admitted(stream_id)
        if found := self._streams.pop(stream_id, None):
            found[0].close()
            self._on_sent()

    def gone(self) -> None:
        """The connection has gone; nobody is told anything any more."""
        self._on_sent = _nothing
        self._marked.clear()
        self._answers.clear()
        self._tell_untaken()
        while self._streams:
            _, (buffer, wire) = self._streams.popitem()
            wire.end()
            buffer.close()

    def window_opened(self, stream_id: int) -> None:
        """Go on with the stream, or with all of them for `EVERYBODY`."""
        if stream_id == EVERYBODY or stream_id in self._streams:
            self.wake(stream_id)

    def resume(self) -> None:
        """Serve the marked streams in the loop's next turn."""
        if self._turn is None and self._marked:
            self._turn = asyncio.get_running_loop().call_soon(self._serve_marked)

    def write_out(self) -> None:
        """Hand what h2 has made to the transport."""
        if data := self._connection.data_to_send():
            self._carrier.write(data)

    def _serve_marked(self) -> None:
        self._turn = None
        sent = unwritten = 0
        while self._marked and sent < TURN_BYTES and not self._carrier.paused:
            stream_id = next(iter(self._marked))
            del self._marked[stream_id]
            size = self._send_frame(stream_id)
            sent, unwritten = sent + size, unwritten + size
            if unwritten >= HIGH_WATER_BYTES:
                unwritten = 0
                self.write_out()
        self.write_out()
        if not self._carrier.paused:
            self.resume()

    def _send_frame(self, stream_id: int) -> int:
        """Send at most one DATA frame of the stream; gives its size, 0 also when the window is shut."""
        if stream_id not in self._streams:
            if stream_id == EVERYBODY:
                self._mark_waiting()
            return 0
        buffer, wire = self._streams[stream_id]
        was_full = buffer.full
        try:
            window = max(0, self._connection.local_flow_control_window(stream_id))
            data = buffer.take(min(window, self._connection.max_outbound_frame_size))
            ends = buffer.complete and not len(buffer)
            if data or ends:
                self._connection.send_data(stream_id, data, end_stream=ends)
        except ProtocolError:
            self.reset(stream_id, ErrorCodes.INTERNAL_ERROR)  # if it is not reset already, or the connection closing
            return 0
        if data:
            self._note_untaken(stream_id, len(buffer))
        if ends:
            self._ended(stream_id, buffer)
        elif len(buffer) and window > len(data):
            self._marked[stream_id] = None
        if was_full and not buffer.full:
            wire.notify()
        return len(data)

    def _mark_waiting(self) -> None:
        """Mark who has something to say: once a turn, however often the peer opens the connection's window."""
        for stream_id, (buffer, _) in self._streams.items():
            if len(buffer) or buffer.complete:
                self._marked[stream_id] = None

    def _ended(self, stream_id: int, buffer: SendBuffer) -> None:
        if buffer.answers_request:
            # The answer is complete, the rest of the request unwanted (RFC 9113 section 8.1).
            with suppress(ProtocolError):
                self._connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        self.forget(stream_id)
