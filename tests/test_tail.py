"""The tail by itself: what it holds, what it lets go, and whom it wakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from builders import BODY, EPOCH, FakeRecord, append, make_tail
from tailrace.event import Event
from tailrace.position import NO_TOPIC, Position
from tailrace.tail import WAKE_SLICE_SECONDS, Tail
from tailrace.view import VIEW_BYTES, View

NEW_EPOCH = "00c0ffee"


class Follower:
    """A reader that writes down what happens to it; ``on_flush`` is what else it does."""

    def __init__(self, tail: Tail, session: str = "s", on_flush: Callable[[], object] = lambda: None) -> None:
        self.view = tail.join(session, self)
        self.live = True
        self.place = self.view.end
        self.on_flush = on_flush
        self.flushed = 0
        self.failures: list[Exception] = []
        self.overtaken_by: list[int] = []
        self.left_at: list[int] = []
        self.forgotten: list[int] = []
        self.cut: list[tuple[int, int, int, str]] = []
        self.looks = 0
        self._tail = tail

    @property
    def position(self) -> Position:
        return self._tail.position

    def flush(self) -> None:
        self.flushed += 1
        self.on_flush()

    def fail(self, error: Exception) -> None:
        self.failures.append(error)

    def overtaken(self, event: Event) -> None:
        self.overtaken_by.append(event.offset)
        self.live = False

    def leave(self) -> None:
        self.left_at.append(self._tail.next_offset(0, 0))
        self.live = False

    def forget(self, topic: int) -> None:
        self.forgotten.append(topic)

    def cut_back(self, topic: int, partition: int, offset: int, reason: str) -> None:
        self.cut.append((topic, partition, offset, reason))

    def look_again(self) -> None:
        self.looks += 1


class Clock:
    """A clock that gives each of ``times`` once, then the last for ever."""

    def __init__(self, *times: float) -> None:
        self._times = list(times)

    def __call__(self) -> float:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


def records(*offsets: int, key: bytes = b"s", value: bytes = b"v") -> list[FakeRecord]:
    """Make records of one session."""
    return [FakeRecord(offset, key, value) for offset in offsets]


def offsets_in(events: Sequence[Event]) -> list[int]:
    """Give the events' offsets."""
    return [event.offset for event in events]


def wake(tail: Tail) -> int:
    """Serve everybody; give how often the loop was given a turn."""
    return sum(1 for _ in tail.wake())


def tail_for(events: int, *, views: int = 1) -> Tail:
    """Make a tail that holds so many events of two batches, in so many sessions, and not one more."""
    tail = make_tail()
    [first, second] = append(tail, *records(0, 1))
    return make_tail(max_bytes=2 * first.size + (events - 2) * second.size + views * VIEW_BYTES)


# What it holds.


def test_events_stand_in_their_order_of_arrival() -> None:
    """The tail has them all, and each session its own."""
    tail = make_tail(partitions=2)
    append(tail, *records(5, key=b"a"), *records(6, key=b"b"), partition=1)
    append(tail, *records(2, key=b"a"))
    view = tail.join("a", Follower(tail, "other"))
    assert (offsets_in(tail._events), offsets_in(view.events)) == ([5, 6, 2], [5, 2])


def test_position_follows_every_event() -> None:
    """Event and next offset move together."""
    tail = make_tail(partitions=2)
    append(tail, *records(7), partition=1)
    before = tail.position
    append(tail, *records(8), partition=1)
    assert [before, tail.position] == [Position((EPOCH,), ((0, 8),)), Position((EPOCH,), ((0, 9),))]


def test_position_moves_over_what_is_no_event() -> None:
    """Markers and records of nobody are passed over."""
    tail = make_tail()
    assert tail.position.offsets == ((0,),)
    tail.advance(0, 0, 12)
    assert (tail.position.offsets, tail.events) == (((12,),), 0)


def test_shared_arrival_gives_each_event_its_own_cut() -> None:
    """The events of a stretch share everything but their own entry."""
    tail = make_tail(partitions=2)
    [first, second] = append(tail, *records(3, 4), partition=1)
    assert first.arrival is second.arrival
    assert [first.id, second.id] == [b"v1.9f3a2c1d.0.-4", b"v1.9f3a2c1d.0.-5"]


