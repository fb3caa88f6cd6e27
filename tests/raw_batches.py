"""Batches of Kafka's log written by hand, byte for byte, so that anything in them may be wrong and the checksum right.

https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence

from aiokafka import codec
from aiokafka.record.util import calc_crc32c

MIB = 1024**2
CODECS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda data: data,
    1: lambda data: gzip.compress(data, 1),
    2: codec.snappy_encode,
    3: codec.lz4_encode,
    4: codec.zstd_encode,
}
"""By Kafka's number: none, gzip, snappy, lz4, zstd."""
COMPRESSED = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_HEAD = struct.Struct(">qiibIhiqqqhii")
_OLD = struct.Struct(">qiIbb")


def varint(number: int) -> bytes:
    """Write a number in zigzag form."""
    number, written = (number << 1) ^ (number >> 63), bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def sized(data: bytes | None) -> bytes:
    """Write bytes behind their length, null as -1."""
    return varint(-1) if data is None else varint(len(data)) + data


def header(name: bytes, value: bytes | None) -> bytes:
    return sized(name) + sized(value)


def body(
    delta: int,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[bytes] = (),
    *,
    count: int | None = None,
    ms: int = 0,
) -> bytes:
    """Write a record without its length; ``delta`` is its offset's distance from the first, ``ms`` its time's."""
    count = len(headers) if count is None else count
    return b"\0" + varint(ms) + varint(delta) + sized(key) + sized(value) + varint(count) + b"".join(headers)


def batch(
    bodies: Sequence[bytes],
    *,
    first: int = 0,
    codec: int = 0,
    last_delta: int | None = None,
    count: int | None = None,
    attributes: int = 0,
    producer: int = -1,
    first_ms: int = 1_700_000_000_000,
    newest_ms: int = 1_700_000_000_999,
) -> bytes:
    """Write a batch of records, whatever they hold."""
    return framed(
        CODECS[codec](b"".join(sized(each) for each in bodies)),
        len(bodies) if count is None else count,
        first=first,
        last_delta=len(bodies) - 1 if last_delta is None else last_delta,
        attributes=attributes | codec,
        producer=producer,
        first_ms=first_ms,
        newest_ms=newest_ms,
    )


def framed(
    packed: bytes,
    count: int,
    *,
    first: int = 0,
    last_delta: int = 0,
    attributes: int = 0,
    producer: int = -1,
    first_ms: int = 1_700_000_000_000,
    newest_ms: int = 1_700_000_000_999,
) -> bytes:
    """Write a batch around what its records were packed into, with the right length and checksum."""
    length = _HEAD.size - 12 + len(packed)
    fields = (attributes, last_delta, first_ms, newest_ms, producer, -1, -1, count)
    checked = _HEAD.pack(first, length, -1, 2, 0, *fields)[21:] + packed
    return _HEAD.pack(first, length, -1, 2, calc_crc32c(checked), *fields) + packed


def old_message(
    offset: int, key: bytes | None, value: bytes | None, *, magic: int = 1, attributes: int = 0, ms: int = 1000
) -> bytes:
    """Write a message of format 0 or 1."""
    parts = struct.pack(">q", ms) if magic else b""
    for part in (key, value):
        parts += struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part
    checked = bytes([magic, attributes]) + parts
    return _OLD.pack(offset, len(checked) + 4, zlib.crc32(checked), magic, attributes) + parts


def zeros(size: int) -> bytes:
    """A zstd frame that unpacks to so many zeros, some 32 bytes a mebibyte."""
    return CODECS[4](bytes(size))
