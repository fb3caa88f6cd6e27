"""What a stream has yet to send, and who waits for it."""

from __future__ import annotations

import asyncio

from tailrace.server.sendbuffer import LOW_WATER_BYTES, SendBuffer
from tailrace.wire import HIGH_WATER_BYTES


def full_buffer() -> SendBuffer:
    """Make one that holds a byte more than its mark."""
    buffer = SendBuffer(answers_request=True)
    buffer.extend(b"x" * (HIGH_WATER_BYTES + 1))
    return buffer


def test_take_gives_bytes_in_order() -> None:
    """What was added is taken in order, as much as is asked for."""
    buffer = SendBuffer(answers_request=True)
    buffer.extend(b"abc")
    buffer.extend(b"def")
    assert [buffer.take(2), buffer.take(99), buffer.take(1)] == [b"ab", b"cdef", b""]


def test_full_until_the_low_mark() -> None:
    """Full above the high mark; there is room again only at the low one, not after every frame."""
    buffer = full_buffer()
    buffer.take(1)
    assert buffer.full
    buffer.take(HIGH_WATER_BYTES - LOW_WATER_BYTES)
    assert not buffer.full


async def test_writer_waits_while_nothing_is_taken() -> None:
    """Taking nothing, as at a shut window, lets no writer go on."""
    buffer = full_buffer()
    task = asyncio.create_task(buffer.room())
    await asyncio.sleep(0)
    buffer.take(0)
    await asyncio.sleep(0)
    assert not task.done()
    buffer.take(HIGH_WATER_BYTES)
    await task


async def test_close_wakes_writers() -> None:
    """A writer goes on when the stream or its connection has gone."""
    buffer = full_buffer()
    tasks = [asyncio.create_task(buffer.room()), asyncio.create_task(buffer.sent())]
    await asyncio.sleep(0)
    buffer.close()
    await asyncio.gather(*tasks)
    assert len(buffer) == 0


def test_nothing_is_added_after_the_end() -> None:
    """Bytes after the end, or after the close, are dropped."""
    buffer = SendBuffer(answers_request=True)
    buffer.complete = True
    buffer.extend(b"late")
    assert len(buffer) == 0
