"""Whose turn it is: who had least, and nobody waits for ever."""

from __future__ import annotations

import asyncio

from builders import DECODER, make_tail
from tailrace.replay import Pass
from tailrace.replay.accounts import FADE_SECONDS
from tailrace.replay.passing import Shared
from tailrace.replay.turns import SLICE_RECORDS, Turns


class Waiting:
    """Turns, a clock, and passes that wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = Turns(lambda: self.now)

    def put(self, used: float) -> Pass:
        """Let a pass wait for whose readers so much was read."""
        one = pass_of(used)
        self.turns.put(one)
        return one

    def order(self) -> list[Pass]:
        """Give all that wait, in turn."""
        return [self.turns.pop() for _ in range(len(self.turns))]


def pass_of(used: float) -> Pass:
    """Make a pass for whose readers so much was read."""
    one = Pass(make_tail(), DECODER, Shared((0, 0), 1, ""), lambda: 1, lambda *_: None)
    one.used = used
    return one


MUCH = 20.0 * SLICE_RECORDS


def test_those_come_first_who_had_least() -> None:
    """And among those who had little, in the order in which they came."""
    waiting = Waiting()
    much, some, none, little = (waiting.put(used) for used in (MUCH, MUCH / 2, 0, SLICE_RECORDS / 2))
    assert waiting.order() == [none, little, some, much]


def test_who_has_waited_long_comes_before_those_who_have_just_come() -> None:
    """Their accounts have faded meanwhile: nobody waits for ever behind others who come and go."""
    waiting = Waiting()
    much = waiting.put(MUCH)
    waiting.now = FADE_SECONDS
    early = waiting.put(0)
    waiting.now = 4 * FADE_SECONDS
    late = waiting.put(0)
    assert waiting.order() == [early, much, late]


def test_a_pass_that_somebody_joins_who_had_less_moves_forward() -> None:
    """Who had more does not move it back."""
    waiting = Waiting()
    first, second = waiting.put(MUCH / 2), waiting.put(MUCH)
    waiting.turns.prefer(second, 0)
    waiting.turns.prefer(second, MUCH)
    assert (second.used, waiting.order()) == (0, [second, first])


def test_a_pass_that_does_not_wait_may_be_preferred() -> None:
    """It is at work: nothing moves."""
    waiting, at_work = Waiting(), pass_of(MUCH)
    waiting.turns.prefer(at_work, 1)
    assert (at_work.used, len(waiting.turns)) == (1, 0)


def test_those_at_work_give_way_to_those_who_had_much_less() -> None:
    """Not to those who had hardly less, and nobody who had little."""
    waiting = Waiting()
    nobody = waiting.turns.concern(pass_of(MUCH))
    waiting.put(MUCH)
    concerned = [waiting.turns.concern(pass_of(MUCH + more * SLICE_RECORDS)) for more in (0, 0.9, 1.1)]
    assert (nobody, concerned, waiting.turns.concern(pass_of(SLICE_RECORDS))) == (False, [False, False, True], False)


async def test_a_pass_is_waited_for() -> None:
    """Each that is put is given once."""
    waiting = Waiting()
    getting = [asyncio.create_task(waiting.turns.get()) for _ in range(2)]
    await asyncio.sleep(0)
    put = [waiting.put(0), waiting.put(0)]
    assert (await asyncio.gather(*getting), len(waiting.turns)) == (put, 0)
