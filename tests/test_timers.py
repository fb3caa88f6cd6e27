"""The wheel: whole ticks, whatever callbacks do, and nothing left out after a stall."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial

import pytest

from tailrace.timers import SLICE_SECONDS, TICK_SECONDS, Wheel


def turn(wheel: Wheel, times: int) -> None:
    """Let so many ticks pass."""
    for _ in range(times):
        wheel.turn()


def noting(wheel: Wheel, fired: list[int]) -> Callable[[], None]:
    """Make a callback that notes the tick."""
    return lambda: fired.append(wheel.now)


@pytest.mark.parametrize(
    "seconds,tick", [(-5, 1), (0, 1), (0.001, 1), (1, 1), (1.001, 2), (2, 2), (14.5, 15), (15, 15), (3600, 3600)]
)
def test_fires_once_at_the_first_tick_not_before(seconds: float, tick: int) -> None:
    """Never early, never twice, and never in the tick that is under way."""
    wheel, fired = Wheel(), list[int]()
    wheel.after(seconds, noting(wheel, fired))
    turn(wheel, tick + 3)
    assert fired == [tick]


def test_ticks_count_from_the_arming() -> None:
    """A timer that is armed late fires as much later."""
    wheel, fired = Wheel(), list[int]()
    turn(wheel, 10)
    wheel.after(2, noting(wheel, fired))
    turn(wheel, 5)
    assert fired == [12]


def test_earlier_ticks_fire_first() -> None:
    """Whatever the order of arming."""
    wheel, fired = Wheel(), list[int]()
    for seconds in (3, 1, 2, 1):
        wheel.after(seconds, noting(wheel, fired))
    turn(wheel, 3)
    assert fired == [1, 1, 2, 3]


def test_cancelled_timer_never_fires() -> None:
    """And the others of its tick do."""
    wheel, fired = Wheel(), list[str]()
    wheel.after(1, partial(fired.append, "cancelled")).cancel()
    wheel.after(1, partial(fired.append, "kept"))
    turn(wheel, 2)
    assert fired == ["kept"]


def test_cancelling_late_or_twice_is_harmless() -> None:
    """Owners cancel everything they ever armed."""
    wheel, fired = Wheel(), list[int]()
    timer = wheel.after(1, noting(wheel, fired))
    turn(wheel, 1)
    timer.cancel()
    timer.cancel()
    turn(wheel, 1)
    assert fired == [1]


def test_cancelled_timers_leave_nothing() -> None:
    """However many were armed for one tick: tokens end in an hour, and their connections mostly long before."""
    wheel = Wheel()
    for timer in [wheel.after(3600, noting(wheel, [])) for _ in range(1000)]:
        timer.cancel()
    assert [sys.getsizeof({})] == [sys.getsizeof(slot) for slot in wheel._slots.values()]


def test_callback_may_arm_for_the_next_tick() -> None:
    """A callback that arms itself again fires once a tick, not for ever in one."""
    wheel, fired = Wheel(), list[int]()

    def again() -> None:
        fired.append(wheel.now)
        wheel.after(0, again)

    wheel.after(1, again)
    turn(wheel, 3)
    assert fired == [1, 2, 3]


def test_callback_may_cancel_others_of_its_tick() -> None:
    """Of two that would cancel each other, one fires: a stream ends once."""
    wheel, fired = Wheel(), list[str]()

    def fire(name: str, rival: str) -> None:
        fired.append(name)
        timers[rival].cancel()

    timers = {
        "one": wheel.after(1, partial(fire, "one", "other")),
        "other": wheel.after(1, partial(fire, "other", "one")),
    }
    turn(wheel, 1)
    assert len(fired) == 1


def test_callback_may_cancel_itself() -> None:
    """It has fired: nothing happens."""
    wheel, fired = Wheel(), list[int]()

    def fire() -> None:
        timer.cancel()
        fired.append(wheel.now)

    timer = wheel.after(1, fire)
    turn(wheel, 2)
    assert fired == [1]


def test_callback_that_fails_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its trace, and everything else of its tick and after it fires."""
    wheel, fired = Wheel(), list[int]()

    def fail() -> None:
        raise LookupError("on purpose")

    for callback in (noting(wheel, fired), fail, noting(wheel, fired)):
        wheel.after(1, callback)
    wheel.after(2, noting(wheel, fired))
    turn(wheel, 2)
    assert (fired, "on purpose" in caplog.text) == ([1, 1, 2], True)


