"""How long a fetch may wait, by load, with a clock turned by hand."""

from __future__ import annotations

from tailrace.consumer.pace import BUSY_MIN_BYTES, BUSY_WAIT_MS, IDLE_WAIT_MS, Pace, jittered

IDLE, BUSY = (IDLE_WAIT_MS, 1), (BUSY_WAIT_MS, BUSY_MIN_BYTES)


class Hands:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def last(pace: Pace, clock: Hands, *, per_second: int, fetches: int) -> tuple[int, int]:
    """Fetch at an even rate; give the last answer."""
    answer = IDLE
    for _ in range(fetches):
        clock.now += 1 / per_second
        answer = pace.next()
    return answer


def test_rare_fetches_go_out_at_once_and_wait_long() -> None:
    """While there is little to do, the first byte is told at once."""
    clock = Hands()
    assert IDLE == last(Pace(clock), clock, per_second=150, fetches=100)


def test_many_fetches_let_the_broker_gather() -> None:
    """Above 200 a second, a fetch waits for more than one record."""
    clock = Hands()
    assert BUSY == last(Pace(clock), clock, per_second=250, fetches=100)


def test_between_the_bounds_the_pace_stays_as_it_is() -> None:
    """Gathering makes fetches rarer, and must not end itself by that."""
    clock = Hands()
    pace = Pace(clock)
    assert IDLE == last(pace, clock, per_second=150, fetches=100)
    assert BUSY == last(pace, clock, per_second=300, fetches=100)
    assert BUSY == last(pace, clock, per_second=150, fetches=100)


def test_when_it_is_quiet_again_the_pace_is_idle_again() -> None:
    """A poll every two milliseconds is for load only."""
    clock = Hands()
    pace = Pace(clock)
    last(pace, clock, per_second=300, fetches=100)
    assert IDLE == last(pace, clock, per_second=80, fetches=20)


def test_the_rate_counts_over_the_time_that_has_really_passed() -> None:
    """One fetch after a long poll is no burst, however many came in the window before it."""
    clock = Hands()
    pace = Pace(clock)
    last(pace, clock, per_second=10_000, fetches=30)
    clock.now += 10
    assert IDLE == pace.next()


def test_the_idle_wait_can_be_set() -> None:
    """The embedded broker always waits to the end, so it is asked with short waits."""
    assert (10, 1) == Pace(Hands(), 10).next()


def test_pauses_are_spread() -> None:
    """Half the time at least, so that nobody is asked too often; all of it at most."""
    spread = [jittered(2.0) for _ in range(100)]
    assert min(spread) >= 1.0
    assert max(spread) <= 2.0
    assert len(set(spread)) > 1
