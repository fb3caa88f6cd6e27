"""The header of a batch: what it says about itself, which may be wrong until its checksum was found right.

The first 17 bytes are the same shape in all message formats. Pure. Source: KIP-98 for format 2.
"""

from __future__ import annotations

from struct import Struct

from aiokafka.record.util import calc_crc32c

from tailrace.kafka import legacy
from tailrace.kafka.codecs import Damage
from tailrace.kafka.records import Shape

LEAST_BYTES = 17
"""In fewer bytes there is no header."""
RECORDS_AT = 61
"""Where the records begin in a batch of format 2."""

_FRAME = Struct(">qi4xb")
_REST = Struct(">17xIhiqqq6xi")
_OLD_CRC = Struct(">12xI")
_CHECKED_FROM = 21
_BEFORE_LENGTH_COUNTS = 12
_LEAST_LENGTH = {0: 14, 1: 22, 2: 49}
"""By format: no batch says that it is shorter than its own header."""
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20


class Header:
    """The header of the batch that begins at ``at`` in ``data``; ``end`` is where it says that it ends."""

    __slots__ = (
        "_delta", "_first_ms", "at", "attributes", "crc", "end", "first", "flaw", "is_special", "magic", "newest_ms",
        "next_offset", "producer", "records",
    )  # fmt: skip

    attributes: int
    first: int
    next_offset: int
    records: int

    def __init__(self, data: memoryview, at: int) -> None:
        self.at = at
        self.first, length, self.magic = _FRAME.unpack_from(data, at)
        self.end = at + _BEFORE_LENGTH_COUNTS + length
        self.flaw = ""
        """What is wrong with it at first sight."""
        self.next_offset = self.first + 1
        if length < _LEAST_LENGTH.get(self.magic, length) or self.end > len(data):
            self.flaw = "its length is wrong"
        if self.magic == 2 and len(data) - at >= RECORDS_AT:  # helps also where only the length is wrong
            (
                self.crc,
                self.attributes,
                self._delta,
                self._first_ms,
                self.newest_ms,
                self.producer,
                self.records,
            ) = _REST.unpack_from(data, at)
            if self._delta > 0:
                self.next_offset += self._delta
        else:
            self.crc, self.attributes, self.newest_ms, self.producer, self.records = 0, 0, -1, -1, 1
            if self.magic not in _LEAST_LENGTH:
                self.flaw = f"message format {self.magic} is unknown"
            elif not self.flaw:
                (self.crc,) = _OLD_CRC.unpack_from(data, at)
        self.is_special = bool(self.attributes & (_TRANSACTIONAL | _CONTROL))
        """Whether it is part of a transaction, or holds markers of some."""

    @property
    def codec(self) -> int:
        """Kafka's number of the codec, 0 for none. In the old formats the attributes lie elsewhere."""
        return self.attributes & _CODEC

    @property
    def is_control(self) -> bool:
        """Whether it holds markers of transactions."""
        return bool(self.attributes & _CONTROL)

    @property
    def shape(self) -> Shape:
        """What its records need, in format 2."""
        append_ms = self.newest_ms if self.attributes & _LOG_APPEND_TIME else None
        return Shape(max(self.records, 0), self.first, self._delta, self._first_ms, append_ms)

    def check(self, frame: memoryview) -> None:
        """Raise `Damage` unless ``frame``, which is the whole batch, is what was written."""
        if self.flaw:
            raise Damage(self.flaw)
        if self.crc != (calc_crc32c(frame[_CHECKED_FROM:]) if self.magic == 2 else legacy.checksum(frame)):
            raise Damage("its checksum is wrong")


def unpacked_header(room: memoryview, frame: memoryview) -> None:
    """Write the header of ``frame`` into ``room``, of a batch with the same records in which nothing is packed."""
    room[:RECORDS_AT] = frame[:RECORDS_AT]
    room[22] &= ~_CODEC & 0xFF  # the lower byte of the attributes
