"""The bytes of one partition in a fetch answer -> its records, and where to go on.

Pure: takes bytes, gives records; asks no broker and knows no topic. Batch by batch: the checksum, then whether a reader
may see it, and only then is it opened, by `opening`. What a reader must not see (aborted transactions, control markers,
records below the offset asked for) stays behind, and the next offset lies past it.

Written as a generator, because a large batch must not hold the event loop: it gives what is to be opened elsewhere, and
is sent what came of it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from enum import Enum
from operator import itemgetter
from typing import NamedTuple

from tailrace.event import Record
from tailrace.kafka.codecs import Damage, NoRoom
from tailrace.kafka.header import LEAST_BYTES, Header
from tailrace.kafka.opening import Limits, Opening, Oversized, scratch

_ABORT = b"\x00\x00"
"""Type of a control record, in bytes 2 and 3 of its key: 0 is ABORT."""
TURN_BYTES = 4 * 1024**2
"""Of memory that records take. After so much, some five milliseconds of work, others have a turn of the loop."""


Mark = tuple[int, int]
"""The first offset and the checksum of a batch."""
_NO_MARK = (0, 0)


class Cause(Enum):
    """Why a batch gives no records."""

    DAMAGED = "damaged"
    OVERSIZED = "oversized"
    """It takes more memory than one batch may."""
    NO_MEMORY = "no memory"
    """The process had too little memory just then: nothing is known about the batch."""


class Unreadable(NamedTuple):
    """A batch that cannot be read: its offsets, the second not included, and why.

    ``mark`` is the same for no other batch of the log; of one that is damaged it means nothing.
    """

    first_offset: int
    next_offset: int
    reason: str
    cause: Cause = Cause.DAMAGED
    mark: Mark = _NO_MARK


class Batches(NamedTuple):
    """What the bytes gave: nothing of the unreadable batch, and nothing after it.

    ``newest_ms`` is the greatest timestamp (Unix ms) of all that was passed, markers included; -1 where nothing was.
    ``kept`` is how much memory the records take, in bytes.
    """

    records: Sequence[Record]
    next_offset: int
    newest_ms: int
    unreadable: Unreadable | None
    kept: int = 0


Outcome = Sequence[Record] | Exception | None
Steps = Generator[Opening | None, Outcome, Batches]
"""Gives what is to be opened elsewhere, and is sent its `Opening.outcome`; or None where others should have a turn."""


class _Hidden:
    """What a reader must not see: which producers are inside an aborted transaction, while the batches pass in order
    of their offsets, and the markers themselves."""

    __slots__ = ("_ahead", "_producers")

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._ahead = sorted(aborted, key=itemgetter(1), reverse=True) if aborted else []
        self._producers: set[int] = set()

    def hides(self, header: Header) -> bool:
        """Whether the transactional batch is to be left out; a marker has to be looked at."""
        while self._ahead and self._ahead[-1][1] <= header.first:  # also before a marker, which may be alone
            self._producers.add(self._ahead.pop()[0])
        return header.producer in self._producers and not header.is_control

    def pass_marker(self, header: Header, markers: Sequence[Record]) -> Sequence[Record]:
        """Note that what the producer writes after its abort marker counts again; return no records."""
        if any((marker.key or b"")[2:4] == _ABORT for marker in markers):
            self._producers.discard(header.producer)
        return ()


def read_batches(
    data: bytes, position: int, aborted: Iterable[tuple[int, int]] = (), limits: Limits | None = None
) -> Batches:
    """Read the batches in ``data`` as `batches_in` does, however long it takes."""
    steps = batches_in(data, position, aborted, limits or Limits(), scratch())
    outcome: Outcome = None
    try:
        while True:
            opening = steps.send(outcome)
            outcome = None if opening is None else opening.outcome()
    except StopIteration as end:
        found: Batches = end.value
        return found


def batches_in(
    data: bytes,
    position: int,
    aborted: Iterable[tuple[int, int]],
    limits: Limits,
    room: bytearray,
    passed: Collection[Mark] = (),
) -> Steps:
    """Read the batches in ``data``, an answer to a fetch from offset ``position``.

    ``aborted`` holds (producer id, first offset) of the aborted transactions that the broker names when asked as
    read_committed. The broker cuts the last batch where it pleases; that one is left for the next fetch, and so is what
    lies behind so many records that they take ``limits.batch_bytes``. It never cuts the first one (KIP-74), so a first
    batch that does not fit its bytes has a damaged length. Batches in ``passed`` are known to be oversized. ``room`` is
    a `scratch`.
    """
    records: list[Record] = []
    hidden, whole = _Hidden(aborted), memoryview(data)
    at, size, newest_ms, kept, worked = 0, len(data), -1, 0, 0
    while size - at >= LEAST_BYTES and kept < limits.batch_bytes:
        header = Header(whole, at)
        if at and header.end > size:
            break
        try:
            header.check(frame := whole[at : header.end])  # nothing is unpacked before its checksum was found right
            opening = Opening(header, frame, limits)
            if header.is_special and hidden.hides(header):
                found: Sequence[Record] = ()
            elif (here := _here(header, opening, room, passed)) is None:
                found = _came((yield opening))
            else:
                found = here
            if header.is_special and header.is_control:
                found = hidden.pass_marker(header, found)
        except Exception as error:  # noqa: BLE001 - whatever is raised, nothing of this batch is there
            return Batches(records, position, newest_ms, _unreadable(error, header, position), kept)
        batch_ms = header.newest_ms if header.magic == 2 else _newest_ms(found)
        newest_ms = batch_ms if batch_ms > newest_ms else newest_ms  # noqa: FURB136  a call costs more than all of this
        records += found if header.first >= position else [record for record in found if record.offset >= position]
        position = header.next_offset if header.next_offset > position else position  # noqa: FURB136
        at, kept, worked = header.end, kept + opening.kept, worked + opening.kept
        if worked > TURN_BYTES:
            yield None
            worked = 0
    return Batches(records, position, newest_ms, None, kept)


def _here(header: Header, opening: Opening, room: bytearray, passed: Collection[Mark]) -> Sequence[Record] | None:
    """Open the batch now; None where it has to be done elsewhere."""
    if passed and (header.first, header.crc) in passed:
        raise Oversized("it is known to be too large")
    try:
        return opening.here(room)
    except NoRoom:
        return None


def _came(outcome: Outcome) -> Sequence[Record]:
    """Return what came of an opening elsewhere. Raises what is wrong with the batch as a whole."""
    if outcome is None or isinstance(outcome, Exception):
        raise outcome or Damage("it was not opened")
    return outcome


def _newest_ms(records: Sequence[Record]) -> int:
    """Return the greatest timestamp, which no header of the old formats has."""
    return max([record.timestamp for record in records], default=-1)


def _unreadable(error: Exception, header: Header, position: int) -> Unreadable:
    cause = _CAUSES.get(type(error), Cause.DAMAGED)
    reason = "there is not enough memory" if cause is Cause.NO_MEMORY else str(error) or type(error).__name__
    mark = _NO_MARK if cause is Cause.DAMAGED else (header.first, header.crc)
    return Unreadable(header.first, max(header.next_offset, position + 1), reason, cause, mark)


_CAUSES: dict[type[Exception], Cause] = {Oversized: Cause.OVERSIZED, MemoryError: Cause.NO_MEMORY}
