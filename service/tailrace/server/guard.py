"""What a peer makes an HTTP/2 connection do for nothing, counted; too much of it is a flood, and ends the connection.

Guards against rapid reset (CVE-2023-44487), resets that are provoked (CVE-2025-8671), floods of PING, SETTINGS,
PRIORITY, WINDOW_UPDATE and of frames that are empty or that nobody knows (CVE-2019-9511 to 9518), and heads without an
end (CVE-2024-27316): frames that cost the sender ten bytes and us 25 us. It walks over the heads of frames before h2
sees them, because h2 tells nothing of many of them. Knows no stream and no connection; `http2` asks it, and tells it
what no frame's head shows: windows, and which streams were reset before they were answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tailrace.server.level import Level
from tailrace.server.settings import (
    ALLOWANCES,
    HEAD_FRAME_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_TABLE_BYTES,
    SENT_BYTES_PER_UPDATE,
    SMALL_BYTES,
)

if TYPE_CHECKING:
    from h2.connection import H2Connection

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
"""The types of frames (RFC 9113 section 6)."""
END_STREAM, END_HEADERS = 0x1, 0x4
FRAME_HEAD_BYTES = 9
PREFACE_BYTES = 24
WINDOW = 65535
"""What a connection may send before its peer opens the window (RFC 9113 section 6.9.2)."""

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
        self._levels: dict[str, Level] = {}
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
        now = self._clock()
        if kind not in self._levels:
            self._levels[kind] = Level(ALLOWANCES[kind], now)
        if self._levels[kind].add(amount, now):
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
