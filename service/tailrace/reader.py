"""One subscriber's place in the tail, and `flush`, the one function that moves bytes.

A reader pulls at its own pace and is in one of two phases. *Catching up*, it has its own position, a vector of next
offsets *taken*, and its ids are its own. *Live*, it has everything of its session that arrived before its place in the
view, its position is the replica's cut there, and it shares bytes, ids included, with all live readers of the session.
Lives as long as its connection; knows nothing of tokens, transports or Kafka.

The rules that hold the promise (``tests/test_positions.py`` takes each out in turn, and each is needed):

1. A connection without an id is live at the replica's cut; what it is told is the reader's own position.
2. An entry below the floor makes that partition's tail events not due, however new they are.
3. Live only when dominated: the replica's cut reaches the vector, entry by entry.
4. An id with more partitions than this replica knows keeps them; with fewer, the missing entries are 0, exactly.
5. A jump empties the partition's tail and sends every reader to look, before next and floor move (`tail`).
6. Ids come from *taken* alone, never from what a replay has scanned ahead of the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tailrace.encoding import Format
from tailrace.event import END, Event
from tailrace.position import Position, Vector
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.wire import HIGH_WATER_BYTES, Wire

MAX_FLUSH_BYTES = HIGH_WATER_BYTES
"""Most that one reader writes in one turn, so that a long history does not hold up the others."""


class Owner(Protocol):
    """Who the reader reports to: its subscription."""

    def reset(self, position: Position, reason: str) -> bytes:
        """Write `tailrace.reset`; ``position`` is the reader's, after it."""

    def caught_up(self, position: Position, replayed: int) -> bytes:
        """Write what the client hears when the reader goes live; may be empty."""

    def accepted(self, events: Sequence[Event], size: int, *, live: bool) -> None:
        """The wire has taken these events, ``size`` bytes, and is below its mark: which is no proof of receipt."""

    def held_up(self) -> None:
        """The last write has filled the wire."""

    def at_rest(self) -> None:
        """Nothing is due any more, and the reader is `closing`."""

    def failed(self, error: Exception) -> None:
        """The reader cannot go on."""


