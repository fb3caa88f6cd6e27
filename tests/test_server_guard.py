"""What is counted as a flood, and what is not, hour after hour: by a clock that is set by hand."""

from __future__ import annotations

import pytest

from h2raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    SETTINGS,
    frame,
    headers,
    rst_stream,
    window_update,
)
from tailrace.server.guard import WINDOW, Flood, Guard
from tailrace.server.settings import ALLOWANCES, MAX_HEAD_BYTES, MAX_STREAMS, SMALL_BYTES

PONG = frame(DATA, 0, 1, b"\x8a\x80\0\0\0\0")


class Watched:
    """A guard, past the preface, and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.guard = Guard(lambda: self.now)
        self.guard.look(PREFACE, WINDOW)

    def says(self, *frames: bytes, window: int = WINDOW) -> None:
        """Let the peer say ``frames``."""
        self.guard.look(b"".join(frames), window)


ENOUGH = {
    "ping_flood": frame(PING, payload=b"12345678"),
    "settings_flood": frame(SETTINGS),
    "priority_flood": frame(PRIORITY, 0, 1, b"\0\0\0\3\1"),
    "window_update_flood": window_update(1, 1),
    "empty_frame_flood": PONG,
    "reset_flood": rst_stream(1),
}


@pytest.mark.parametrize("limit", ENOUGH)
def test_burst_is_allowed_and_one_more_is_a_flood(limit: str) -> None:
    """The allowance is what the table says, and names itself."""
    peer = Watched()
    peer.says(ENOUGH[limit] * ALLOWANCES[limit].burst)
    with pytest.raises(Flood) as caught:
        peer.says(ENOUGH[limit])
    assert caught.value.limit == limit


@pytest.mark.parametrize("limit", ENOUGH)
def test_allowance_comes_back(limit: str) -> None:
    """After a full burst, so many a second are allowed for ever."""
    peer, allowance = Watched(), ALLOWANCES[limit]
    peer.says(ENOUGH[limit] * allowance.burst)
    for _ in range(1000):
        peer.now += 1
        peer.says(ENOUGH[limit] * int(allowance.per_second))


def test_counting_does_not_depend_on_how_the_bytes_arrive() -> None:
    """Frames are counted once, also when they come byte by byte, heads and preface torn."""
    guard = Guard(lambda: 0.0)
    for byte in PREFACE + headers(1) + ENOUGH["ping_flood"] * ALLOWANCES["ping_flood"].burst:
        guard.look(bytes([byte]), WINDOW)
    with pytest.raises(Flood):
        guard.look(ENOUGH["ping_flood"], WINDOW)


def test_what_looks_like_a_frame_inside_of_one_is_none() -> None:
    """The bytes of a payload are passed over."""
    Watched().says(frame(DATA, 0, 1, ENOUGH["settings_flood"] * 500))


def test_pings_each_second_for_an_hour() -> None:
    """As gRPC does it to see whether anybody is there."""
    peer = Watched()
    for _ in range(3600):
        peer.now += 1
        peer.says(ENOUGH["ping_flood"])


def test_pongs_of_every_socket_after_each_heartbeat() -> None:
    """All WebSockets of a connection answer at once, for an hour."""
    peer = Watched()
    for _ in range(240):
        peer.now += 15
        peer.says(PONG * MAX_STREAMS)


def test_data_that_brings_something_is_free() -> None:
    """An upload is no flood, nor is the small end of each of many bodies."""
    peer = Watched()
    peer.says(frame(DATA, 0, 1, b"x" * SMALL_BYTES) * 10_000)
    peer.says(frame(DATA, END_STREAM, 1, b"x") * 10_000)


def test_windows_are_paid_for_by_what_was_sent() -> None:
    """Two updates for each small event, without end and without a pause; and no more than the burst for nothing."""
    peer, size = Watched(), 64
    for _ in range(20_000):
        peer.says(window_update(1, size), window_update(0, size), window=WINDOW - size)
        peer.guard.opened(size)
    with pytest.raises(Flood):
        peer.says(window_update(1, 1) * (ALLOWANCES["window_update_flood"].burst + 1))


def test_opening_a_window_wide_buys_nothing() -> None:
    """Only what was sent counts, not what may be sent."""
    peer = Watched()
    peer.guard.opened(2**31 - 1 - WINDOW)
    with pytest.raises(Flood):
        peer.says(window_update(0, 1) * (ALLOWANCES["window_update_flood"].burst + 1), window=2**31 - 1)


def test_each_stream_may_be_reset_once() -> None:
    """A connection whose streams all end with RST_STREAM is no flood, also when they end together."""
    peer = Watched()
    for _ in range(50):
        peer.says(headers(1) * MAX_STREAMS)
        peer.says(rst_stream(1) * MAX_STREAMS)


def test_resets_cannot_be_saved_up_for_ever() -> None:
    """A million requests do not buy a million resets."""
    peer, allowance = Watched(), ALLOWANCES["reset_flood"]
    peer.says(headers(1) * 10_000)
    with pytest.raises(Flood):
        peer.says(rst_stream(1) * (allowance.saved + allowance.burst + 1))


def test_streams_that_were_reset_unanswered_are_told() -> None:
    """What no frame shows is charged by name."""
    peer, allowance = Watched(), ALLOWANCES["rapid_reset"]
    for _ in range(allowance.burst):
        peer.guard.charge("rapid_reset")
    peer.now += 1 / allowance.per_second
    peer.guard.charge("rapid_reset")
    with pytest.raises(Flood, match="rapid_reset"):
        peer.guard.charge("rapid_reset")


def test_head_may_come_in_pieces() -> None:
    """A head in several frames is measured as one, and the next begins anew."""
    peer, piece = Watched(), b"x" * 16384
    for _ in range(100):
        peer.says(frame(HEADERS, 0, 1, piece), frame(CONTINUATION, 0, 1, piece), frame(CONTINUATION, END_HEADERS, 1))


@pytest.mark.parametrize("piece", [b"", b"x" * 16384], ids=["empty", "full"])
def test_head_without_end(piece: bytes) -> None:
    """A head is cut off where it has come to twice what it may be; each frame counts, however small."""
    peer = Watched()
    peer.says(frame(HEADERS, 0, 1))
    with pytest.raises(Flood, match="continuation_flood"):
        peer.says(frame(CONTINUATION, 0, 1, piece) * (2 * MAX_HEAD_BYTES // max(len(piece), 1024)))
