"""The records of one batch, message format 2, read one by one: what is wrong with one record concerns that record only.

aiokafka's parser is four times as fast, and gives all of a batch or nothing; it also makes objects before anybody can
count them. So it reads what is small and in order, and this reads the rest. Pure. Source: KIP-98 and Kafka's own
``DefaultRecord.readFrom``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from tailrace.event import MAX_HEADERS, Flawed
from tailrace.kafka.codecs import Damage
from tailrace.kafka.varint import signed
from tailrace.session import MAX_SESSION_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailrace.event import Record

MAX_HEADER_NAME_BYTES = 1024
"""Where records are read one by one, a header with a longer name is left out: nobody asks for it, and the names that
producers use have some ten bytes."""
RECORD_BYTES = 200
"""What a record takes beside its key and value: the object, its numbers, the heads of two ``bytes``, a list."""
HEADER_BYTES = 150
"""The same for a header: a tuple, and the heads of a ``str`` and a ``bytes``."""

_INT64 = 1 << 64


class Shape(NamedTuple):
    """What a batch's header says that its records need: how many they are, the first offset and the last one's distance
    from it, the first timestamp, and the one that holds for all where the broker has set it."""

    records: int
    first: int
    last_delta: int
    first_ms: int
    log_append_ms: int | None

    def is_in_place(self, number: int, offset: int, previous: int) -> bool:
        """Whether the record with this ``number``, counted from 0, may have this offset, behind the ``previous`` one.

        Where no record was compacted away, the offsets follow from the numbers. A broker does not look at those of a
        batch that is not compressed, and one that lies far ahead would be the partition's end for everyone.
        """
        if self.is_whole:
            return offset == self.first + number
        return previous < offset <= self.first + self.last_delta

    @property
    def is_whole(self) -> bool:
        """Whether all records are there that ever were."""
        return self.records == self.last_delta + 1


class Walker:
    """Walks over the records in ``raw`` from ``at`` on, to its end.

    ``kept`` grows by what each record takes once it is read, in bytes. Of a value beyond ``max_value_bytes`` only the
    length is read.
    """

    def __init__(self, raw: memoryview, at: int, shape: Shape, max_value_bytes: int) -> None:
        self._raw = raw
        self._at = at
        self._shape = shape
        self._max_value_bytes = max_value_bytes
        self.kept = 0

    def __iter__(self) -> Iterator[Record]:
        """Return record after record. Raises `Damage` where their lengths do not add up."""
        raw, end, shape = self._raw, len(self._raw), self._shape
        previous = shape.first - 1
        for number in range(shape.records):
            try:
                length, begin = signed(raw, self._at)
            except (IndexError, ValueError):
                raise Damage("a record has no length") from None
            if not 0 <= length <= end - begin:
                raise Damage(f"a record has the length {length}, with {end - begin} bytes left")
            self._at = begin + length
            record = self._record(raw[begin : self._at])
            if not shape.is_in_place(number, record.offset, previous):
                record = self._misplaced(record, number, previous)
            previous = record.offset
            yield record
        if self._at != end:
            raise Damage(f"{end - self._at} bytes follow its last record")

    def _misplaced(self, record: Record, number: int, previous: int) -> Record:
        """Return it as malformed: at its own offset where that is known, otherwise as a record of no session."""
        shape = self._shape
        if shape.is_whole:
            return Flawed(shape.first + number, record.timestamp, record.key, record.headers, "malformed")
        return Flawed(previous, record.timestamp, None, (), "malformed")

    def _record(self, raw: memoryview) -> Record:
        """Read one record; what can be read of it, where something cannot."""
        shape = self._shape
        self.kept += RECORD_BYTES
        found = _Parts(shape.first - 1, shape.first_ms)
        try:
            return self._whole(raw, found)
        except (IndexError, ValueError):
            return Flawed(found.offset, found.timestamp, found.key, found.headers, "malformed")

    def _whole(self, raw: memoryview, found: _Parts) -> Record:
        shape = self._shape
        delta, at = signed(raw, 1)  # past the attributes, of which none is used
        found.timestamp = _wrapped(shape.first_ms + delta) if shape.log_append_ms is None else shape.log_append_ms
        delta, at = signed(raw, at)
        found.offset = shape.first + delta
        size, at = signed(raw, at)
        if size >= 0:  # one byte more than any session has is enough to see that it is none
            found.key = _bytes(raw, at, size, MAX_SESSION_BYTES + 1)
            at += size
            self.kept += len(found.key)
        size, at = signed(raw, at)
        value = None
        if size > self._max_value_bytes:
            found.flaw = "too_large"
            _bytes(raw, at, size, 0)
            at += size
        elif size >= 0:
            value = _bytes(raw, at, size, size)
            at += size
            self.kept += size
        return self._with_headers(raw, at, value, found)

    def _with_headers(self, raw: memoryview, at: int, value: bytes | None, found: _Parts) -> Record:
        count, at = signed(raw, at)
        if not 0 <= count <= (len(raw) - at) // 2:
            raise ValueError("no record has room for so many headers")
        for _ in range(min(count, MAX_HEADERS)):
            at = self._header(raw, at, found)
        if count > MAX_HEADERS:
            found.flaw = "too_many_headers"
        elif at != len(raw):
            raise ValueError("more follows")
        if found.flaw:
            return Flawed(found.offset, found.timestamp, found.key, found.headers, found.flaw)
        return Plain(found.offset, found.timestamp, found.key, value, found.headers)

    def _header(self, raw: memoryview, at: int, found: _Parts) -> int:
        """Read one header; gives where the next one begins."""
        size, at = signed(raw, at)
        name = _bytes(raw, at, size, MAX_HEADER_NAME_BYTES + 1)
        at += size
        size, at = signed(raw, at)
        value = None if size < 0 else _bytes(raw, at, size, size)
        if len(name) <= MAX_HEADER_NAME_BYTES:
            text = name.decode(errors="replace")  # as Kafka's own Java client does
            found.headers.append((text, value))
            self.kept += HEADER_BYTES + sys.getsizeof(text) + max(size, 0)
        return at + max(size, 0)


class Plain(NamedTuple):
    """A record in which nothing is wrong."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class _Parts:
    """What was read of a record so far."""

    __slots__ = ("flaw", "headers", "key", "offset", "timestamp")

    def __init__(self, offset: int, timestamp: int) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key: bytes | None = None
        self.headers: list[tuple[str, bytes | None]] = []
        self.flaw = ""


def _bytes(raw: memoryview, at: int, size: int, at_most: int) -> bytes:
    """Return the first ``at_most`` of ``size`` bytes. Raises `ValueError` where they are not all there."""
    if not 0 <= size <= len(raw) - at:
        raise ValueError("a length is wrong")
    return bytes(raw[at : at + min(size, at_most)])


def _wrapped(number: int) -> int:
    """Return a sum of two timestamps as 64 bits hold it: it may be too large for them."""
    return (number + _INT64 // 2) % _INT64 - _INT64 // 2
