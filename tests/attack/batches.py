"""Record batches of Kafka's message format 2 that no library would make: small ones that unpack to a gigabyte.

`raw_batches` writes their bytes; what stands here never has the whole of it in memory.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator

import cramjam

from raw_batches import body, framed, header, sized, varint

GZIP, ZSTD = 1, 4
NO_CODEC = 0
PIECE_BYTES = 2**20
ZSTD_LEVEL = 3


def record(number: int, key: bytes, value: bytes | None = b"x", headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the record that lies ``number`` behind its batch's first."""
    return sized(body(number, key, value, [header(*each) for each in headers]))


def of_zeros(key: bytes, size: int) -> Iterator[bytes]:
    """Yield the pieces of a record whose value is so many zero bytes."""
    head = b"\0" + varint(0) + varint(0) + sized(key) + varint(size)
    yield varint(len(head) + size + 1) + head
    for _ in range(size // PIECE_BYTES):
        yield bytes(PIECE_BYTES)
    yield bytes(size % PIECE_BYTES) + varint(0)


def with_empty_headers(number: int, key: bytes, count: int) -> bytes:
    """Return a record with so many headers, each without a name and without a value: two bytes."""
    return sized(body(number, key, b"x", [header(b"", None)] * count))


def batch(records: Iterable[bytes], count: int, *, codec: int = NO_CODEC, at_ms: int | None = None) -> bytes:
    """Return the batch of these ``count`` records, all with the time stamp ``at_ms``, now if that is None."""
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    return framed(
        packed(records, codec), count, last_delta=count - 1, attributes=codec, first_ms=at_ms, newest_ms=at_ms
    )


def packed(pieces: Iterable[bytes], codec: int) -> bytes:
    """Return the pieces compressed, never whole in memory where there is a codec."""
    if codec == GZIP:
        gzip = zlib.compressobj(9, wbits=31)
        return b"".join([*map(gzip.compress, pieces), gzip.flush()])
    if codec == ZSTD:
        zstd = cramjam.zstd.Compressor(ZSTD_LEVEL)
        for piece in pieces:
            zstd.compress(piece)
        return bytes(zstd.finish())
    return b"".join(pieces)
