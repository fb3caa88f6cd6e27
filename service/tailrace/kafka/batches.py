"""The bytes of one partition in a fetch answer -> its records, and where to go on.

Pure: takes bytes, gives records; asks no broker and knows no topic. The records are aiokafka's own Cython objects,
handed through untouched, so a record costs about half a microsecond here. What a reader must not see (aborted
transactions, control markers, records below the offset asked for) stays behind, and the next offset lies past it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tailrace.event import Record

# The header of a record batch, message format 2 (KIP-98): base offset, length, leader epoch, magic, crc, attributes,
# last offset delta, two timestamps, producer id, producer epoch, base sequence, count. The first 17 bytes are the same
# shape in all formats.
_FRAME = Struct(">qi4xb")
_HEADER = Struct(">21xhi16xq")
_BEFORE_LENGTH_COUNTS = 12
_LEAST_LENGTH = {0: 14, 1: 22, 2: 49}
"""By magic: no batch says that it is shorter than its own header."""

_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_ABORT = b"\x00\x00"
"""Type of a control record, in bytes 2 and 3 of its key: 0 is ABORT."""


class Unreadable(NamedTuple):
    """A batch that cannot be read: its offsets, the second not included, and why."""

    first_offset: int
    next_offset: int
    reason: str


class Batches(NamedTuple):
    """What the bytes gave: nothing of the unreadable batch, and nothing after it."""

    records: Sequence[Record]
    next_offset: int
    unreadable: Unreadable | None


class _Damage(Exception):
    """The batch does not hold what its header promises."""


class _Aborted:
    """Which producers are inside an aborted transaction, while the batches pass in order of their offsets."""

    def __init__(self, transactions: Iterable[tuple[int, int]]) -> None:
        self._ahead = sorted(transactions, key=lambda each: each[1], reverse=True)
        self._producers: set[int] = set()

    def hides(self, producer: int, first: int) -> bool:
        """Whether the producer's transactional batch that begins at ``first`` was aborted."""
        while self._ahead and self._ahead[-1][1] <= first:
            self._producers.add(self._ahead.pop()[0])
        return producer in self._producers

    def ended(self, producer: int) -> None:
        """Its abort marker passed: what the producer wrote after it counts again."""
        self._producers.discard(producer)


def read_batches(data: bytes, position: int, aborted: Iterable[tuple[int, int]] = ()) -> Batches:
    """Read the batches in ``data``, an answer to a fetch from offset ``position``.

    ``aborted`` holds (producer id, first offset) of the aborted transactions that the broker names when asked as
    read_committed. The broker cuts the last batch where it pleases; that one is left for the next fetch. It never cuts
    the first one (KIP-74), so a first batch that does not fit its bytes has a damaged length.
    """
    records: list[Record] = []
    hidden = _Aborted(aborted)
    at, size = 0, len(data)
    while size - at >= _FRAME.size:
        first, length, magic = _FRAME.unpack_from(data, at)
        end = at + _BEFORE_LENGTH_COUNTS + length
        if at and end > size:
            break
        next_offset = first + 1
        try:
            if magic == 2:
                attributes, delta, producer = _HEADER.unpack_from(data, at)
                next_offset += max(delta, 0)
            _check(magic, length, whole=end <= size)
            if magic == 2:
                found = _read(data[at:end], attributes, producer, first, hidden)
            else:
                found = _records_of(LegacyRecordBatch(data[at:end], magic))
        except Exception as error:  # noqa: BLE001 - codecs and Cython raise what they like; all mean the same
            return Batches(records, position, Unreadable(first, max(next_offset, position + 1), _reason(error)))
        records += found if first >= position else [record for record in found if record.offset >= position]
        position, at = max(position, next_offset), end
    return Batches(records, position, None)


def _check(magic: int, length: int, *, whole: bool) -> None:
    if magic not in _LEAST_LENGTH:
        raise _Damage(f"message format {magic} is unknown")
    if not whole or length < _LEAST_LENGTH[magic]:
        raise _Damage("its length is wrong")


def _read(batch: bytes, attributes: int, producer: int, first: int, hidden: _Aborted) -> Sequence[Record]:
    reader = DefaultRecordBatch(batch)
    if attributes & _CONTROL:
        for marker in _records_of(reader):
            if (marker.key or b"")[2:4] == _ABORT:
                hidden.ended(producer)
        return ()
    if attributes & _TRANSACTIONAL and hidden.hides(producer, first):
        return ()
    return _records_of(reader)


def _records_of(reader: DefaultRecordBatch | LegacyRecordBatch) -> list[Record]:
    """All records of one batch or none: half a batch would be a hole that nobody can name."""
    if not reader.validate_crc():
        raise _Damage("its checksum is wrong")
    return list(reader)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
