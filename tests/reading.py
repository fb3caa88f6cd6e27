"""A reader with a wire, an owner and a loop, each turned by hand; and a tail to feed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from builders import BODY, Block, FakeOwner, FakeRecord, FakeReplays, ListWire, append
from tailrace.event import Event
from tailrace.reader import Gap, Place, Reader
from tailrace.tail import Tail
from tailrace.timers import Wheel


class Client:
    """A reader with a wire, an owner and a loop whose next turn comes when the test says so."""

    def __init__(
        self,
        tail: Tail,
        taken: Sequence[Sequence[int]] | None = None,
        *,
        session: str = "s",
        resets: Sequence[str] = (),
        owner: FakeOwner | None = None,
        max_records: int = 1_000_000_000,
    ) -> None:
        self.tail = tail
        self.replays = FakeReplays(max_records)
        self.owner = owner or FakeOwner()
        self.wheel = Wheel()
        self.wire = ListWire()
        self.soon: list[Callable[[], None]] = []
        self.reader = Reader(tail, session, taken, self.owner, self.wheel, self.replays, resets)
        self.reader.attach(self.wire, BODY, self.soon.append)

    def turn(self) -> None:
        """Let the loop turn once."""
        due, self.soon[:] = list(self.soon), []
        for callback in due:
            callback()

    def find(self, *items: Event | Gap) -> None:
        """Hand over what a scan has found, of a partition for which the reader has asked."""
        for item in items:
            self.reader.hand(self.replays, item)

    def pass_ends(self, offset: int, place: Place = (0, 0)) -> None:
        """Let the scan of a partition be over, having looked at all before ``offset``, and the reader look."""
        self.replays.at = offset
        self.reader.left_by(place, self.replays, offset)
        self.reader.flush()

    def heard(self) -> list[Block]:
        """Give what came since the last look."""
        blocks = Block.all(self.wire.text)
        self.wire.written.clear()
        return blocks

    def data(self) -> list[str]:
        """Give the data, or the names, of what came since the last look."""
        return [block.event or block.data for block in self.heard()]


def records(*offsets: int, key: bytes = b"s", size: int = 0) -> list[FakeRecord]:
    """Make records that say their offset, and are about ``size`` bytes long."""
    return [FakeRecord(offset, key, b"%d" % offset + b"." * size) for offset in offsets]


def tombstone(offset: int) -> FakeRecord:
    """Make the end of session ``s``."""
    return FakeRecord(offset, b"s", None)


def batch(tail: Tail, *batch_records: FakeRecord, partition: int = 0, topic: int = 0) -> None:
    """Append a batch and wake everybody."""
    append(tail, *batch_records, partition=partition, topic=topic)
    wake(tail)


def wake(tail: Tail) -> None:
    """Serve everybody."""
    for _ in tail.wake():
        pass


def evict_all(tail: Tail) -> None:
    """Empty the tail, and let it fill up again."""
    bound, tail.max_bytes = tail.max_bytes, 0
    tail.evict()
    tail.max_bytes = bound
