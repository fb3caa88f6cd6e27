"""Whose work is done in which iteration of the loop, and how much of it; by a clock that is set by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from changes import settled
from tailrace.server.settings import LEAST_SECONDS
from tailrace.server.turnstile import USUAL_SECONDS, Turnstile

AT_ONCE = 1 + int(LEAST_SECONDS / USUAL_SECONDS)
"""Pieces of an iteration in which nothing else happens."""


class Crowd:
    """Those who come to one turnstile, in which order they go through, and in which iteration of the loop.

    Time passes only in ``others_seconds``, once an iteration, and in a piece of work, which takes ``piece_seconds``.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.turnstile = Turnstile(0.2, lambda: self.now)
        self.others_seconds = 0.0
        self.piece_seconds = USUAL_SECONDS
        self.order: list[str] = []
        self.iterations: Counter[int] = Counter()
        self._iteration = 0

    async def come(self, address: str, connection: str = "") -> None:
        await self.turnstile.through(address, connection)
        self.order.append(address + connection)
        self.iterations[self._iteration] += 1
        self.now += self.piece_seconds
        self.turnstile.charge(self.piece_seconds)

    async def come_all(self, *names: str) -> None:
        """Have each of ``names``, an address and a connection of one letter each, come now; wait for all."""
        await asyncio.gather(*(self.come(name[0], name[1:]) for name in names))

    def iterate(self) -> None:
        self._iteration += 1
        self.now += self.others_seconds
        self._next = asyncio.get_running_loop().call_soon(self.iterate)

    def stop(self) -> None:
        self._next.cancel()


@contextmanager
def crowd() -> Iterator[Crowd]:
    """Count the iterations of the loop until the end of the block."""
    made = Crowd()
    made.iterate()
    yield made
    made.stop()


async def test_one_connection_goes_through_in_the_order_of_its_asking() -> None:
    """What it has begun is done before what it says later."""
    with crowd() as here:
        await asyncio.gather(*(here.come("a", f"{number // 100}") for number in range(7)))
        assert [name for name in here.order if name == "a0"] == ["a0"] * 7


async def test_an_idle_loop_does_what_fits_into_its_least() -> None:
    """However many wait, an iteration has few pieces, so that a stream is served in between."""
    with crowd() as here:
        await here.come_all(*(["aa"] * 5 * AT_ONCE))
        assert max(here.iterations.values()) <= AT_ONCE


async def test_a_busy_loop_gives_its_share() -> None:
    """Where other work takes 40 ms of each iteration, a fifth of all the time is for those who wait, and no more."""
    with crowd() as here:
        here.others_seconds = 0.04
        await here.come_all(*(["aa"] * 400))
        pieces = 400 * USUAL_SECONDS
        share = pieces / (pieces + 0.04 * len(here.iterations))
        assert 0.15 < share < 0.25


async def test_what_a_piece_costs_is_learned() -> None:
    """Pieces that take ten times as long as was thought are soon let through one by one."""
    with crowd() as here:
        here.piece_seconds = 10 * USUAL_SECONDS
        await here.come_all(*(["aa"] * 100))
        assert list(here.iterations.values())[-20:] == [1] * 20


async def test_addresses_take_turns() -> None:
    """An address that asks a thousand times delays another by one piece in each round."""
    with crowd() as here:
        await here.come_all(*(["aa"] * 1000), "bb", "bb")
        where = [number for number, name in enumerate(here.order) if name == "bb"]
        assert where[1] <= AT_ONCE + 4


async def test_connections_of_an_address_take_turns() -> None:
    """Nor does one connection hold up the others that come from where it comes from: behind a proxy all do."""
    with crowd() as here:
        await here.come_all(*(["aa"] * 1000), "ab", "ab")
        where = [number for number, name in enumerate(here.order) if name == "ab"]
        assert where[1] <= AT_ONCE + 4


async def test_what_was_begun_is_done_first() -> None:
    """Whoever has come in does not wait behind those who have not."""
    with crowd() as here:
        waiting = [asyncio.create_task(here.come("a", "a")) for _ in range(50)]
        await waiting[0]
        await here.turnstile.through("b", "b", begun=True)
        assert len(here.order) <= 2 * AT_ONCE
        await asyncio.gather(*waiting)


async def test_who_has_gone_waits_no_more() -> None:
    """Nor does anybody else because of it."""
    with crowd() as here:
        others = [asyncio.create_task(here.come("a", "a")) for _ in range(50)]
        gone = [asyncio.create_task(here.turnstile.through("b", "b", begun=number > 5)) for number in range(10)]
        await others[0]
        here.turnstile.release("b", "b")
        here.turnstile.release("c", "c")
        await asyncio.gather(*gone)
        assert len(here.order) < 50
        await asyncio.gather(*others)


async def test_who_leaves_holds_up_nobody() -> None:
    """A place in the line that is given up is nobody's, and takes none of the iteration."""
    with crowd() as here:
        tasks = [asyncio.create_task(here.come("a", f"{number}")) for number in range(3 * AT_ONCE)]
        await tasks[0]
        for task in tasks[AT_ONCE:-2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert len(here.order) == AT_ONCE + 2
        assert len(here.iterations) == 2


async def test_it_rests_while_nobody_comes() -> None:
    """No iteration of the loop is taken up; whoever comes then goes through at once."""
    with crowd() as here:
        await here.come_all("aa", "ab", "ac")
        await settled(lambda: here.turnstile._since is None)
        before = sum(here.iterations.values()), here._iteration
        await here.come("a", "d")
        assert (sum(here.iterations.values()), here._iteration) == (before[0] + 1, before[1])
