"""What a peer makes an HTTP/2 connection do for nothing, counted; too much of it is a flood, and ends the connection.

Guards against rapid reset (CVE-2023-44487), resets that are provoked (CVE-2025-8671), floods of PING, SETTINGS,
PRIORITY, WINDOW_UPDATE and of frames that are empty or that nobody knows (CVE-2019-9511 to 9518), and heads without an
end (CVE-2024-27316): frames that cost the sender ten bytes and us 25 us. It walks over the heads of frames before h2
sees them, because h2 tells nothing of many of them. Knows no stream and no connection; `http2` asks it, and tells it
what no frame's head shows: windows, and which streams were reset before they were answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailrace.server.settings import MAX_HEAD_BYTES, MAX_HEADER_TABLE_BYTES, MAX_STREAMS

if TYPE_CHECKING:
    from h2.connection import H2Connection

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
"""The types of frames (RFC 9113 section 6)."""
END_STREAM, END_HEADERS = 0x1, 0x4
FRAME_HEAD_BYTES = 9
PREFACE_BYTES = 24
WINDOW = 65535
"""What a connection may send before its peer opens the window (RFC 9113 section 6.9.2)."""

SMALL_BYTES = 64
"""DATA below this costs more than it brings. Pongs are smaller, and the last bytes of a body, but those come once."""

HEAD_FRAME_BYTES = 1024
"""What a frame of a head counts at least, so that many small ones are as bad as a large one."""

SENT_BYTES_PER_UPDATE = 16
"""A client may open windows once for so many bytes that it was sent. The smallest event has three times as many, and a
careful client opens two windows for it, its stream's and the connection's; one that goes byte by byte, thirty-two."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of something is no flood: ``burst`` at once, then ``per_second``.

    ``saved`` is how much more may be saved up, where a peer can earn it.
    """

    burst: int
    per_second: float
    saved: int = 0


_BY_STREAM = Allowance(4 * MAX_STREAMS, 200)
"""For what an honest client says for each of its streams: for all of them at once, and more than once; later 200 a
second, which take half a percent of a core."""

ALLOWANCES = {
    # Every stream opened and closed at once, twice: a page with 900 EventSources that is reloaded. What was answered
    # before it was closed does not count, so a proxy whose clients come and go is never meant.
    "rapid_reset": Allowance(2 * MAX_STREAMS, 100),
    # RST_STREAM without a stream: each may be reset once.
    "reset_flood": Allowance(MAX_STREAMS, 100, saved=2 * MAX_STREAMS),
    # gRPC pings each second, and some libraries ten times while they measure the bandwidth.
    "ping_flood": Allowance(100, 20),
    # One or two begin a connection; some widen their windows step by step. Each walks over all streams.
    "settings_flood": Allowance(100, 1),
    # Browsers give a priority to each stream, and change it (RFC 9218); unknown types count here, too.
    "priority_flood": _BY_STREAM,
    "window_update_flood": _BY_STREAM,
    # The pongs of 900 WebSockets after one heartbeat.
    "empty_frame_flood": _BY_STREAM,
}
"""What is counted, by the name it has in the metrics, and how much of it there may be on one connection."""

_KINDS = {
    RST_STREAM: "reset_flood",
    SETTINGS: "settings_flood",
    PING: "ping_flood",
    WINDOW_UPDATE: "window_update_flood",
}


def bound_header_table(connection: H2Connection) -> None:
    """Remember no more of our heads than is good for us; tell the smallest size and the last (RFC 7541 section 4.2)."""
    encoder = connection.encoder
    if encoder.header_table_size > MAX_HEADER_TABLE_BYTES:  # noqa: PLR1730  # setting what it is would hide a change
        encoder.header_table_size = MAX_HEADER_TABLE_BYTES
    if changes := encoder.table_size_changes:
        changes[:] = dict.fromkeys((min(changes), changes[-1]))


class Flood(Exception):
    """The peer has gone too far; ``limit`` is its name in the metrics."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class Guard:
    """Counts for one connection; lives as long as it. ``clock`` gives seconds of any origin."""

    __slots__ = ("_begun", "_clock", "_head", "_levels", "_opened", "_sent", "_skip")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}
        self._begun = b""
        self._skip = PREFACE_BYTES
        self._head = 0
        self._opened = WINDOW
        self._sent = 0

    def opened(self, size: int) -> None:
        """Take note that the peer has opened the connection's window by ``size``."""
        self._opened += size

    def look(self, data: bytes, window: int) -> None:
        """Count the frames that begin in ``data``; ``window`` is what is left of the connection's. Raises `Flood`."""
        counts: dict[str, float] = {}
        at = self._skip
        data = self._begun + data
        while at + FRAME_HEAD_BYTES <= len(data):
            length = int.from_bytes(data[at : at + 3], "big")
            self._count(data[at + 3], data[at + 4], length, counts)
            at += FRAME_HEAD_BYTES + length
        self._begun = data[at:]
        self._skip = max(0, at - len(data))
        if "window_update_flood" in counts:
            sent = self._opened - window  # so that the way out has to count nothing
            counts["window_update_flood"] -= (sent - self._sent) / SENT_BYTES_PER_UPDATE
            self._sent = sent
        for kind, amount in counts.items():
            self.charge(kind, amount)

    def charge(self, kind: str, amount: float = 1) -> None:
        """Count ``amount`` of what `ALLOWANCES` calls ``kind``; below zero it is earned. Raises `Flood`."""
        allowance, now = ALLOWANCES[kind], self._clock()
        level, since = self._levels.get(kind, (0.0, now))
        if level > 0:
            level = max(0.0, level - (now - since) * allowance.per_second)
        level = max(level + amount, -allowance.saved)
        self._levels[kind] = level, now
        if level > allowance.burst:
            raise Flood(kind)

    def _count(self, kind: int, flags: int, length: int, counts: dict[str, float]) -> None:
        if kind in {HEADERS, CONTINUATION}:
            self._measure(kind, flags, length)
        if kind == HEADERS:
            counts["reset_flood"] = counts.get("reset_flood", 0) - 1
        elif kind in {DATA, CONTINUATION}:
            if length < SMALL_BYTES and not (kind == DATA and flags & END_STREAM):
                counts["empty_frame_flood"] = counts.get("empty_frame_flood", 0) + 1
        else:
            name = _KINDS.get(kind, "priority_flood")
            counts[name] = counts.get(name, 0) + 1

    def _measure(self, kind: int, flags: int, length: int) -> None:
        """Hold the head that is arriving to its bound, before it is put together."""
        self._head = max(length, HEAD_FRAME_BYTES) + (self._head if kind == CONTINUATION else 0)
        if self._head > 2 * MAX_HEAD_BYTES:
            raise Flood("continuation_flood")
        if flags & END_HEADERS:
            self._head = 0
