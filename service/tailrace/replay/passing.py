"""One pass over one partition: whom it serves, and what it hands to them.

Everyone is served from their own offset on, and nobody joins a pass that is already beyond it. A reader that does not
take what it was handed leaves the pass, and asks again from where it is: a pass always goes on. Does no I/O: `scanning`
brings the stretches. Lives from the first reader that asks until its end, a little above the floor, is reached or
nobody is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tailrace.event import Decoder
from tailrace.kafka import Stretch
from tailrace.reader import Gap, Place, Reader
from tailrace.tail import Tail

CHARGE_RECORDS = 10_000
"""Records after which a pass charges those whom it serves. They may be many, so this is not done for each fetch."""
STRETCH_RECORDS = 256
"""What a fetch is charged with at least, however few records fill it: 1 KiB each."""

OVERLAP = 8
"""A pass goes on into the oldest eighth of what the tail holds of its partition. Without that the floor, which moves
with every batch, has left most of its readers behind again before they were woken: they would ask again and again."""


class Shared(NamedTuple):
    """What those who share a pass have in common."""

    place: Place
    reach: int
    """How much they lack, as a power of two."""
    subject: str
    """Empty, or the only one whom it serves."""


class Pass:
    """The readers of one partition, each with the first offset that it lacks.

    One that still has more than its ``share`` of bytes lying when the next stretch brings something for it is let go,
    so that at most this and one stretch lie. ``on_leave`` is told of each reader that is served no more. ``on_read``
    is told how many records were read, while those for whom they were read are still there.
    """

    def __init__(
        self,
        tail: Tail,
        decoder: Decoder,
        shared: Shared,
        share: Callable[[], int],
        on_leave: Callable[[Reader, Pass], None],
        on_read: Callable[[Pass, int], None] = lambda _pass, _records: None,
    ) -> None:
        self._tail = tail
        self._decoder = decoder
        self._share = share
        self._on_leave = on_leave
        self._on_read = on_read
        self._sessions: dict[bytes, dict[Reader, int]] = {}
        self.shared = shared
        self.place = self.topic, self.partition = shared.place
        self.name = tail.topics[self.topic]
        self.epoch = tail.epochs[self.topic]
        self.at = 0
        """The next offset to be looked at."""
        self._reached = False
        self._uncharged = 0
        self.subjects = Counter[str]()
        """Whose readers it serves, and how many of each."""
        self.used = 0.0
        """Records read of late for that one of the subjects for whom fewest were read; `waiting` sets it."""

    @property
    def named(self) -> tuple[str, int]:
        """The partition, as `kafka` names it."""
        return self.name, self.partition

    @property
    def floor(self) -> int:
        """From where on the tail has everything."""
        return self._tail.floor(*self.place)

    @property
    def end(self) -> int:
        """Where the pass ends, for now: `OVERLAP` above the floor."""
        floor = self.floor
        return floor + (self._tail.next_offset(*self.place) - floor) // OVERLAP

    def is_over(self) -> bool:
        """Whether the end was reached, nobody is left, or the topic is not the one that they asked for."""
        self._move_to(self.at)
        return self._reached or not self._sessions or self.epoch != self._tail.epochs[self.topic]

    def _move_to(self, offset: int) -> None:
        """Go on; the end, once it was reached, is one for good."""
        self.at = max(self.at, min(offset, self.end))
        self._reached = self._reached or self.at >= self.end

    def __len__(self) -> int:
        """How many it serves."""
        return sum(map(len, self._sessions.values()))

    # Who comes and who goes.

    def join(self, reader: Reader, offset: int) -> None:
        """Serve ``reader`` from ``offset`` on; before the pass has begun that may be anywhere."""
        self.at = min(self.at, offset) if self._sessions else offset
        readers = self._sessions.setdefault(reader.session.encode(), {})
        if reader not in readers:
            self.subjects[reader.subject] += 1
        readers[reader] = offset
        reader.served_by(self.place, self)

    def leave(self, reader: Reader) -> None:
        """Serve ``reader`` no more, because it has gone, or lacks nothing."""
        key = reader.session.encode()
        readers = self._sessions.get(key, {})
        if reader in readers:
            self.charge()
            del readers[reader]
            self.subjects[reader.subject] -= 1
            if not self.subjects[reader.subject]:
                del self.subjects[reader.subject]
            self._on_leave(reader, self)
        if not readers:
            self._sessions.pop(key, None)

    def dissolve(self) -> list[Reader]:
        """Let everyone go; gives them."""
        everyone = [reader for readers in self._sessions.values() for reader in readers]
        for reader in everyone:
            self._let_go(reader, self.at)
        return everyone

    def _let_go(self, reader: Reader, offset: int) -> None:
        self.leave(reader)
        reader.left_by(self.place, self, offset)

    # What it costs.

    def count(self, records: int) -> None:
        """Note that a fetch has brought so many records, whosever they are."""
        self._uncharged += max(records, STRETCH_RECORDS)
        if self._uncharged >= CHARGE_RECORDS:
            self.charge()

    def charge(self) -> None:
        """Tell what was read since this was told last."""
        if self._uncharged:
            records, self._uncharged = self._uncharged, 0
            self._on_read(self, records)

    # What is handed over.

    def take(self, stretch: Stretch) -> Iterable[Reader]:
        """Hand over what ``stretch`` brings for anybody; gives the readers concerned."""
        concerned: dict[Reader, None] = {}
        share = self._share()
        arrival, end = self._tail.arrival(*self.place), self.end
        address, sessions = self._decoder.address, self._sessions
        for record in stretch.records:
            if record.offset >= end:
                break
            if readers := sessions.get(address(record) or b""):
                event = self._decoder.decode(record, arrival)
                for reader in [reader for reader, lacks in readers.items() if lacks <= event.offset]:
                    if reader not in concerned and reader.lying_bytes > share:
                        self._let_go(reader, event.offset)
                    else:
                        concerned[reader] = None
                        reader.hand(self, event)
        self._move_to(stretch.next_offset)
        return concerned

    def skip(self, offset: int, reason: str) -> list[Reader]:
        """Nothing below ``offset`` can be read: tell everyone who lacks some of it; gives them.

        From the floor on the tail has it, and the pass is over.
        """
        self._reached = self._reached or offset >= self.floor
        if self.at >= self.floor:
            return []
        offset, told = min(offset, self.floor), []
        for readers in self._sessions.values():
            for reader, lacks in readers.items():
                if lacks < offset:
                    reader.hand(self, Gap(self.place, offset, reason))
                    readers[reader] = offset
                    told.append(reader)
        self._move_to(offset)
        return told
