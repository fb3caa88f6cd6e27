"""The tasks of one connection's applications."""

from __future__ import annotations

import asyncio

from tailrace.server.applications import Applications


async def test_the_end_waits_for_all_of_them() -> None:
    """Also for one that begins meanwhile."""
    applications, done = Applications(lambda _: None), []

    async def work(number: int) -> None:
        if number:
            applications.start(work(number - 1))
        await asyncio.sleep(0)
        done.append(number)

    applications.start(work(2))
    await applications.ended()
    assert sorted(done) == [0, 1, 2]


async def test_the_time_of_each_is_charged() -> None:
    """Until it is said that it is no stranger's any more."""
    charged: list[float] = []
    applications = Applications(charged.append)
    applications.start(asyncio.sleep(0))
    applications.start(asyncio.sleep(0)).charge = None
    await applications.ended()
    assert len(charged) == 2


async def test_those_that_hear_nothing_are_cancelled() -> None:
    """And are waited for, whatever they have to do at their end."""
    applications, done = Applications(lambda _: None), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("ended")

    applications.start(work())
    await asyncio.sleep(0)
    applications.cancel()
    await applications.ended()
    assert done == ["ended"]
