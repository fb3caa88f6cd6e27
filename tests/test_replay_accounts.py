"""What was read for whom: accounts that fade."""

from __future__ import annotations

import math

import pytest

from tailrace.replay.accounts import FADE_SECONDS, PRUNE_AT, Accounts, seconds_until


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_read_for_several_is_divided() -> None:
    """In even parts, whatever they have already."""
    accounts = Accounts(Clock())
    accounts.charge(["a"], 10)
    accounts.charge(["a", "b"], 10)
    assert [accounts.used(subject) for subject in "abc"] == [15, 5, 0]


def test_accounts_fade() -> None:
    """By the same factor in the same time, so that whoever had more has more."""
    accounts = Accounts(clock := Clock())
    accounts.charge(["a"], 100)
    clock.now += FADE_SECONDS
    accounts.charge(["a"], 1)
    assert accounts.used("a") == pytest.approx(100 / math.e + 1)


def test_a_steady_rate_is_told_by_the_minute() -> None:
    """A thousand a second are, within a hundredth, sixty thousand."""
    accounts = Accounts(clock := Clock())
    for _ in range(600):
        clock.now += 1
        accounts.charge(["a"], 1000)
    assert accounts.used("a") == pytest.approx(60_000, rel=0.01)


@pytest.mark.parametrize("used, seconds", [(50, 0), (100, 0), (100 * math.e, FADE_SECONDS)])
def test_how_long_until_it_is_less(used: float, seconds: float) -> None:
    """So long must rest who has more than a hundred."""
    assert seconds_until(100, used) == pytest.approx(seconds)


def test_faded_accounts_are_not_kept() -> None:
    """However many subjects there have been, memory holds those of the last minutes."""
    accounts = Accounts(clock := Clock())
    for number in range(5 * PRUNE_AT):
        accounts.charge([str(number)], 2)
        clock.now += 1
    assert len(accounts) <= PRUNE_AT
    assert accounts.used(str(5 * PRUNE_AT - 1)) > 1
