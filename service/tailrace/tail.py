"""The newest events of all sessions, in memory: the only buffer for live events.

Does no I/O and knows no asyncio: `consumer` appends a whole batch and then turns `wake`; `reader` pulls. Events stand
in the order of their arrival, and each session has its own view of them. Eviction takes the oldest, whichever session
it belongs to, until the bytes fit; because it follows the order of arrival, one *floor* per partition says all there is
to know: the first offset that is still held completely. Lives as long as the service.

The tail is contiguous per partition. Where the log itself is not, `jump` says so, and every reader hears of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tailrace.ahead import Ahead, Waiting
from tailrace.encoding import Format
from tailrace.event import BYTES_HEADER, Arrival, Event
from tailrace.gaps import Gaps
from tailrace.position import NO_TOPIC, Position
from tailrace.view import VIEW_BYTES, Follower, View

WAKE_SLICE_SECONDS = 0.002
"""Longest stretch of readers served without a turn of the event loop in between."""


class Tail:
    """The bounded newest events of all sessions; ``topics`` are sorted names, and `Position` follows their order."""

    def __init__(self, topics: Sequence[str], max_bytes: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.topics = tuple(topics)
        self.max_bytes = max_bytes
        self.bytes = 0
        self.arrived = 0
        """Events appended since the start: with `half`, how far the tail has turned over."""
        self._clock = clock
        self.epochs = (NO_TOPIC,) * len(self.topics)
        """Which incarnation of each topic is being read."""
        self._next: list[list[int]] = [[] for _ in self.topics]
        self._floor: list[list[int]] = [[] for _ in self.topics]
        self._start: list[list[int]] = [[] for _ in self.topics]
        self._gaps = Gaps()
        self._events: deque[Event] = deque()
        self._views: dict[str, View] = {}
        self._touched: dict[View, None] = {}
        self._ahead = Ahead()
        self._position: Position | None = None

    # What it holds.

    @property
    def position(self) -> Position:
        """This replica's cut, now."""
        if self._position is None:
            self._position = Position(self.epochs, tuple(tuple(offsets) for offsets in self._next))
        return self._position

    @property
    def events(self) -> int:
        """How many events it holds."""
        return len(self._events)

    @property
    def oldest(self) -> Event | None:
        """The event that will be evicted next."""
        return self._events[0] if self._events else None

    @property
    def sessions(self) -> int:
        """How many sessions it knows."""
        return len(self._views)

    @property
    def half(self) -> int:
        """The number, by `arrived`, of the event in the middle."""
        return self.arrived - len(self._events) // 2

    def partitions(self, topic: int) -> int:
        """How many partitions of the topic are known."""
        return len(self._next[topic])

    def next_offset(self, topic: int, partition: int) -> int:
        """Return the next offset to be read; 0 for a partition that is not known yet."""
        offsets = self._next[topic]
        return offsets[partition] if partition < len(offsets) else 0

    def floor(self, topic: int, partition: int) -> int:
        """Return the first offset that the tail holds completely; 0 for a partition that is not known yet."""
        offsets = self._floor[topic]
        return offsets[partition] if partition < len(offsets) else 0

    def spans(self, topic: int) -> tuple[Sequence[int], Sequence[int]]:
        """Return `floor` and `next_offset` of every partition that is known, for whoever looks at all of them."""
        return self._floor[topic], self._next[topic]

    def start(self, topic: int, partition: int) -> int:
        """Return the first offset that Kafka still has, as far as it has told; 0 where it has not."""
        offsets = self._start[topic]
        return offsets[partition] if partition < len(offsets) else 0

    def beyond_gap(self, topic: int, partition: int, offset: int) -> tuple[int, str]:
        """Return where a jump that passed over ``offset`` went, and why; 0 and nothing where there was none."""
        return self._gaps.beyond((topic, partition), offset)

    # What comes in.

    def learn(self, topic: int, epoch: str, partitions: int) -> None:
        """Take up the topic's identity. A partition that is new is read from offset 0: all that it holds is later.

        A count never shrinks under one epoch: a broker with stale metadata is not believed.
        """
        if self.epochs[topic] not in {epoch, NO_TOPIC}:
            self._replace(topic)
        self.epochs = (*self.epochs[:topic], epoch, *self.epochs[topic + 1 :])
        missing = partitions - len(self._next[topic])
        self._next[topic] += [0] * missing
        self._floor[topic] += [0] * missing
        self._start[topic] += [0] * missing
        self._position = None  # last: the readers of a topic made again have asked for it meanwhile

    def begin(self, topic: int, partition: int, offset: int) -> None:
        """Say where reading starts, before anything was appended."""
        self._position = None
        self._next[topic][partition] = self._floor[topic][partition] = offset

    def note_start(self, topic: int, partition: int, offset: int) -> None:
        """Kafka says where the log starts now: below it there is nothing to be had."""
        self._start[topic][partition] = offset

    def arrival(self, topic: int, partition: int) -> Arrival:
        """Begin a stretch of one partition's events, which will share their cut but for their own entry."""
        self._ahead.note((topic, partition))
        return Arrival(self.position, topic, self.topics[topic], partition, time.time_ns())

    def append(self, event: Event) -> None:
        """Take the event in, together with its next offset; evict until the bytes fit."""
        view = self._views.get(event.session) or self._open(event.session)
        (view.events or view.begin()).append(event)
        view.end += 1
        self._events.append(event)
        self.arrived += 1
        self.bytes += event.size
        arrival = event.arrival
        self._next[arrival.topic][arrival.partition] = event.offset + 1
        self._position = None
        if view.readers:
            self._touched[view] = None
        if self.bytes > self.max_bytes:
            self.evict()

    def advance(self, topic: int, partition: int, next_offset: int) -> None:
        """Move on over records that are no events: markers, aborted ones, compacted ones, those of no session."""
        if self._next[topic][partition] != next_offset:
            self._next[topic][partition] = next_offset
            self._position = None
            self._ahead.note((topic, partition))

    def evict(self) -> None:
        """Let the oldest events go until the bytes fit."""
        while self.bytes > self.max_bytes and self._events:
            event = self._events.popleft()
            self.bytes -= event.size
            self._floor[event.arrival.topic][event.arrival.partition] = event.offset + 1
            view = self._views[event.session]
            view.evict()
            if not (view.readers or view.events):
                self._forget(view)
            elif view.readers and view.first > view.slowest:
                view.overtake(event)

    def jump(self, topic: int, partition: int, offset: int, reason: str) -> None:
        """Go on at ``offset``, because what lies before it cannot be read (``reason`` is what a `reset` will say).

        Every live reader leaves with its position, then the partition's events go, and only then next and floor move:
        so a reader whose position was passed over knows it.
        """
        self._scatter()
        self._drop(lambda arrival: arrival.topic == topic and arrival.partition == partition)
        before = self._next[topic][partition]
        self._gaps.add((topic, partition), before, offset, reason)
        self.begin(topic, partition, offset)
        if offset < before:  # what will come there now is not what readers had
            for view in self._views.values():
                for reader in view.readers:
                    reader.cut_back(topic, partition, offset, reason)

    def _replace(self, topic: int) -> None:
        """Leave a topic that was deleted and made again: nothing that is known of it means anything any more."""
        self._scatter()
        self._drop(lambda arrival: arrival.topic == topic)
        self._gaps.forget(topic)
        self._next[topic], self._floor[topic], self._start[topic] = [], [], []
        for view in self._views.values():
            for reader in view.readers:
                reader.forget(topic)

    def _scatter(self) -> None:
        """Send every reader to look where it stands."""
        for view in self._views.values():
            for reader in view.readers:
                if reader.live:
                    reader.leave()
                self._touched[view] = None

    def _drop(self, gone: Callable[[Arrival], bool]) -> None:
        """Take out the events of some arrivals. Any producer can have that done, so it does no more than it must."""
        arrivals = {arrival for arrival in {event.arrival for event in self._events} if gone(arrival)}
        dropped = [event for event in self._events if event.arrival in arrivals] if arrivals else []
        for session in {event.session for event in dropped}:
            view = self._views[session]
            view.events = deque(event for event in view.events if event.arrival not in arrivals)
            view.first = view.end - len(view.events)
            if not view.events and not view.readers:
                self._forget(view)
        for view in self._views.values():
            for reader in view.readers:
                reader.look_again()
        self.bytes -= sum(event.size for event in dropped)
        if dropped:
            self._events = deque(event for event in self._events if event.arrival not in arrivals)

    # Who reads.

    def readers(self, session: str) -> int:
        """How many read the session."""
        view = self._views.get(session)
        return 0 if view is None else len(view.readers)

    def join(self, session: str, reader: Follower) -> View:
        """Return the session's view, which wakes ``reader`` from now on."""
        view = self._views.get(session) or self._open(session)
        if not view.readers:
            view.slowest = view.first
        view.readers[reader] = None
        return view

    def part(self, view: View, reader: Follower) -> None:
        """Wake ``reader`` no more."""
        view.readers.pop(reader, None)
        self._ahead.leave(reader)
        if not view.readers and not view.events and self._views.get(view.session) is view:
            self._forget(view)

    def wait(self, reader: Follower, place: tuple[int, int], offset: int) -> None:
        """Wake ``reader`` once the partition's next offset is ``offset``: this replica has yet to reach it."""
        self._ahead.wait(reader, place, offset)

    def release(self, reader: Follower) -> None:
        """Wake ``reader``, if it waits, with the next batch: it was cut back, and is ahead no more."""
        self._ahead.release(reader)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Who is ahead of this replica."""
        return self._ahead.everyone

    def keep(self, event: Event, format_: Format) -> bytes:
        """Encode for all live readers of one framing, once, and charge the tail for it."""
        arrival = event.arrival
        data = format_.event(event, arrival.id_of(event.offset))
        setattr(event, format_.slot, data)
        cost = len(data) + BYTES_HEADER + (arrival.charge() if arrival.uncharged else 0)
        event.size += cost
        self.bytes += cost
        return data

    def wake(self) -> Iterator[None]:
        """Serve the readers of every session that was touched, then evict what charging made too much.

        Yields whenever a slice of time is used up: give the event loop a turn and go on. An exception ends one reader.
        """
        clock = self._clock
        slice_ends = clock() + WAKE_SLICE_SECONDS
        for readers in self._woken():
            for reader in readers:
                try:
                    reader.flush()
                except Exception as error:  # noqa: BLE001  one reader's trouble is its own
                    reader.fail(error)
                if clock() > slice_ends:
                    yield
                    slice_ends = clock() + WAKE_SLICE_SECONDS
        self.evict()

    def _woken(self) -> Iterator[tuple[Follower, ...]]:
        yield self._ahead.reached(self.next_offset)
        touched = self._touched
        while touched:
            yield tuple(touched.popitem()[0].readers)

    def _open(self, session: str) -> View:
        view = self._views[session] = View(session)
        self.bytes += VIEW_BYTES
        return view

    def _forget(self, view: View) -> None:
        del self._views[view.session]
        self.bytes -= VIEW_BYTES
        self._touched.pop(view, None)
