"""Compressed bytes -> the bytes that they stand for, into memory that the caller gives, and never more than fits there.

What a batch says about its own size is checked, and not trusted. The only file that knows zlib and cramjam. Pure.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import TYPE_CHECKING

import cramjam

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_PIECE_BYTES = 1024
"""A gzip member or a snappy block holds at least so much, on average: xerial's snappy makes none below it, and Kafka's
own blocks have 32 KiB. A megabyte of members without content would take a tenth of a second, and yield nothing."""
SLICE_BYTES = 64 * 1024
"""Of gzip, put in and taken out at once. zlib copies what it has not read yet, so it is given little."""

_XERIAL = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
"""How snappy in blocks begins (xerial's snappy-java, version 1): what Java's producers write."""
_BLOCK = Struct(">i")
_GZIP_WINDOW = 31
"""For zlib: a gzip header, and a window of any size."""
_FULL = "failed to write whole buffer"
"""What cramjam says when the memory is full (Rust's ``std::io::Error`` of the kind ``WriteZero``); a test holds it."""
_NO_MEMORY = ("not enough memory", "allocation_failed")
"""What zstd and lz4 say when they can get no memory for themselves."""


class Damage(Exception):
    """The bytes do not hold what they promise."""


class NoRoom(Exception):
    """They stand for more bytes than there is room for."""


def unpack(codec: int, data: memoryview, room: memoryview) -> int:
    """Unpack ``data`` into ``room``; gives how many bytes of it were taken. ``codec`` is Kafka's number, not 0.

    Raises:
        NoRoom: ``room`` is full and there is more, or the data is cut into too many pieces for so little room.
        Damage: the bytes cannot be unpacked.
        MemoryError: of the process's memory, which says nothing about the bytes.
    """
    if (unpacker := _UNPACKERS.get(codec)) is None:
        raise Damage(f"its codec {codec} is unknown")
    try:
        return unpacker(data, room)
    except (cramjam.DecompressionError, zlib.error) as error:
        raise renamed(error) from None


def renamed(error: Exception) -> Exception:
    """Return what a codec's error means for us; it has only words to tell."""
    text = str(error)
    if _FULL in text:
        return NoRoom()
    return MemoryError(text) if any(each in text for each in _NO_MEMORY) else Damage(text)


def _gzip(data: memoryview, room: memoryview) -> int:
    stream, at, members = zlib.decompressobj(_GZIP_WINDOW), 0, 1
    for begin in range(0, len(data), SLICE_BYTES):
        piece = bytes(data[begin : begin + SLICE_BYTES])
        while piece:
            if stream.eof:
                stream, members = zlib.decompressobj(_GZIP_WINDOW), members + 1
                _expect_pieces(members, room)
            at = _put(stream.decompress(piece, SLICE_BYTES), room, at)
            piece = stream.unused_data.lstrip(b"\0") if stream.eof else stream.unconsumed_tail
    while not stream.eof:  # zlib may have taken all and not given all
        if not (last := stream.decompress(b"", SLICE_BYTES)):
            raise Damage("gzip: it ends too soon")
        at = _put(last, room, at)
    return at


def _put(piece: bytes, room: memoryview, at: int) -> int:
    end = at + len(piece)
    if end > len(room):
        raise NoRoom
    room[at:end] = piece
    return end


def _snappy(data: memoryview, room: memoryview) -> int:
    if data[: len(_XERIAL)] != _XERIAL:
        return _snappy_block(data, room)
    at, written, blocks = len(_XERIAL), 0, 0
    while at < len(data):
        blocks += 1
        _expect_pieces(blocks, room)
        begin = at + _BLOCK.size
        at = begin + (_BLOCK.unpack_from(data, at)[0] if begin <= len(data) else -1)
        if not begin < at <= len(data):
            raise Damage("snappy: a block has a wrong length")
        written += _snappy_block(data[begin:at], room[written:])
    return written


def _snappy_block(data: memoryview, room: memoryview) -> int:
    if cramjam.snappy.decompress_raw_len(data) > len(room):
        raise NoRoom
    return cramjam.snappy.decompress_raw_into(data, room)


def _lz4(data: memoryview, room: memoryview) -> int:
    return cramjam.lz4.decompress_into(data, room)


def _zstd(data: memoryview, room: memoryview) -> int:
    return cramjam.zstd.decompress_into(data, room)


def _expect_pieces(count: int, room: memoryview) -> None:
    if count > 1 + len(room) // LEAST_PIECE_BYTES:
        raise NoRoom


_UNPACKERS: dict[int, Callable[[memoryview, memoryview], int]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
"""By Kafka's number of the codec, in the lowest three bits of a batch's attributes."""
