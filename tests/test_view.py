"""One session's part of the tail."""

from __future__ import annotations

from builders import FakeRecord, append, make_reader, make_tail
from tailrace.event import Event
from tailrace.view import View


def filled(events: list[Event], first: int = 0) -> View:
    """Make a view of ``events``, whose first has this number."""
    view = View("s")
    view.begin().extend(events)
    view.first, view.end = first, first + len(events)
    return view


def test_events_are_found_by_their_number() -> None:
    """A place is good whatever was evicted before it."""
    events = append(make_tail(), FakeRecord(0), FakeRecord(1), FakeRecord(2))
    view = filled(events, first=7)
    assert [list(view.since(place)) for place in (7, 8, 10)] == [events, events[1:], []]


def test_views_without_events_share_an_empty_one() -> None:
    """Before the first event and after the last: a quiet session costs next to nothing."""
    view = filled(append(make_tail(), FakeRecord(0)))
    view.evict()
    assert (view.events, view.first) == (View("t").events, 1)
    assert view.events is View("t").events


def test_only_a_reader_that_has_not_taken_the_event_is_overtaken() -> None:
    """Who is ahead of eviction stays live; who is not goes back to just before the event."""
    tail = make_tail()
    ahead, behind = make_reader(tail), make_reader(tail)
    events = append(tail, FakeRecord(0), FakeRecord(1))
    ahead.flush()
    view = tail.join("s", ahead)
    ahead.place = 2
    view.first = 1
    view.overtake(events[0])
    assert (ahead.live, behind.live) == (True, False)


def test_eviction_need_not_look_before_the_slowest() -> None:
    """The bound moves up to the slowest live reader, or to the end where none is live."""
    tail = make_tail()
    reader = make_reader(tail)
    events = append(tail, FakeRecord(0), FakeRecord(1))
    view = tail.join("s", reader)
    reader.place, view.first = 1, 1
    view.overtake(events[0])
    assert view.slowest == 1
    reader.close()
    view.overtake(events[0])
    assert view.slowest == view.end