def test_topics_are_known_by_their_place() -> None:
    """A topic that does not exist yet has no epoch and no partition; every question about it has an answer."""
    tail = Tail(["t", "u"], 1 << 20)
    tail.learn(0, EPOCH, 1)
    assert tail.position == Position((EPOCH, NO_TOPIC), ((0,), ()))
    assert (tail.partitions(1), tail.next_offset(1, 3), tail.floor(1, 3)) == (0, 0, 0)


def test_half_is_the_middle_by_arrival() -> None:
    """Half of what is held came before it, however much has gone already."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    assert (tail.arrived, tail.half) == (10, 5)


# What it lets go.


def test_bytes_are_bounded() -> None:
    """Whatever comes, the bytes stay within the bound, and the newest events within the tail."""
    tail = make_tail(max_bytes=10_000)
    for offset in range(0, 200, 2):
        append(tail, *records(offset, offset + 1, key=b"%d" % (offset % 7), value=b"x" * 500))
        assert tail.bytes <= tail.max_bytes
    assert offsets_in(tail._events) == list(range(200 - tail.events, 200))


def test_bytes_return_to_nothing() -> None:
    """What is charged is given back when it goes."""
    tail = make_tail()
    [event, _] = append(tail, *records(0, 1))
    tail.keep(event, BODY)
    tail.max_bytes = 0
    tail.evict()
    assert (tail.bytes, tail.events, tail.sessions) == (0, 0, 0)


def test_event_larger_than_the_tail_goes_at_once() -> None:
    """The bound holds for a single event too; the floor says that it is gone."""
    tail = make_tail(max_bytes=100)
    append(tail, *records(4))
    assert (tail.events, tail.floor(0, 0), tail.next_offset(0, 0)) == (0, 5, 5)


def test_oldest_go_first_whosesoever_they_are() -> None:
    """Eviction follows arrival, not sessions and not partitions."""
    tail = make_tail(partitions=2)
    append(tail, *records(9, key=b"a"), partition=1)
    append(tail, *records(0, key=b"b"))
    append(tail, *records(10, key=b"a"), partition=1)
    tail.max_bytes = tail.bytes - 1
    tail.evict()
    assert (tail.floor(0, 1), tail.floor(0, 0)) == (10, 0)
    assert offsets_in(tail._events) == [0, 10]


def test_floor_is_the_first_offset_held_completely() -> None:
    """It moves with eviction alone: over gaps it waits for the next event to go."""
    tail = make_tail()
    tail.begin(0, 0, 3)
    append(tail, *records(5, 9))
    before = tail.floor(0, 0)
    tail.max_bytes = tail.bytes - 1
    tail.evict()
    assert (before, tail.floor(0, 0)) == (3, 6)


def test_session_without_events_and_readers_is_forgotten() -> None:
    """When its last event goes, unless somebody reads it."""
    tail = make_tail()
    append(tail, *records(0, key=b"read"), *records(1, key=b"unread"))
    Follower(tail, "read")
    tail.max_bytes = 0
    tail.evict()
    assert list(tail._views) == ["read"]


def test_session_without_events_is_forgotten_with_its_last_reader() -> None:
    """A session that nobody writes and nobody reads costs nothing; leaving twice does no harm."""
    tail = make_tail()
    one, other = Follower(tail), Follower(tail)
    tail.part(one.view, one)
    before = tail.sessions
    tail.part(other.view, other)
    tail.part(other.view, other)
    assert (before, tail.sessions, tail.bytes) == (1, 0, 0)


def test_late_goodbye_leaves_a_new_view_alone() -> None:
    """A reader that parts twice does not take the view of those who came after it."""
    tail = make_tail()
    gone = Follower(tail)
    tail.part(gone.view, gone)
    stays = Follower(tail)
    tail.part(gone.view, gone)
    assert (tail._views["s"] is stays.view, gone.view is stays.view) == (True, False)


def test_live_reader_is_overtaken_by_what_it_had_not_taken() -> None:
    """Only those who lacked the evicted event hear of it, and only once."""
    tail = make_tail()
    slow, quick = Follower(tail), Follower(tail)
    append(tail, *records(0, 1, 2))
    quick.place = 3
    tail.max_bytes = tail.bytes - 1
    tail.evict()
    tail.max_bytes = 0
    tail.evict()
    assert (slow.overtaken_by, quick.overtaken_by) == ([0], [])


def test_reader_between_the_first_and_the_last_is_overtaken_later() -> None:
    """Eviction looks at readers again as soon as it may have come to one of them."""
    tail = make_tail()
    slow, middle = Follower(tail), Follower(tail)
    append(tail, *records(0, 1, 2))
    middle.place = 1
    while tail.events:
        tail.max_bytes = tail.bytes - 1
        tail.evict()
    assert (slow.overtaken_by, middle.overtaken_by) == ([0], [1])


def test_charging_does_not_evict() -> None:
    """Encoding for a reader may pass the bound; nothing goes before the wake turn is over."""
    tail = make_tail()
    append(tail, *records(0, 1))
    tail.max_bytes = tail.bytes
    tail.keep(tail._events[1], BODY)
    before = tail.events
    wake(tail)
    assert (before, tail.events, tail.bytes <= tail.max_bytes) == (2, 1, True)


def test_kept_bytes_are_the_events_own() -> None:
    """What is encoded once is found where the next reader looks for it."""
    tail = make_tail()
    [event] = append(tail, *records(0))
    assert (tail.keep(event, BODY), event.chunks) == (event.body, None)


def test_view_since_a_place() -> None:
    """A view's numbers go on counting when its oldest events go."""
    view = View("s")
    tail = make_tail()
    view.begin().extend(append(tail, *records(3, 4, 5)))
    view.first, view.end = 10, 13
    assert [offsets_in(list(view.since(place))) for place in (10, 12, 13)] == [[3, 4, 5], [5], []]