def test_wheel_keeps_nothing_of_the_past() -> None:
    """Ticks that have passed take no memory, whether their timers fired or were cancelled."""
    wheel = Wheel()
    for seconds in range(1, 50):
        wheel.after(seconds, print).cancel()
    turn(wheel, 50)
    assert wheel._slots == {}


# Slices.


class Busy:
    """A clock, and callbacks that each take most of a slice by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fired = 0

    def __call__(self) -> float:
        return self.now

    def fire(self) -> None:
        self.fired += 1
        self.now += 0.75 * SLICE_SECONDS


def test_crowded_tick_is_served_in_slices() -> None:
    """Ten thousand heartbeats in one tick hold nobody up for longer than a slice and one callback."""
    busy = Busy()
    wheel = Wheel(busy)
    for _ in range(7):
        wheel.after(1, busy.fire)
    assert [busy.fired for _ in wheel.slices()] == [2, 4, 6]
    assert busy.fired == 7


def test_timer_may_be_cancelled_between_slices() -> None:
    """Who leaves while the tick is being served is not called any more."""
    busy = Busy()
    wheel = Wheel(busy)
    timers = [wheel.after(1, busy.fire) for _ in range(7)]
    for _ in wheel.slices():
        for timer in timers:
            timer.cancel()
    assert busy.fired == 2


# Against the loop's clock.


class MadeUpTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing that is due, and otherwise stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.made_up = 1000.0

    def time(self) -> float:
        return self.made_up

    def call_at(self, when: float, *args: object, **kwargs: object) -> asyncio.TimerHandle:
        handle = super().call_at(self.made_up, *args, **kwargs)  # type: ignore[arg-type]  # handed on as they come
        self.made_up = max(self.made_up, when)
        return handle


async def run_until(wheel: Wheel, tick: int) -> None:
    """Run the wheel until the tick has come, then end it."""
    reached = asyncio.Event()
    wheel.after(tick - wheel.now, reached.set)
    task = asyncio.create_task(wheel.run())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_one_turn_a_tick() -> None:
    """The wheel keeps to the loop's clock."""
    fired: list[tuple[int, float]] = []
    with asyncio.Runner(loop_factory=MadeUpTime) as runner:
        loop, wheel = runner.get_loop(), Wheel()
        for seconds in (1, 2, 3):
            wheel.after(seconds, lambda: fired.append((wheel.now, loop.time() - 1000)))
        runner.run(run_until(wheel, 4))
    assert fired == [(tick, tick * TICK_SECONDS) for tick in (1, 2, 3)]


def test_loop_has_a_turn_between_slices() -> None:
    """Whoever is ready is served while a crowded tick goes on."""
    busy, turns = Busy(), list[int]()
    with asyncio.Runner(loop_factory=MadeUpTime) as runner:
        loop, wheel = runner.get_loop(), Wheel(busy)

        def fire() -> None:
            busy.fire()
            loop.call_soon(lambda: turns.append(busy.fired))

        for _ in range(6):
            wheel.after(1, fire)
        runner.run(run_until(wheel, 2))
    assert turns == [2, 2, 4, 4, 6, 6]


def test_ticks_before_the_run_are_counted() -> None:
    """A wheel that has turned already goes on with the next tick, one tick later."""
    fired: list[tuple[int, float]] = []
    with asyncio.Runner(loop_factory=MadeUpTime) as runner:
        loop, wheel = runner.get_loop(), Wheel()
        turn(wheel, 5)
        wheel.after(1, lambda: fired.append((wheel.now, loop.time() - 1000)))
        runner.run(run_until(wheel, 7))
    assert fired == [(6, TICK_SECONDS)]


def test_after_a_stall_every_tick_is_caught_up_with() -> None:
    """Nothing is left out, the order is kept, and afterwards ticks come when they would have come anyway."""
    fired: list[tuple[int, float]] = []
    with asyncio.Runner(loop_factory=MadeUpTime) as runner:
        loop, wheel = runner.get_loop(), Wheel()
        assert isinstance(loop, MadeUpTime)

        def stall() -> None:
            loop.made_up += 3.5 * TICK_SECONDS

        wheel.after(1, stall)
        for seconds in (2, 3, 4, 5):
            wheel.after(seconds, lambda: fired.append((wheel.now, loop.time() - 1000)))
        runner.run(run_until(wheel, 6))
    assert fired == [(2, 4.5), (3, 4.5), (4, 4.5), (5, 5.0)]
