"""Where the log was passed over: every gap is known, and none that is no more."""

from __future__ import annotations

import pytest

from tailrace.gaps import MAX_GAPS, Gaps

HERE, ELSEWHERE = (0, 0), (1, 0)


@pytest.fixture
def gaps() -> Gaps:
    found = Gaps()
    found.add(HERE, 10, 20, "oversized")
    found.add(HERE, 30, 40, "unreadable")
    return found


@pytest.mark.parametrize(
    "offset, expected",
    [
        (9, (0, "")),
        (10, (20, "oversized")),
        (19, (20, "oversized")),
        (20, (0, "")),
        (35, (40, "unreadable")),
        (40, (0, "")),
    ],
)
def test_each_gap_is_known(gaps: Gaps, offset: int, expected: tuple[int, str]) -> None:
    """Not only the last one, and of its own partition only."""
    assert (gaps.beyond(HERE, offset), gaps.beyond(ELSEWHERE, offset)) == (expected, (0, ""))


def test_gaps_of_a_kind_that_touch_are_one(gaps: Gaps) -> None:
    """Whoever is before both is told once."""
    gaps.add(HERE, 40, 50, "unreadable")
    gaps.add(HERE, 50, 60, "oversized")
    assert [gaps.beyond(HERE, offset) for offset in (30, 45, 50)] == [(50, "unreadable")] * 2 + [(60, "oversized")]


def test_going_back_ends_what_lies_beyond(gaps: Gaps) -> None:
    """Other records are there now."""
    gaps.add(HERE, 50, 25, "truncated")
    assert [gaps.beyond(HERE, offset) for offset in (15, 35, 26)] == [(20, "oversized"), (0, ""), (0, "")]


def test_a_topic_made_again_has_none(gaps: Gaps) -> None:
    """Nothing that was known of it means anything."""
    gaps.add(ELSEWHERE, 1, 2, "retention")
    gaps.forget(HERE[0])
    assert (gaps.beyond(HERE, 15), gaps.beyond(ELSEWHERE, 1)) == ((0, ""), (2, "retention"))


def test_the_oldest_are_forgotten() -> None:
    """There is a bound."""
    gaps = Gaps()
    for number in range(MAX_GAPS + 1):
        gaps.add(HERE, 2 * number, 2 * number + 1, "oversized")
    assert (gaps.beyond(HERE, 0), gaps.beyond(HERE, 2)) == ((0, ""), (3, "oversized"))
