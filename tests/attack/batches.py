"""Record batches of Kafka's message format 2, made by hand, and a producer that sends them as they are.

A library would not make what is needed here: batches that are small and unpack to a gigabyte, header keys that are no
UTF-8, time stamps of next year. See https://kafka.apache.org/documentation/#recordbatch and KIP-98.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import cramjam
from aiokafka.record.util import calc_crc32c

GZIP, ZSTD = 1, 4
NO_CODEC = 0
PIECE_BYTES = 2**20
ZSTD_LEVEL = 3
ANSWER_SECONDS = 60.0
"""The broker unpacks, too, to look at what it takes."""
PRODUCE, PRODUCE_VERSION = 0, 7
"""The first version that may carry zstd, and the last but one without compact fields."""

Header = tuple[bytes, bytes | None]


def varint(number: int) -> bytes:
    """Return a signed number in Protocol Buffers' zig-zag form."""
    rest, data = (number << 1) ^ (number >> 63), bytearray()
    while rest >= 128:
        data.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*data, rest])


def sized(data: bytes | None) -> bytes:
    """Return bytes with their length before them, -1 for none."""
    return varint(-1) if data is None else varint(len(data)) + data


def record(number: int, key: bytes, value: bytes | None = b"x", headers: Iterable[Header] = ()) -> bytes:
    """Return the record that lies ``number`` behind its batch's first."""
    fields = list(headers)
    body = b"\0" + varint(0) + varint(number) + sized(key) + sized(value) + varint(len(fields))
    return sized(body + b"".join(sized(name) + sized(text) for name, text in fields))


def of_zeros(key: bytes, size: int) -> Iterator[bytes]:
    """Yield the pieces of a record whose value is so many zero bytes."""
    head = b"\0" + varint(0) + varint(0) + sized(key) + varint(size)
    yield varint(len(head) + size + 1) + head
    for _ in range(size // PIECE_BYTES):
        yield bytes(PIECE_BYTES)
    yield bytes(size % PIECE_BYTES) + varint(0)


def with_empty_headers(number: int, key: bytes, count: int) -> bytes:
    """Return a record with so many headers, each without a name and without a value: two bytes."""
    body = b"\0" + varint(0) + varint(number) + sized(key) + sized(b"x") + varint(count) + b"\0\x01" * count
    return sized(body)


def batch(records: Iterable[bytes], count: int, *, codec: int = NO_CODEC, at_ms: int | None = None) -> bytes:
    """Return the batch of these ``count`` records, all with the time stamp ``at_ms``, now if that is None."""
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    counted = struct.pack(">hiqqqhii", codec, count - 1, at_ms, at_ms, -1, -1, -1, count) + packed(records, codec)
    rest = struct.pack(">ibI", -1, 2, calc_crc32c(counted)) + counted
    return struct.pack(">qi", 0, len(rest)) + rest


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


class RawProducer:
    """Sends batches to one broker over one connection; blocks. Enter it to connect."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.partition(",")[0].rpartition(":")
        self._place = (host, int(port))
        self._socket = socket.socket()

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._place, ANSWER_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, topic: str, partition: int, data: bytes) -> int:
        """Return the error code with which the broker answers a batch, 0 where it took it."""
        name = topic.encode()
        head = struct.pack(">hhih", PRODUCE, PRODUCE_VERSION, 1, -1) + struct.pack(">hhi", -1, -1, 30_000)
        body = struct.pack(">ih", 1, len(name)) + name + struct.pack(">iii", 1, partition, len(data)) + data
        self._socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        answer = self._read(*struct.unpack(">i", self._read(4)))
        [code] = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(name) + 4 + 4)
        return int(code)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("Kafka has closed the connection")
            data += piece
        return data