# Identity.


def test_new_partition_is_read_from_its_beginning() -> None:
    """All that a partition added later holds is later."""
    tail = make_tail()
    append(tail, *records(4))
    tail.learn(0, EPOCH, 3)
    assert tail.position.offsets == ((5, 0, 0),)


def test_partitions_never_shrink() -> None:
    """A broker with stale metadata is not believed."""
    tail = make_tail(partitions=3)
    append(tail, *records(4), partition=2)
    tail.learn(0, EPOCH, 1)
    assert (tail.position.offsets, tail.events) == (((0, 0, 5),), 1)


def test_topic_that_appears_keeps_everything() -> None:
    """A topic that is made after the service was started is no replacement."""
    tail = Tail(["t"], 1 << 20)
    reader = Follower(tail)
    tail.learn(0, EPOCH, 2)
    assert (tail.position, reader.left_at, reader.forgotten) == (Position((EPOCH,), ((0, 0),)), [], [])


def test_topic_made_again_begins_anew() -> None:
    """Its events, offsets and jumps mean nothing any more; the other topics' stay."""
    tail = Tail(["t", "u"], 1 << 20)
    tail.learn(0, EPOCH, 2)
    tail.learn(1, EPOCH, 1)
    tail.jump(0, 0, 50, "unreadable")
    tail.note_start(0, 0, 9)
    append(tail, *records(60))
    append(tail, *records(7), topic=1)
    tail.learn(0, NEW_EPOCH, 1)
    assert tail.position == Position((NEW_EPOCH, EPOCH), ((0,), (8,)))
    assert (offsets_in(tail._events), tail.floor(0, 0), tail.start(0, 0)) == ([7], 0, 0)
    assert tail.beyond_gap(0, 0, 3) == (0, "")


def test_readers_hear_that_their_topic_was_made_again() -> None:
    """They leave with the old position, forget the topic, and are woken, of whatever session they are."""
    tail = make_tail()
    append(tail, *records(4))
    one, other = Follower(tail), Follower(tail, "quiet")
    one.on_flush = other.on_flush = lambda: tail.position
    tail.learn(0, NEW_EPOCH, 1)
    wake(tail)
    assert [(each.left_at, each.forgotten, each.flushed) for each in (one, other)] == [([5], [0], 1)] * 2


