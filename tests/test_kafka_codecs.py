"""Unpacking into so much memory as there is, and never more."""

from __future__ import annotations

import gzip
import struct

import cramjam
import pytest
from aiokafka import codec as theirs

from raw_batches import CODECS, COMPRESSED
from tailrace.kafka.codecs import LEAST_PIECE_BYTES, Damage, NoRoom, renamed, unpack

TEXT = b"the same again and again " * 2000
PACKED = {
    **{name: (number, CODECS[number](TEXT)) for name, number in COMPRESSED.items()},
    "snappy in one block": (2, bytes(theirs.snappy_encode(TEXT, xerial_compatible=False))),
    "gzip in two members": (1, gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]) + bytes(8)),
}
every_codec = pytest.mark.parametrize("number, packed", PACKED.values(), ids=PACKED)


def unpacked(number: int, packed: bytes, size: int = len(TEXT)) -> bytes:
    room = bytearray(size)
    return bytes(room[: unpack(number, memoryview(packed), memoryview(room))])


@every_codec
def test_what_was_packed_comes_out(number: int, packed: bytes) -> None:
    """Also where there is more room."""
    assert unpacked(number, packed) == unpacked(number, packed, len(TEXT) + 1) == TEXT


@every_codec
@pytest.mark.parametrize("size", [len(TEXT) - 1, 100, 1])
def test_there_is_no_room(number: int, packed: bytes, size: int) -> None:
    """Whatever the data says of its size, nothing is written beyond the room."""
    with pytest.raises(NoRoom):
        unpacked(number, packed, size)


@every_codec
def test_what_is_cut_is_damage(number: int, packed: bytes) -> None:
    """And so is what was never packed, or something that follows."""
    for bad in (packed[:-9], packed[:5], b"", b"\xff" * 99):
        with pytest.raises(Damage):
            unpacked(number, bad)


@pytest.mark.parametrize("number", [5, 6, 7])
def test_a_codec_that_is_unknown(number: int) -> None:
    """Kafka has four."""
    with pytest.raises(Damage, match=f"codec {number} is unknown"):
        unpacked(number, b"x")


@pytest.mark.parametrize("length", [-(2**31), -4, 0, 1000, 2**31 - 1])
def test_a_snappy_block_with_a_wrong_length(length: int) -> None:
    """It leads neither back nor beyond the end."""
    packed = CODECS[2](TEXT)
    with pytest.raises(Damage, match="wrong length"):
        unpacked(2, packed[:16] + struct.pack(">i", length) + packed[20:100])


def test_pieces_without_content_are_not_counted_out() -> None:
    """A megabyte of them would take a tenth of a second."""
    for number, piece in ((1, gzip.compress(b"")), (2, struct.pack(">i", 1) + b"\0")):
        packed = (CODECS[2](b"") if number == 2 else b"") + piece * 5000
        with pytest.raises(NoRoom):
            unpacked(number, packed, 1000 * LEAST_PIECE_BYTES)


@pytest.mark.parametrize("text", ["Allocation error : not enough memory", "lz4: ERROR_allocation_failed"])
def test_too_little_memory_is_no_damage(text: str) -> None:
    """zstd and lz4 say it in words of their own."""
    assert isinstance(renamed(cramjam.DecompressionError(text)), MemoryError)
