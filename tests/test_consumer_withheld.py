"""`tailrace.consumer.withheld`: who is left alone, and for how long."""

from __future__ import annotations

import pytest

from tailrace.consumer.withheld import HOLD_SECONDS, Withheld

PLACE, OTHER = ("t", 0), ("t", 1)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_none_is_the_rule() -> None:
    """Nobody is withheld before there is trouble."""
    assert set() == Withheld(Clock()).now()


@pytest.mark.parametrize("passed, held", [(HOLD_SECONDS / 2 - 0.01, {PLACE}), (HOLD_SECONDS, set())])
def test_trouble_passes(passed: float, held: set[tuple[str, int]]) -> None:
    """A partition in trouble is asked for again after a moment: half the time at least, all of it at most."""
    clock = Clock()
    withheld = Withheld(clock)
    withheld.hold(PLACE)
    clock.now += passed
    assert held == withheld.now()


def test_doubt_waits_for_an_identity_asked_for_afterwards() -> None:
    """One that was under way when the doubt arose cannot tell."""
    withheld = Withheld(Clock())
    before = withheld.ask()
    withheld.doubt(PLACE)
    withheld.known(before)
    still = set(withheld.now())
    withheld.known(withheld.ask())
    assert ({PLACE}, set()) == (still, withheld.now())


def test_both_are_withheld_together() -> None:
    """One for the moment and one in doubt."""
    withheld = Withheld(Clock())
    withheld.hold(PLACE)
    withheld.doubt(OTHER)
    assert {PLACE, OTHER} == withheld.now()
