"""The bytes of one partition in a fetch answer -> its records, and where to go on.

Pure: takes bytes, gives records; asks no broker and knows no topic. The records are aiokafka's own Cython objects,
handed through untouched, so a record costs about half a microsecond here. What a reader must not see (aborted
transactions, control markers, records below the offset asked for) stays behind, and the next offset lies past it.
"""

from __future__ import annotations

from operator import itemgetter
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
_HEADER = Struct(">21xhi8xqq")
_BEFORE_LENGTH_COUNTS = 12
_LEAST_LENGTH = {0: 14, 1: 22, 2: 49}
"""By magic: no batch says that it is shorter than its own header."""

_CONTROL = 0x20
_SPECIAL = 0x10 | _CONTROL
"""In a batch's attributes: part of a transaction, or markers of one."""
_ABORT = b"\x00\x00"
"""Type of a control record, in bytes 2 and 3 of its key: 0 is ABORT."""


class Unreadable(NamedTuple):
    """A batch that cannot be read: its offsets, the second not included, and why."""

    first_offset: int
    next_offset: int
    reason: str


class Batches(NamedTuple):
    """What the bytes gave: nothing of the unreadable batch, and nothing after it.

    ``newest_ms`` is the greatest timestamp (Unix ms) of all that was passed, markers included; -1 where nothing was.
    """

    records: Sequence[Record]
    next_offset: int
    newest_ms: int
    unreadable: Unreadable | None


class _Damage(Exception):
    """The batch does not hold what its header promises."""


class _Hidden:
    """What a reader must not see: which producers are inside an aborted transaction, while the batches pass in order
    of their offsets, and the markers themselves."""

    __slots__ = ("_ahead", "_producers")

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._ahead = sorted(aborted, key=itemgetter(1), reverse=True) if aborted else []
        self._producers: set[int] = set()

    def hides(self, attributes: int, producer: int, first: int, records: Sequence[Record]) -> bool:
        """Whether the batch, transactional or of markers, that begins at ``first`` is to be left out."""
        while self._ahead and self._ahead[-1][1] <= first:  # also before a marker, which may be all there is of one
            self._producers.add(self._ahead.pop()[0])
        if attributes & _CONTROL:
            # After its abort marker, what the producer writes counts again.
            if any((marker.key or b"")[2:4] == _ABORT for marker in records):
                self._producers.discard(producer)
            return True
        return producer in self._producers


def read_batches(data: bytes, position: int, aborted: Iterable[tuple[int, int]] = ()) -> Batches:
    """Read the batches in ``data``, an answer to a fetch from offset ``position``.

    ``aborted`` holds (producer id, first offset) of the aborted transactions that the broker names when asked as
    read_committed. The broker cuts the last batch where it pleases; that one is left for the next fetch. It never cuts
    the first one (KIP-74), so a first batch that does not fit its bytes has a damaged length.
    """
    records: list[Record] = []
    hidden = _Hidden(aborted)
    at, size, newest_ms = 0, len(data), -1
    while size - at >= _FRAME.size:
        first, length, magic = _FRAME.unpack_from(data, at)
        end = at + _BEFORE_LENGTH_COUNTS + length
        if at and end > size:
            break
        next_offset = first + 1
        try:
            if magic == 2:
                attributes, delta, batch_ms, producer = _HEADER.unpack_from(data, at)
                next_offset += delta if delta > 0 else 0  # noqa: FURB136  a call costs more than all of this
            if end > size or length < _LEAST_LENGTH.get(magic, size):
                raise _flaw(magic)  # noqa: TRY301
            found = _records_of(
                DefaultRecordBatch(data[at:end]) if magic == 2 else LegacyRecordBatch(data[at:end], magic)
            )
            if magic == 2 and attributes & _SPECIAL and hidden.hides(attributes, producer, first, found):
                found = ()
        except Exception as error:  # noqa: BLE001 - codecs and Cython raise what they like; all mean the same
            unreadable = Unreadable(first, max(next_offset, position + 1), _reason(error))
            return Batches(records, position, newest_ms, unreadable)
        if magic != 2:
            batch_ms = _newest_ms(found)
        newest_ms = batch_ms if batch_ms > newest_ms else newest_ms  # noqa: FURB136
        records += found if first >= position else [record for record in found if record.offset >= position]
        position = next_offset if next_offset > position else position  # noqa: FURB136
        at = end
    return Batches(records, position, newest_ms, None)


def _flaw(magic: int) -> _Damage:
    return _Damage("its length is wrong" if magic in _LEAST_LENGTH else f"message format {magic} is unknown")


def _records_of(reader: DefaultRecordBatch | LegacyRecordBatch) -> Sequence[Record]:
    """All records of one batch or none: half a batch would be a hole that nobody can name."""
    if not reader.validate_crc():
        raise _Damage("its checksum is wrong")
    return list(reader)


def _newest_ms(records: Sequence[Record]) -> int:
    """Message formats 0 and 1: the first of them has no timestamps."""
    return max([record.timestamp or -1 for record in records], default=-1)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