class Reader:
    """One subscriber's place. ``taken`` is where to begin, per topic and partition; None begins live, at the cut.

    ``resets`` are the reasons, known already, for which the client must be told that its history is incomplete.
    """

    __slots__ = (
        "_format", "_given", "_more", "_owner", "_resets", "_soon", "_tail", "_taken", "_view", "_wheel", "_wire",
        "closing", "ended", "live", "place", "replayed", "sent_at", "wrote_at",
    )  # fmt: skip

    def __init__(
        self,
        tail: Tail,
        session: str,
        taken: Sequence[Sequence[int]] | None,
        owner: Owner,
        wheel: Wheel,
        resets: Sequence[str] = (),
    ) -> None:
        self._tail = tail
        self._owner = owner
        self._wheel = wheel
        self._view = tail.join(session, self)
        self._taken = Vector(taken or ())
        self._resets = list(resets)
        self._wire: Wire | None = None
        self._more = False
        self._given: tuple[Sequence[Event], int, bool] | None = None  # written, not yet known to be accepted
        self.live = taken is None
        self.place = self._view.end if self.live else self._view.first
        self.closing = False  # set to have `Owner.at_rest` called once everything due has been taken
        self.ended = False  # whether the last event taken was the session's end
        self.replayed = 0  # events taken while catching up
        self.sent_at = tail.arrived  # `Tail.arrived` when the client was last sent an id
        self.wrote_at = wheel.now  # the wheel's tick at the last write

    # Moving bytes.

    def attach(self, wire: Wire, format_: Format, soon: Callable[[Callable[[], None]], object]) -> None:
        """Begin to write to ``wire``; ``soon`` runs a callback in the loop's next turn."""
        self._wire, self._format, self._soon = wire, format_, soon
        wire.on_writable = self.flush

    def flush(self) -> None:
        """Write what is due, at most `MAX_FLUSH_BYTES`: called by the tail, the wire, the wheel and the farewell.

        Take what is there; only then ask whether this is the end; only then rest. Any other order would turn a lagging
        client's loss into a clean goodbye.
        """
        wire = self._wire
        if wire is None or not wire.writable:
            return
        if self._given is not None:
            (events, size, live), self._given = self._given, None
            self._owner.accepted(events, size, live=live)
        live = self.live
        events, data = self.take(self._format, MAX_FLUSH_BYTES)
        if data:  # as `write` does it
            wire.write(data)
            self.sent_at = self._tail.arrived
            self.wrote_at = self._wheel.now
            if wire.writable:
                self._owner.accepted(events, len(data), live=live)
            else:
                self._given = events, len(data), live  # type: ignore[unreachable]  # the write may have filled it
                self._owner.held_up()
        if self._more:
            self._soon(self.flush)
        elif self.closing:
            self._owner.at_rest()

    def write(self, data: bytes) -> None:
        """Send ``data``, which may be what the service itself says, whether or not the wire is writable."""
        if self._wire is not None:
            self._wire.write(data)
            self.sent_at = self._tail.arrived
            self.wrote_at = self._wheel.now

    def fail(self, error: Exception) -> None:
        """End, because serving this reader raised ``error``."""
        self._owner.failed(error)

    def close(self) -> None:
        """Leave the tail and the wire: nothing wakes this reader any more, and nothing follows a last word."""
        self._tail.part(self._view, self)
        self._wire = None

    # Taking.

    def take(self, format_: Format, max_bytes: int) -> tuple[Sequence[Event], bytes]:
        """Give the events that are due, and them written, up to about ``max_bytes``; resets and more may be written."""
        return self._take_live(format_, max_bytes) if self.live else self._take_catching_up(format_, max_bytes)

    def _take_live(self, format_: Format, max_bytes: int) -> tuple[Sequence[Event], bytes]:
        view = self._view
        due = view.end - self.place
        self._more = False
        if due == 0:
            return (), b""
        slot, keep = format_.slot, self._tail.keep
        if due == 1:
            event = view.events[-1]
            self.place += 1
            data = getattr(event, slot) or keep(event, format_)
            self.ended = not data
            self.closing = self.closing or self.ended
            return (event,), data
        events, pieces, size = [], [], 0
        for event in view.since(self.place):
            events.append(event)
            pieces.append(getattr(event, slot) or keep(event, format_))
            size += len(pieces[-1])
            if size >= max_bytes:
                break
        self.place += len(events)
        self._more = self.place < view.end
        self.ended = not pieces[-1]
        self.closing = self.closing or (self.ended and not self._more)
        return events, b"".join(pieces)

    def _take_catching_up(self, format_: Format, max_bytes: int) -> tuple[Sequence[Event], bytes]:
        pieces = self._say_resets()
        events, size = list[Event](), 0
        for event in self.due():
            events.append(event)
            self._taken.set(event.arrival.topic, event.arrival.partition, event.offset + 1)
            self.replayed += 1
            self.ended = event.kind is END
            id_ = self.position.text(mark=(event.arrival.topic, event.arrival.partition))
            piece = format_.event(event, id_.encode())
            pieces.append(piece)
            size += len(piece)
            if size >= max_bytes:
                self._more = True
                return events, b"".join(pieces)
        self._more = False
        self._move_to_cut()
        if self.may_go_live():
            pieces.append(self._go_live())
        else:
            self._tail.wait(self)
        return events, b"".join(pieces)

    def _say_resets(self) -> list[bytes]:
        """Go on at the floor where the position lies below it, and tell the client why, before anything else."""
        below, reasons, self._resets = self.below, self._resets, []
        for topic, partition in below:
            reasons.append(self._tail.reason_below(topic, partition, self._taken.entry(topic, partition)))
            self._pass_over(topic, partition, self._tail.floor(topic, partition))
        return [self._owner.reset(self.position, reason) for reason in dict.fromkeys(reasons)]

    def _pass_over(self, topic: int, partition: int, offset: int) -> None:
        """Go on at ``offset``; events of the partition that were not due before may be so now: look at all again."""
        self._taken.set(topic, partition, offset)
        self.place = self._view.first

    def due(self) -> Iterator[Event]:
        """Give the events of the view that the client lacks, moving the place past each that was looked at."""
        self.place = max(self.place, self._view.first)
        for event in self._view.since(self.place):
            self.place += 1
            if self.is_due(event):
                yield event

    def is_due(self, event: Event) -> bool:
        """Rule 2: nothing of a partition is due while older events of it lie below the floor."""
        topic, partition = event.arrival.topic, event.arrival.partition
        entry = self._taken.entry(topic, partition)
        return event.offset >= entry >= self._tail.floor(topic, partition)

    # Going live, and leaving.

    def may_go_live(self) -> bool:
        """Rule 3: every entry is at or above the floor, and the replica's cut has reached every entry."""
        reached = (self._tail.next_offset(*place) >= entry for *place, entry in self._entries())
        return not self.below and all(reached)

    def _go_live(self) -> bytes:
        self.live = True
        self.place = self._view.end
        self._taken = Vector()
        self.closing = self.closing or self.ended
        return self._owner.caught_up(self.position, self.replayed)

    def has_nothing_to_come(self) -> bool:
        """Whether it is, or would be, live with nothing due."""
        if self.live:
            return self.place == self._view.end
        return not self._resets and self.may_go_live() and not any(self.is_due(event) for event in self._view.events)

    def overtaken(self, event: Event) -> None:
        """``event``, which this live reader had not taken, was evicted: fall back to just before it."""
        self._catch_up_from(event.cut_before)

    def leave(self) -> None:
        """Fall back to catching up from the present position: the log is about to jump."""
        self._catch_up_from(self.position)

    def forget(self, topic: int) -> None:
        """The topic was deleted and made again: begin at its beginning, and say so."""
        self._pad()
        self._taken.clear(topic)
        self._resets.append("epoch")

    def cut_back(self, topic: int, partition: int, offset: int, reason: str) -> None:
        """The log was cut off at ``offset``: what was taken beyond it is no more, and other records take its place."""
        if self._taken.entry(topic, partition) > offset:
            self._taken.set(topic, partition, offset)
            self._resets.append(reason)

    def _catch_up_from(self, position: Position) -> None:
        self._taken = Vector(position.offsets)
        self.live = False
        self.place = self._view.first

    @property
    def position(self) -> Position:
        """The reader's own position: exactly what the client has been given, and rule 6: nothing else."""
        if self.live:
            due = self._view.end - self.place
            return self._view.events[-due].cut_before if due else self._tail.position
        self._pad()
        return Position(self._tail.epochs, self._taken.offsets)

    @property
    def below(self) -> list[tuple[int, int]]:
        """Catching up, the (topic, partition) pairs below the floor: only Kafka has what comes next there."""
        return [(topic, number) for topic, number, entry in self._entries() if entry < self._tail.floor(topic, number)]

    def _entries(self) -> Iterator[tuple[int, int, int]]:
        """Give (topic, partition, entry), for every partition that the vector or this replica knows."""
        self._pad()
        return iter(self._taken)

    def _pad(self) -> None:
        """Rule 4: a partition that the id did not know has entry 0; one that this replica does not know is kept."""
        self._taken.pad(map(self._tail.partitions, range(len(self._tail.topics))))

    def _move_to_cut(self) -> None:
        """Nothing is due: whatever lies between an entry and the replica's cut is not this session's."""
        for topic, partition, entry in self._entries():
            cut = self._tail.next_offset(topic, partition)
            if self._tail.floor(topic, partition) <= entry < cut:
                self._taken.set(topic, partition, cut)
