"""What all connections together may leave untaken."""

from __future__ import annotations

from typing import Any

from tailrace.server.untaken import Untaken


class One:
    """A connection."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.relieved = False
        self.untaken: Untaken | None = None

    def relieve(self) -> None:
        self.relieved = True
        if self.untaken is not None:
            for size in (20, 10, 0):  # answer by answer
                self.untaken.note(self, size)  # type: ignore[arg-type]  # as far as it matters, one is


def four() -> tuple[Untaken, list[Any], list[str]]:
    """Make a bound of 100 bytes, three connections of one source and one of another, and a list of limits."""
    limits: list[str] = []
    untaken, ones = Untaken(limits.append, 100), [One("a"), One("b"), One("a"), One("a")]
    for each in ones:
        each.untaken = untaken
    return untaken, list[Any](ones), limits


def test_what_is_taken_is_forgotten() -> None:
    """The sum is that of what is left now."""
    untaken, (one, other, *_), limits = four()
    for connection, size in [(one, 60), (other, 40), (one, 10), (one, 0), (other, 0), (other, 0)]:
        untaken.note(connection, size)
    assert (untaken.bytes, untaken._sizes, len(untaken._places), limits) == (0, {}, 0, [])


def test_above_the_bound_the_oldest_of_most_has_to_go() -> None:
    """Not whoever is the last to ask, nor a single one from elsewhere that came first."""
    untaken, (oldest, elsewhere, second, third), limits = four()
    for connection in (elsewhere, oldest, second, third):
        untaken.note(connection, 30)
    assert ([oldest.relieved, elsewhere.relieved, second.relieved, third.relieved], untaken.bytes, limits) == (
        [True, False, False, False],
        90,
        ["untaken_answers"],
    )


def test_one_that_is_too_large_by_itself_goes() -> None:
    """Whatever else there is."""
    untaken, (one, *_), _ = four()
    untaken.note(one, 101)
    assert (one.relieved, untaken.bytes) == (True, 0)
