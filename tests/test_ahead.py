"""Who waits for this replica, and what wakes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.ahead import Ahead, Waiting

A: Any = "a"
B: Any = "b"
"""Readers: only told apart here."""


def reached(ahead: Ahead, offsets: Mapping[tuple[int, int], int]) -> set[Any]:
    """Read partitions on up to ``offsets``; give who is woken."""
    for place in offsets:
        ahead.note(place)
    return set(ahead.reached(lambda topic, partition: offsets[topic, partition]))


def test_each_is_woken_at_its_own_offset() -> None:
    """Once."""
    ahead = Ahead()
    ahead.wait(A, (0, 0), 3)
    ahead.wait(B, (0, 0), 5)
    assert [reached(ahead, {(0, 0): offset}) for offset in (2, 4, 5, 6)] == [set(), {A}, {B}, set()]


def test_only_partitions_that_moved_are_looked_at() -> None:
    """And none in which nobody waits: what they cost does not grow with those who wait elsewhere."""
    ahead = Ahead()
    ahead.wait(A, (0, 0), 3)
    assert [reached(ahead, {place: 9}) for place in ((0, 1), (1, 0))] == [set(), set()]
    assert ahead.reached(lambda *_: 1 // 0) == ()  # nobody asks


def test_a_reader_waits_for_one_partition() -> None:
    """The last that it named."""
    ahead = Ahead()
    ahead.wait(A, (0, 0), 3)
    ahead.wait(A, (0, 1), 7)
    assert ahead.everyone == (Waiting(A, (0, 1), 7),)
    assert (reached(ahead, {(0, 0): 9}), reached(ahead, {(0, 1): 9})) == (set(), {A})


def test_who_leaves_is_not_kept() -> None:
    """Nor is it harmful to leave twice, nor while its partition moves."""
    ahead = Ahead()
    ahead.wait(A, (0, 0), 3)
    ahead.note((0, 0))
    for _ in range(2):
        ahead.leave(A)
    assert (ahead.everyone, ahead.reached(lambda *_: 9)) == ((), ())


def test_who_is_released_is_woken_whatever_its_partition_does() -> None:
    """Once, if it waited and has not left since."""
    ahead = Ahead()
    for reader in (A, B):
        ahead.wait(reader, (0, 0), 3)
        ahead.release(reader)
    ahead.release("nobody")  # type: ignore[arg-type]
    ahead.leave(B)
    assert [ahead.reached(lambda *_: 0) for _ in range(2)] == [(A,), ()]
