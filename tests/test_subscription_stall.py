"""Whether a client that is held up takes anything: when it is looked at, and when it is given up."""

from __future__ import annotations

from builders import ListWire
from tailrace.subscription.stall import Stall
from tailrace.timers import Wheel
from tailrace.wire import MIN_TAKEN_BYTES, Taken


class Watch:
    """A wire that is full, watched with a patience of three seconds."""

    def __init__(self) -> None:
        self.wheel = Wheel()
        self.wire = ListWire()
        self.wire.open = False
        self.given_up: list[int] = []
        self.stall = Stall(self.wire, self.wheel, 3, self.given_up.append)

    def pass_seconds(self, seconds: int, *, taking: int = 0) -> None:
        """Let the client take ``taking`` bytes before each tick."""
        for _ in range(seconds):
            self.wire.taken = Taken("by hand", self.wire.taken.amount + taking)
            self.wheel.turn()


def test_who_takes_nothing_is_given_up_once() -> None:
    """After the patience, to the second, and told for how long."""
    watch = Watch()
    watch.pass_seconds(2)
    before = list(watch.given_up)
    watch.pass_seconds(9)
    assert (before, watch.given_up, watch.stall.watching) == ([], [3], False)


def test_who_goes_on_taking_is_waited_for() -> None:
    """However long that takes; the patience begins anew when it was last seen to move."""
    watch = Watch()
    watch.pass_seconds(20, taking=MIN_TAKEN_BYTES)
    watch.pass_seconds(2)
    before = list(watch.given_up)
    watch.pass_seconds(1)
    assert (before, watch.given_up) == ([], [3])


def test_a_writable_wire_is_not_watched() -> None:
    """Until it fills again: then everything counts from there."""
    watch = Watch()
    watch.pass_seconds(2)
    watch.wire.open = True
    watch.pass_seconds(1)
    before = watch.stall.watching
    watch.wire.open = False
    watch.stall.watch()
    watch.pass_seconds(2)
    assert (before, watch.stall.watching, watch.given_up) == (False, True, [])


def test_a_wire_that_fills_again_is_watched_by_one_timer() -> None:
    """A client that came out of it between two looks has moved."""
    watch = Watch()
    watch.pass_seconds(2)
    watch.stall.watch()
    watch.pass_seconds(2)
    before = list(watch.given_up)
    watch.pass_seconds(9)
    assert (before, watch.given_up) == ([], [3])


def test_cancelled_it_looks_no_more() -> None:
    """Harmless when done twice."""
    watch = Watch()
    watch.stall.cancel()
    watch.stall.cancel()
    watch.pass_seconds(9)
    assert watch.given_up == []
