"""How often one connection may be refused; by a clock that is set by hand."""

from __future__ import annotations

from tailrace.server.refusals import Refusals
from tailrace.server.settings import REFUSALS, SLOWED_AFTER_REFUSALS

MAX_PAUSE_SECONDS = 0.5


class Account(Refusals):
    """One connection's, with its own time."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(lambda: self.now, MAX_PAUSE_SECONDS)

    def add_many(self, count: int, every_seconds: float = 0.0) -> list[float]:
        """Count so many refusals; return the pause before each."""
        pauses = []
        for _ in range(count):
            pauses.append(self.pause_seconds)
            self.add()
            self.now += every_seconds
        return pauses


def test_the_first_are_answered_at_once() -> None:
    """Whoever gets it wrong a few times is not slowed."""
    assert Account().add_many(SLOWED_AFTER_REFUSALS + 1) == [0.0] * (SLOWED_AFTER_REFUSALS + 1)


def test_then_each_has_to_wait_for_longer() -> None:
    """Up to a bound, and then the connection is to end."""
    account = Account()
    pauses = account.add_many(REFUSALS.burst)[SLOWED_AFTER_REFUSALS:]
    before = account.too_many
    account.add()
    assert (sorted(pauses), before, account.too_many) == (pauses, False, True)
    assert account.pause_seconds == MAX_PAUSE_SECONDS


def test_one_a_second_is_always_allowed() -> None:
    """A page that asks again with the same bad token costs little, and is told why each time."""
    account = Account()
    assert set(account.add_many(1000, every_seconds=1 / REFUSALS.per_second)) == {0.0}


def test_one_too_many_is_one_for_good() -> None:
    """The peer was told that its connection ends, so it does, however long it waits before it goes on."""
    account = Account()
    account.add_many(REFUSALS.burst + 1)
    account.now += REFUSALS.burst / REFUSALS.per_second
    assert (account.too_many, account.pause_seconds) == (True, 0.0)
    account.add()
    assert account.too_many
