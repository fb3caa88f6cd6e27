"""Small real values for tests: records, tails and wires, fed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.types import Message, Receive

from tailrace.encoding import FORMATS, Framing
from tailrace.errors import Farewell, ReplayFull
from tailrace.event import Decoder, Event
from tailrace.position import Position
from tailrace.reader import Place, Reader
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.wire import HIGH_WATER_BYTES, Taken

EPOCH = "9f3a2c1d"
BODY = FORMATS[Framing.BODY]
DECODER = Decoder(session_header=None, encoding="text", max_event_bytes=1 << 20)


@dataclass(frozen=True)
class FakeRecord:
    """What Kafka's record layer gives."""

    offset: int
    key: bytes | None = b"s"
    value: bytes | None = b"v"
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int = 1_700_000_000_000


class ListWire:
    """A wire that keeps what it is given; set by hand is whether it is open, fills with a write, and what was taken."""

    framing = Framing.BODY

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.open = True
        self.fills = False
        self.heard = False
        self.taken = Taken("by hand", 0)
        self.finished = self.aborted = False
        self.on_writable: Callable[[], None] = lambda: None

    @property
    def writable(self) -> bool:
        return self.open and not self.aborted and sum(map(len, self.written)) <= HIGH_WATER_BYTES * 1000

    def write(self, data: bytes) -> None:
        if not (self.finished or self.aborted):
            self.written.append(data)
            self.open = self.open and not self.fills

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def was_heard(self) -> bool:
        heard, self.heard = self.heard, False
        return heard

    async def serve(self, receive: Receive, on_message: Callable[[Message], None]) -> None:
        on_message(await receive())

    @property
    def text(self) -> str:
        return b"".join(self.written).decode()


class FakeOwner:
    """A reader's owner that writes down what it is told."""

    def __init__(self, subject: str = "ada") -> None:
        self.subject = subject
        self.rests = 0
        self.full = 0
        self.failures: list[Exception] = []
        self.ends: list[str] = []
        self.on_end: Callable[[], object] = lambda: None
        self.deliveries: list[tuple[list[int], int, bool]] = []
        """(offsets, bytes, live) of each write that was accepted."""

    def reset(self, position: Position, reason: str) -> bytes:
        return BODY.control("tailrace.reset", {"id": position.text(), "reason": reason})

    def caught_up(self, position: Position, replayed: int) -> bytes:
        return BODY.control("tailrace.live", {"id": position.text(), "replayed": replayed})

    def accepted(self, events: Sequence[Event], size: int, *, live: bool) -> None:
        self.deliveries.append(([event.offset for event in events], size, live))

    def held_up(self) -> None:
        self.full += 1

    def at_rest(self) -> None:
        self.rests += 1

    def end(self, farewell: Farewell) -> None:
        self.ends.append(farewell.reason)
        self.on_end()

    def failed(self, error: Exception) -> None:
        self.failures.append(error)


class FakeReplays:
    """A replay that writes down who asks for what, and reads nothing: a test hands over what there is."""

    def __init__(self, max_records: int = 1_000_000_000) -> None:
        self.max_records = max_records
        self.is_full = False
        self.at = 0
        self.asked: list[tuple[Place, int]] = []
        """(partition, offset)"""
        self.left: list[Reader] = []

    def ask(self, reader: Reader, place: Place, offset: int) -> None:
        if self.is_full:
            raise ReplayFull
        self.asked.append((place, offset))
        reader.served_by(place, self)

    def leave(self, reader: Reader) -> None:
        self.left.append(reader)


def make_tail(partitions: int = 1, max_bytes: int = 1 << 20, epoch: str = EPOCH) -> Tail:
    """Make a tail of one topic ``t``, read from offset 0."""
    tail = Tail(["t"], max_bytes)
    tail.learn(0, epoch, partitions)
    return tail


def append(tail: Tail, *records: FakeRecord, partition: int = 0, topic: int = 0) -> list[Event]:
    """Append one batch of one partition, as `consumer` does."""
    arrival = tail.arrival(topic, partition)
    events = [DECODER.decode(record, arrival) for record in records]
    for event in events:
        tail.append(event)
    return events


def make_reader(
    tail: Tail, taken: Sequence[Sequence[int]] | None = None, session: str = "s", resets: Sequence[str] = ()
) -> Reader:
    """Make a reader whose owner only takes notes."""
    return Reader(tail, session, taken, FakeOwner(), Wheel(), FakeReplays(), resets)


def attached(reader: Reader) -> ListWire:
    """Give the reader a wire that keeps everything, and a loop that runs callbacks at once."""
    wire = ListWire()
    reader.attach(wire, BODY, lambda callback: callback())
    return wire


@dataclass(frozen=True)
class Block:
    """One event of an event stream, as a browser would read it."""

    id: str | None
    event: str
    data: str

    @classmethod
    def all(cls, text: str) -> list[Block]:
        """Read an event stream (HTML Living Standard section 9.2.6), comments and ``retry`` left out."""
        blocks = []
        for part in text.split("\n\n"):
            fields: dict[str, list[str]] = {}
            for line in part.split("\n"):
                name, _, value = line.partition(": ")
                fields.setdefault(name, []).append(value)
            if "id" in fields or "data" in fields:
                id_ = fields["id"][0] if "id" in fields else None
                blocks.append(cls(id_, fields.get("event", [""])[0], "\n".join(fields.get("data", []))))
        return blocks