def test_position_is_never_the_old_topics() -> None:
    """Readers that ask where they are while the topic is replaced leave no stale answer behind."""
    tail = make_tail()
    append(tail, *records(4))

    class Asking(Follower):
        def leave(self) -> None:
            assert tail.position == Position((EPOCH,), ((5,),))

    Asking(tail)
    tail.learn(0, NEW_EPOCH, 1)
    assert tail.position == Position((NEW_EPOCH,), ((0,),))


# Jumps.


def test_jump_drops_only_its_partition() -> None:
    """The partition is contiguous again; the others are as they were."""
    tail = make_tail(partitions=2)
    append(tail, *records(0, 1))
    append(tail, *records(8), partition=1)
    tail.jump(0, 0, 50, "retention")
    assert (offsets_in(tail._events), tail.position.offsets, tail.floor(0, 0)) == ([8], ((50, 9),), 50)


def test_jump_gives_the_bytes_back() -> None:
    """Dropped events are not charged any more, and an unread session goes with them."""
    tail = make_tail()
    append(tail, *records(0, 1))
    tail.jump(0, 0, 50, "retention")
    assert (tail.bytes, tail.sessions) == (0, 0)


def test_readers_leave_before_the_jump() -> None:
    """A reader takes the position that it had, so it knows that it was passed over; then it is sent to look."""
    tail = make_tail()
    append(tail, *records(0, 1))
    live, catching_up = Follower(tail), Follower(tail)
    catching_up.live = False
    tail.jump(0, 0, 50, "retention")
    wake(tail)
    assert (live.left_at, catching_up.left_at, live.flushed, catching_up.flushed) == ([2], [], 1, 1)


def test_view_keeps_its_numbers_after_a_jump() -> None:
    """What is left of the view is numbered up to the same end, and readers look at it from its start."""
    tail = make_tail(partitions=2)
    reader = Follower(tail)
    append(tail, *records(0, 1))
    append(tail, *records(8), partition=1)
    tail.jump(0, 0, 50, "retention")
    assert (reader.view.first, reader.view.end, reader.looks) == (2, 3, 1)


def test_beyond_a_gap() -> None:
    """What the last jump passed over cannot be read; what lies before and behind it can, as far as is known."""
    tail = make_tail()
    append(tail, *records(0, 1))
    tail.jump(0, 0, 50, "unreadable")
    beyond = (50, "unreadable")
    assert [tail.beyond_gap(0, 0, offset) for offset in (1, 2, 49, 50)] == [(0, ""), beyond, beyond, (0, "")]


def test_start_of_the_log_is_what_kafka_has_told() -> None:
    """0 where it has told nothing, and for a partition that is not known yet."""
    tail = make_tail(partitions=2)
    tail.note_start(0, 1, 7)
    assert [tail.start(0, partition) for partition in range(3)] == [0, 7, 0]


def test_jump_forward_cuts_nobody_back() -> None:
    """Only a log that lost its end takes back what readers have."""
    tail = make_tail()
    reader = Follower(tail)
    tail.jump(0, 0, 50, "retention")
    assert reader.cut == []


def test_jump_back_tells_readers_where_the_log_ends() -> None:
    """Where the log lost its end, offsets are used again: a position beyond it must not pass over them."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    reader = Follower(tail)
    tail.jump(0, 0, 5, "truncated")
    assert (reader.cut, tail.position.offsets) == ([(0, 0, 5, "truncated")], ((5,),))


# Whom it wakes.


def test_touched_session_is_woken_once() -> None:
    """However many events a batch brings, each of the session's readers is served once, and nobody else."""
    tail = make_tail(partitions=2)
    reader, other = Follower(tail), Follower(tail, "other")
    append(tail, *records(0, 1, 2))
    append(tail, *records(0, 1), partition=1)
    wake(tail)
    wake(tail)
    assert (reader.flushed, other.flushed) == (1, 0)


