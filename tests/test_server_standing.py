"""What a connection is to the server: when it is heard, and when it has to leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tailrace.places import Places
from tailrace.server.settings import REFUSALS, Patience
from tailrace.server.standing import Standing
from tailrace.server.turnstile import Turnstile


class Keeper:
    """A listener with one connection, as their account sees them."""

    def __init__(self) -> None:
        self.patience = Patience()
        self.strangers: Places[Any] = Places()
        self.newcomers = Turnstile(0.2)
        self.members = Turnstile(0.2)
        self.limits: list[str] = []
        self.source = "a"
        self.over = False
        self.changes = 0

    def note_limit(self, limit: str) -> None:
        self.limits.append(limit)

    def changed(self) -> None:
        self.changes += 1

    async def drained(self) -> None:
        return


@pytest.fixture
async def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
async def standing(keeper: Keeper) -> Standing:
    one: Any = keeper
    made = Standing(one, one)
    made.enter()
    return made


async def test_a_stranger_may_have_to_leave_and_a_member_not(keeper: Keeper, standing: Standing) -> None:
    """From its first admitted stream until its last has ended."""
    seen = []
    for change in (standing.admit, standing.admit, standing.dismiss, standing.dismiss):
        change()
        seen.append((len(keeper.strangers), standing.is_strange, standing.turnstile is keeper.members))
    assert seen == [(0, False, True), (0, False, True), (0, False, True), (1, True, False)]
    assert keeper.changes == 2


async def test_who_is_on_the_way_out_takes_no_place(keeper: Keeper, standing: Standing) -> None:
    """A stream that ends with its connection leaves nothing behind."""
    standing.admit()
    keeper.over = True
    standing.dismiss()
    assert len(keeper.strangers) == 0


async def test_who_waits_to_be_heard_for_the_first_time_has_not_to_leave(keeper: Keeper, standing: Standing) -> None:
    """It is our turn then; once it was heard it may have to leave again."""
    crowd = [asyncio.create_task(keeper.newcomers.through("b", number)) for number in range(50)]
    turn = asyncio.create_task(standing.turn())
    await asyncio.sleep(0)
    before = keeper.newcomers.contended, turn.done(), len(keeper.strangers)
    await asyncio.gather(turn, *crowd)
    assert (before, len(keeper.strangers)) == ((True, False, 0), 1)


async def test_requests_that_wait_hold_back_the_rest(standing: Standing) -> None:
    """No more input is looked at before they were heard."""
    standing.expect()
    turn = asyncio.create_task(standing.turn())
    await asyncio.sleep(0)
    before = turn.done()
    await standing.hear()
    await turn
    assert (before, standing.is_behind) == (False, False)


async def test_refusals_are_counted_until_a_stream_is_admitted(keeper: Keeper, standing: Standing) -> None:
    """One too many is told once; beside a stream there is none."""
    said = [standing.refuse() for _ in range(REFUSALS.burst + 3)]
    assert (said.count(True) >= 2, standing.refused_too_often, keeper.limits) == (True, True, ["refused_requests"])
    standing.admit()
    assert (standing.refuse(), standing.refused_too_often, standing.pause_seconds) == (False, False, 0.0)
