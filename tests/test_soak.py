"""The soak's comparison: what grew is named, what stayed or shrank is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from soak.state import (
    LINE_TOLERANCE_BYTES,
    MALLOC_TOLERANCE_BYTES,
    MAY_BE_MORE,
    RSS_TOLERANCE_BYTES,
    TABLE_TOLERANCE_BYTES,
    State,
    complaints,
    grown_lines,
)

STATE = State(
    {"tasks in run": 1, "timers": 2, "subscriptions": 0, "connections": 0},
    rss_bytes=100 * 2**20,
    malloc_bytes=10 * 2**20,
    traced_bytes=2**20,
    lines={"a.py:1": (1000, 10), "b.py:2": (2000, 20)},
)


def said_of(**changes: object) -> list[str]:
    """Compare the state with itself, but for these changes."""
    return list(complaints(STATE, replace(STATE, **changes)))  # type: ignore[arg-type]  # as its fields are


def test_nothing_changed() -> None:
    """A service that is what it was gives no cause for complaint."""
    assert [] == said_of()


@pytest.mark.parametrize("name, words", [("timers", "timers: 2 before, 3 after"), ("new", "new: 0 before, 3 after")])
def test_a_count_that_grew(name: str, words: str) -> None:
    """One more of anything, known or new, is one too many."""
    assert [words] == said_of(counts={**STATE.counts, name: 3})


@pytest.mark.parametrize("name", MAY_BE_MORE)
def test_a_count_that_one_moment_does_not_tell(name: str) -> None:
    """One more may be chance; two more are not."""
    assert [] == said_of(counts={**STATE.counts, name: 1})
    assert [f"{name}: 0 before, 2 after"] == said_of(counts={**STATE.counts, name: 2})


def test_a_count_that_shrank() -> None:
    """Less is no leak."""
    assert [] == said_of(counts={"timers": 1})


@pytest.mark.parametrize(
    "name, tolerance, words",
    [
        ("rss_bytes", RSS_TOLERANCE_BYTES, "resident memory grew by 33.0 MiB"),
        ("malloc_bytes", MALLOC_TOLERANCE_BYTES, "the system's heap in use grew by 3.0 MiB"),
    ],
)
def test_memory(name: str, tolerance: int, words: str) -> None:
    """May grow by what is tolerated, and not more."""
    assert [] == said_of(**{name: getattr(STATE, name) + tolerance})
    assert [words] == [said.partition(",")[0] for said in said_of(**{name: getattr(STATE, name) + tolerance + 2**20})]


def test_a_line_that_grew() -> None:
    """Memory is told by the line that allocated it, how much and in how many pieces."""
    lines = {"a.py:1": (1000 + LINE_TOLERANCE_BYTES, 60), "c.py:3": (1024 * 1024, 7)}
    assert ["memory allocated at c.py:3 grew by 1024 KiB in 7 blocks"] == said_of(lines=lines)
    assert [("c.py:3", 1024 * 1024, 7), ("a.py:1", LINE_TOLERANCE_BYTES, 50)] == grown_lines(
        STATE, replace(STATE, lines=lines)
    )


def test_a_table_that_grew() -> None:
    """More bytes in no more blocks may be a table that once was fuller; a list that grows and grows is too much."""
    assert [] == said_of(lines={"a.py:1": (1000 + TABLE_TOLERANCE_BYTES, 10)})
    assert [] != said_of(lines={"a.py:1": (1001 + TABLE_TOLERANCE_BYTES, 10)})


def test_the_least_of_two_looks() -> None:
    """What comes and goes by itself does not count; what was there each time does."""
    other = replace(
        STATE, counts={"timers": 1, "new": 5, "tasks in run": 1}, rss_bytes=1, malloc_bytes=2, traced_bytes=2**30
    )
    least = STATE.least(other)
    assert {"tasks in run": 1, "timers": 1, "subscriptions": 0, "connections": 0} == least.counts
    assert (1, 2, 2**20) == (least.rss_bytes, least.malloc_bytes, least.traced_bytes)
    assert STATE.lines == least.lines


@pytest.mark.parametrize("name", ["connections", "subscriptions"])
def test_rest(name: str) -> None:
    """At rest nobody is connected, and nobody subscribed."""
    assert STATE.is_at_rest
    assert not replace(STATE, counts={**STATE.counts, name: 1}).is_at_rest


def test_a_state_travels() -> None:
    """It comes back as it went."""
    assert STATE == State.from_json(STATE.to_json())