def test_wake_yields_when_its_slice_is_used_up() -> None:
    """The event loop gets a turn after the reader that used up the slice, not before, and not more often."""
    tick = WAKE_SLICE_SECONDS * 0.6
    tail = Tail(["t"], 1 << 20, Clock(*(tick * n for n in range(100))))
    tail.learn(0, EPOCH, 1)
    readers = [Follower(tail) for _ in range(6)]
    append(tail, *records(0))
    turns = []
    for _ in tail.wake():
        turns.append(sum(reader.flushed for reader in readers))  # noqa: PERF401  the state at each turn
    assert turns == [2, 4, 6]


def test_wake_does_not_yield_within_its_slice() -> None:
    """While there is time everybody is served in the same turn."""
    tail = Tail(["t"], 1 << 20, Clock(0.0))
    tail.learn(0, EPOCH, 1)
    readers = [Follower(tail) for _ in range(50)]
    append(tail, *records(0))
    assert (wake(tail), sum(reader.flushed for reader in readers)) == (0, 50)


def test_exception_ends_one_reader() -> None:
    """The one that failed is told; the others are served."""
    tail = make_tail()
    trouble = LookupError("on purpose")

    def fail() -> None:
        raise trouble

    before, failing, after = Follower(tail), Follower(tail, on_flush=fail), Follower(tail)
    append(tail, *records(0))
    wake(tail)
    assert ([each.failures for each in (before, failing, after)], after.flushed) == ([[], [trouble], []], 1)


def test_readers_may_leave_and_join_during_a_wake() -> None:
    """Who is gone stays gone, who comes has nothing to hear of yet, and nobody is left out."""
    tail = make_tail()
    joined: list[Follower] = []
    leaving = Follower(tail)

    def leave_and_join() -> None:
        tail.part(leaving.view, leaving)
        joined.append(Follower(tail))

    leaving.on_flush = leave_and_join
    staying = Follower(tail)
    append(tail, *records(0))
    wake(tail)
    append(tail, *records(1))
    wake(tail)
    assert ([leaving.flushed, staying.flushed], [each.flushed for each in joined]) == ([1, 2], [1])


def test_last_reader_may_leave_before_its_turn() -> None:
    """A session forgotten between the batch and the wake is not woken."""
    tail = make_tail()
    reader = Follower(tail)
    tail.jump(0, 0, 9, "retention")
    tail.part(reader.view, reader)
    wake(tail)
    assert (reader.flushed, tail.sessions) == (0, 0)


def test_waiting_reader_is_woken_by_the_partition_it_waits_for() -> None:
    """Once, when that has been read so far, be it over records of nobody; not by what comes in another."""
    tail = make_tail(2)
    waiting = Follower(tail)
    tail.wait(waiting, (0, 1), 3)
    flushed = []
    for partition, offset in ((0, 9), (1, 2), (1, 3), (1, 4)):
        tail.advance(0, partition, offset)
        wake(tail)
        flushed.append(waiting.flushed)
    assert flushed == [0, 0, 1, 1]


def test_waiting_reader_is_woken_by_events_of_others() -> None:
    """The partition may hold what it likes."""
    tail = make_tail()
    waiting = Follower(tail, "other")
    tail.wait(waiting, (0, 0), 2)
    append(tail, *records(0, 1))
    wake(tail)
    assert waiting.flushed == 1


def test_reader_that_has_gone_waits_no_more() -> None:
    """Parting ends the waiting too."""
    tail = make_tail()
    waiting = Follower(tail, "other")
    tail.wait(waiting, (0, 0), 1)
    tail.part(waiting.view, waiting)
    append(tail, *records(0))
    wake(tail)
    assert (waiting.flushed, tail.waiting) == (0, ())


@pytest.mark.parametrize("held", [2, 3, 7])
def test_eviction_within_a_batch_overtakes_at_once(held: int) -> None:
    """A batch larger than the tail leaves what fits, and who could not be served is sent back."""
    tail = tail_for(held)
    reader = Follower(tail)
    append(tail, *records(*range(10)))
    assert (len(reader.overtaken_by), tail.floor(0, 0) + tail.events) == (1, 10)
