"""`Reader`: one subscriber's place, its two phases, and `flush`, the one function that moves bytes.

*Catching up*, a reader has its own position, a vector of next offsets, and its ids are its own. *Live*, it has
everything of its session that arrived before its place in the view, its position is the replica's cut there, and it
shares bytes, ids included, with all live readers of the session. Lives as long as its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from tailrace.encoding import Format
from tailrace.errors import Farewell
from tailrace.event import END, Event
from tailrace.position import Position
from tailrace.reader.around import Owner, Replays
from tailrace.reader.catching_up import CatchingUp
from tailrace.reader.handed import Gap, Place, Scan
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.wire import HIGH_WATER_BYTES, Wire

MAX_FLUSH_BYTES = HIGH_WATER_BYTES
"""Most that one reader writes in one turn, so that a long history does not hold up the others."""


class Reader:
    """One subscriber's place. ``taken`` is where to begin, per topic and partition; None begins live, at the cut.

    ``resets`` are the reasons, known already, for which the client must be told that its history is incomplete.
    """

    catching_up: ClassVar[type[CatchingUp]] = CatchingUp
    """Named here so that tests can take out one rule at a time."""
    __slots__ = (
        "_format", "_given", "_late", "_more", "_owner", "_refused", "_replays", "_resets", "_soon", "_tail", "_view",
        "_wheel", "_wire", "closing", "ended", "live", "place", "replayed", "sent_at", "wrote_at",
    )  # fmt: skip

    def __init__(
        self,
        tail: Tail,
        session: str,
        taken: Sequence[Sequence[int]] | None,
        owner: Owner,
        wheel: Wheel,
        replays: Replays,
        resets: Sequence[str] = (),
    ) -> None:
        self._tail = tail
        self._owner = owner
        self._wheel = wheel
        self._replays = replays
        self._view = tail.join(session, self)
        self._late = None if taken is None else self.catching_up(tail, self._view, taken)
        self._resets = list(resets)
        self._wire: Wire | None = None
        self._more = False
        self._refused: Farewell | None = None  # by the replay: said once what was taken is written
        self._given: tuple[Sequence[Event], int, bool] | None = None  # written, not yet known to be accepted
        self.live = taken is None
        self.place = self._view.end  # live, the number of the next event to take
        self.closing = False  # set to have `Owner.at_rest` called once everything due has been taken
        self.ended = False  # whether the last event taken was the session's end
        self.replayed = 0  # events given while catching up
        self.sent_at = tail.arrived  # `Tail.arrived` when the client was last sent an id
        self.wrote_at = wheel.now  # the wheel's tick at the last write

    @property
    def session(self) -> str:
        """Whose events it reads."""
        return self._view.session

    @property
    def subject(self) -> str:
        """The token's ``sub``: what is read again for the reader is put on its account."""
        return self._owner.subject

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
        elif self._refused is not None:
            self._owner.end(self._refused)

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
        self._replays.leave(self)
        self._wire = None

    # Taking.

    def take(self, format_: Format, max_bytes: int) -> tuple[Sequence[Event], bytes]:
        """Return the events that are due, and what is to be written, up to about ``max_bytes``.

        What is written may hold more than the events, such as a reset.
        """
        return self._take_live(format_, max_bytes) if self._late is None else self._take_late(format_, max_bytes)

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

    def _take_late(self, format_: Format, max_bytes: int) -> tuple[Sequence[Event], bytes]:
        late = self._late
        assert late is not None  # noqa: S101  asked by `take`
        pieces = self._say_resets(late)
        events: list[Event] = []
        size = 0
        for item in late.due():
            if isinstance(item, Gap):
                pieces.append(self._owner.reset(late.position, item.reason))
                continue
            events.append(item)
            self.ended = item.kind is END
            if not self.ended:  # which is told only where nothing follows it
                self.replayed += 1
            pieces.append(format_.event(item, late.id_of(item)))
            size += len(pieces[-1])
            if size >= max_bytes:
                break
        self._more = size >= max_bytes
        if not self._more:
            late.move_to_cut()
            if late.may_go_live():
                pieces.append(self._go_live())
            else:
                self._wait(late)
        return events, b"".join(pieces)

    def _say_resets(self, late: CatchingUp) -> list[bytes]:
        """Go on beyond what nobody can have any more, and tell the client why, before anything else."""
        self.settle()
        reasons, self._resets = self._resets, []
        return [self._owner.reset(late.position, reason) for reason in dict.fromkeys(reasons)]

    def _wait(self, late: CatchingUp) -> None:
        """Ask for what lies below the floor; or be woken when this replica has reached the reader's position."""
        below = late.below
        try:
            for place, offset in below:
                if not late.is_served(place):
                    self._replays.ask(self, place, offset)
        except Farewell as farewell:
            self._refused = farewell
        if (ahead := late.ahead) is not None and not below:
            self._tail.wait(self, *ahead)

    # Going live, and leaving.

    def settle(self) -> bool:
        """Move past what cannot be had any more; whether the client has, or will have, to be told of a gap."""
        if self._late is not None:
            self._resets += self._late.settle(self._replays.max_records)
        return bool(self._resets)

    @property
    def needs_replay(self) -> bool:
        """Whether it lacks what only Kafka has."""
        return self._late is not None and bool(self._late.below)

    def _go_live(self) -> bytes:
        self._replays.leave(self)
        self._late = None
        self.live = True
        self.place = self._view.end
        self.closing = self.closing or self.ended
        return self._owner.caught_up(self.position, self.replayed)

    def has_nothing_to_come(self) -> bool:
        """Whether it is, or would be, live with nothing due."""
        if self._late is None:
            return self.place == self._view.end
        return not self._resets and self._late.has_nothing_to_come()

    def overtaken(self, event: Event) -> None:
        """``event``, which this live reader had not taken, was evicted: fall back to just before it."""
        self._catch_up_from(event.cut_before)

    def leave(self) -> None:
        """Fall back to catching up from the present position: the log is about to jump."""
        self._catch_up_from(self.position)

    def forget(self, topic: int) -> None:
        """The topic was deleted and made again: begin at its beginning, and say so."""
        if self._late is not None:
            self._late.forget(topic)
            self._resets.append("epoch")

    def cut_back(self, topic: int, partition: int, offset: int, reason: str) -> None:
        """The log was cut off at ``offset``: what was taken beyond it is no more, and other records take its place."""
        if self._late is not None and self._late.cut_back((topic, partition), offset):
            self._resets.append(reason)

    def look_again(self) -> None:
        """The session's view is not what it was: look at it from its beginning."""
        if self._late is not None:
            self._late.look_again()

    def _catch_up_from(self, position: Position) -> None:
        self._late = self.catching_up(self._tail, self._view, position.offsets)
        self.live = False

    @property
    def position(self) -> Position:
        """The reader's own position: exactly what the client has been given, and rule 6: nothing else."""
        if self._late is not None:
            return self._late.position
        due = self._view.end - self.place
        return self._view.events[-due].cut_before if due else self._tail.position

    # What a scan hands over; nothing, to a reader that is live or has gone.

    def served_by(self, place: Place, scan: Scan) -> None:
        """A scan has taken the reader in."""
        if self._late is not None:
            self._late.served_by(place, scan)

    def hand(self, scan: Scan, item: Event | Gap) -> None:
        """Take over what a scan has found."""
        if self._late is not None:
            self._late.hand(scan, item)

    @property
    def lying_bytes(self) -> int:
        """Of what was handed over and not taken yet."""
        return 0 if self._late is None else self._late.lying_bytes

    def left_by(self, place: Place, scan: Scan, offset: int) -> None:
        """A scan has let the reader go, having looked at all before ``offset`` for it."""
        if self._late is not None:
            self._late.left_by(place, scan, offset)
