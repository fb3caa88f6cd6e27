"""One batch, its checksum right -> its records: at once where it is small, elsewhere and in slices where it is not.

Pure, and slow where it says so: `batches` decides when to open what, `unpacking` where. The records are aiokafka's own
Cython objects where nothing is odd, so that a record costs a fraction of a microsecond here.
"""

from __future__ import annotations

import mmap
import sys
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch

from tailrace.kafka import legacy
from tailrace.kafka.codecs import NoRoom, unpack
from tailrace.kafka.counting import headers_in, longest_in
from tailrace.kafka.header import RECORDS_AT, unpacked_header
from tailrace.kafka.records import HEADER_BYTES, RECORD_BYTES, Walker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailrace.event import Record
    from tailrace.kafka.header import Header

MIB = 1024**2
ON_LOOP_BYTES = MIB + 12
"""Of a batch that is opened on the event loop, packed or not: three milliseconds for gzip, which is the slowest. It is
the largest batch that Kafka takes unless it is told otherwise (``message.max.bytes``)."""
ON_LOOP_RECORDS = 20_000
"""In such a batch: some ten milliseconds."""
UNCOUNTED_BYTES = 512 * 1024
"""So many bytes are read at once, though all may be headers, which would take aiokafka's parser 15 milliseconds. A
batch that has more is read in parts of so many, or its headers are counted first."""
MANY_HEADERS_BYTES = 20_000
"""What the headers of a record take, on average, some hundred of them: where it is more in a part of a batch, they are
counted before its other parts are read."""
CHARACTER_BYTES = 4
"""What each character of a name takes if one of them is an emoji: Python gives all of them the same room."""
UNMEASURED_BYTES = 256
"""Of a record, on average: the names of smaller ones are not measured, so these may take twice what is counted."""
ODD_BYTES = 16 * 1024
"""Of a batch in which something is wrong, and whose records are read one by one on the event loop."""
RECORDS_AT_ONCE = 1024
"""Records that the thread reads at once, which takes a millisecond; between them the event loop gets its turn."""

_offset_of, _headers = attrgetter("offset"), attrgetter("headers")


class Limits(NamedTuple):
    """What one batch may take: ``batch_bytes`` unpacked, and as much again as records. Of a value that is longer than
    ``value_bytes`` nothing is kept."""

    batch_bytes: int = 64 * MIB
    value_bytes: int = MIB


class Oversized(Exception):
    """The batch takes more than it may; says how."""


class Stopped(Exception):
    """Nobody waits for the batch any more."""


class Opening:
    """A batch to be opened: `here`, which is quick or raises `NoRoom`, or by `run`, anywhere, which may take a second.

    ``frame`` is all of it, its checksum right. ``kept`` is what its records take in memory, once it was opened.
    Both raise `Damage`; `run` also `Oversized` and MemoryError.
    """

    __slots__ = ("_codec", "_frame", "_header", "_limits", "_message", "_packed", "_stopped", "kept")

    def __init__(self, header: Header, frame: memoryview, limits: Limits) -> None:
        self._header = header
        self._frame = frame
        self._limits = limits
        self._stopped = False
        self.kept = 0
        if header.magic == 2:
            self._codec, self._packed = header.codec, frame[RECORDS_AT:]
        else:
            self._message = legacy.message_of(frame)
            self._codec, self._packed = self._message.codec, self._message.value or memoryview(b"")

    def here(self, scratch: bytearray) -> Sequence[Record]:
        """Open it now. ``scratch`` is memory to unpack into, made by the function of that name."""
        if len(self._packed) > ON_LOOP_BYTES or self._header.records > ON_LOOP_RECORDS:
            raise NoRoom
        whole = self._unpacked(memoryview(scratch)) if self._codec else self._frame
        found = self._quickly(whole)
        if found is None:
            if len(whole) > ODD_BYTES:
                raise NoRoom
            found = self._slowly(whole)
        return found

    def run(self) -> Sequence[Record]:
        """Open it, however large it is."""
        most = self._limits.batch_bytes
        if self._header.records * RECORD_BYTES > most:
            raise Oversized(f"it has {self._header.records} records")
        if not self._codec:
            if len(self._packed) > most:
                raise Oversized(f"it has more than {most} bytes")
            return self._opened(self._frame)
        # It need not be closed: it goes back to the system with the last view of it, and an exception may hold one.
        room = memoryview(_memory(RECORDS_AT + most))
        try:
            whole = self._unpacked(room)
        except NoRoom:
            raise Oversized(f"unpacked it has more than {most} bytes") from None
        return self._opened(whole)

    def outcome(self) -> Sequence[Record] | Exception:
        """Return what `run` gives, or raises, without what was unpacked: tracebacks would hold that."""
        try:
            return self.run()
        except Exception as error:  # noqa: BLE001  raised by those who wait for it
            error.__context__ = None
            return error.with_traceback(None)

    def stop(self) -> None:
        """Let `run` end soon, with `Stopped`. For another thread."""
        self._stopped = True

    # Within. ``whole`` is the batch with nothing packed in it; of the old formats what a message holds, behind a gap.

    def _unpacked(self, room: memoryview) -> memoryview:
        size = unpack(self._codec, self._packed, room[RECORDS_AT:])
        if self._header.magic == 2:
            unpacked_header(room, self._frame)
        return room[: RECORDS_AT + size]

    def _quickly(self, whole: memoryview) -> Sequence[Record] | None:
        """Read all records at once; None where something is odd."""
        header, at_once = self._header, RECORDS_AT_ONCE
        if header.magic != 2:
            return None
        if len(whole) > UNCOUNTED_BYTES:
            at_once = UNCOUNTED_BYTES // max(longest_in(whole, RECORDS_AT, header.records), 1)
            if not at_once and self._headers_in(whole) is None:
                return None
        found = self._parsed(whole, min(at_once or RECORDS_AT_ONCE, RECORDS_AT_ONCE))
        if found is not None:
            self.kept = _taken_by(found, whole)
        return found

    def _opened(self, whole: memoryview) -> Sequence[Record]:
        if self._header.magic == 2 and (counted := self._headers_in(whole)) is not None:
            headers, header_bytes = counted
            self._keep(len(whole) + self._header.records * RECORD_BYTES + headers * HEADER_BYTES)
            fits = self.kept + header_bytes * CHARACTER_BYTES <= self._limits.batch_bytes  # else one by one it may
            if fits and (found := self._parsed(whole, RECORDS_AT_ONCE)) is not None:
                self.kept = _taken_by(found, whole)
                return found
        return self._slowly(whole)

    def _headers_in(self, whole: memoryview) -> tuple[int, int] | None:
        return headers_in(whole, RECORDS_AT, self._header.records, self._limits.value_bytes)

    def _parsed(self, whole: memoryview, at_once: int) -> Sequence[Record] | None:
        """Let aiokafka read the records, so many at once; None where it finds something wrong, where one is not in its
        place, or where there are so many headers that they have to be counted first."""
        found: list[Record] = []
        try:
            if self._header.records <= at_once:
                found = list(DefaultRecordBatch(whole))
            else:
                reader = chain(DefaultRecordBatch(whole))  # which must not be asked for its iterator twice
                while some := list(islice(reader, at_once)):
                    found += some
                    self._go_on()
                    if _taken_by_headers(some) > len(some) * MANY_HEADERS_BYTES:
                        return None
        except Stopped:
            raise
        except Exception:  # noqa: BLE001  Cython raises what it likes, MemoryError for a length of 2**62; see `Walker`
            return None
        return found if self._is_in_place(found) else None

    def _is_in_place(self, found: Sequence[Record]) -> bool:
        """Whether each record has the offset that it should have; see `Shape.is_in_place`."""
        first, next_offset = self._header.first, self._header.next_offset
        if len(found) == 1 == next_offset - first:  # most batches have one record, and this is the quick way for them
            return found[0].offset == first
        offsets = list(map(_offset_of, found))
        if len(offsets) == next_offset - first:
            return offsets == list(range(first, next_offset))
        within = not offsets or first <= offsets[0] <= offsets[-1] < next_offset
        return within and all(one < next_ for one, next_ in pairwise(offsets))

    def _slowly(self, whole: memoryview) -> Sequence[Record]:
        """Read record by record."""
        found: list[Record] = []
        reader = self._reader(whole)
        for record in reader:
            found.append(record)
            self._keep(reader.kept)
            self._go_on()
        return found

    def _reader(self, whole: memoryview) -> Walker | legacy.Held | legacy.Alone:
        value_bytes = self._limits.value_bytes
        if self._header.magic == 2:
            return Walker(whole, RECORDS_AT, self._header.shape, value_bytes)
        if not self._codec:
            return legacy.Alone(self._message, value_bytes)
        return legacy.Held(whole[RECORDS_AT:], self._message, self._header.magic, value_bytes)

    def _keep(self, size: int) -> None:
        self.kept = size
        if size > self._limits.batch_bytes:
            raise Oversized(f"as records it takes more than {self._limits.batch_bytes} bytes")

    def _go_on(self) -> None:
        if self._stopped:
            raise Stopped


def _taken_by(records: Sequence[Record], whole: memoryview) -> int:
    """Return how many bytes of memory all the records of a batch take."""
    taken = len(whole) + len(records) * RECORD_BYTES
    if len(whole) > UNMEASURED_BYTES * len(records):
        return taken + _taken_by_headers(records)
    if len(records) == 1:
        return taken + HEADER_BYTES * len(records[0].headers)
    return taken + HEADER_BYTES * sum(map(len, map(_headers, records)))


def _taken_by_headers(records: Sequence[Record]) -> int:
    """Return how many bytes the headers take, but for their values, which are counted with the batch."""
    names = [name for record in records if record.headers for name, _ in record.headers]
    return len(names) * HEADER_BYTES + sum(map(sys.getsizeof, names))


def scratch() -> bytearray:
    """Make what `Opening.here` uses."""
    return bytearray(RECORDS_AT + ON_LOOP_BYTES)


def _memory(size: int) -> mmap.mmap:
    """Return memory that takes nothing before it is written to, and that goes back to the system."""
    try:
        return mmap.mmap(-1, size)
    except OSError as error:
        raise MemoryError(str(error)) from None
