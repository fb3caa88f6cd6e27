"""Everyone who waits: one pass for all, in turn, within bounds; and nothing is lost or repeated meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from leaping import until
from replaying import House, Subscriber, at_work
from tailrace.errors import ReplayFull
from tailrace.replay import Bounds, Replay
from tailrace.replay.waiting import READER_BYTES


async def test_one_pass_serves_all_who_wait() -> None:
    """Fifty readers of five sessions cost as many fetches as one."""
    house = House()
    for session in "abcde":
        house.history(4, key=session.encode())
    house.kafka.at_once = 5
    readers = [house.subscriber(0, session=session) for session in "abcde" * 10]
    waiting = house.replay.waiting
    async with at_work(house):
        got = [len(await each.live()) for each in readers]
    assert (waiting, got, house.fetches) == (50, [5] * 50, [(0, 0), (0, 5), (0, 10), (0, 15)])


async def test_who_comes_in_front_of_a_pass_joins_it() -> None:
    """It is on its way there."""
    house = House()
    house.history(9)
    house.kafka.at_once = 3
    first = house.subscriber(0)
    house.kafka.on_fetch = lambda: late.append(house.subscriber(6)) if not late else None
    late = list[Subscriber]()
    async with at_work(house):
        await first.live()
    assert (late[0].got, house.fetches) == (["6", "7", "8", "live"], [(0, 0), (0, 3), (0, 6)])


async def test_who_comes_behind_a_pass_waits_for_the_next() -> None:
    """Together with all the others who do: a pass never goes back."""
    house = House()
    house.history(6)
    house.kafka.at_once = 3
    first = house.subscriber(0)
    late = list[Subscriber]()
    house.kafka.on_fetch = lambda: late.append(house.subscriber(0)) if len(house.fetches) == 2 else None
    async with at_work(house):
        await first.live()
        late.append(house.subscriber(1))
        got = [await each.live() for each in late]
    assert [each[0] for each in got] == ["0", "1"]
    assert house.fetches == [(0, 0), (0, 3), (0, 0), (0, 3)]


async def test_who_comes_when_a_pass_is_over_waits_for_the_next() -> None:
    """It has reached the floor, and the floor has moved on since: it reads no further."""
    house = House()
    house.history(2)
    house.subscriber(0).wire.open = False
    one = house.replay.begin(house.replay._turns.pop())
    one.skip(2, "retention")
    house.history(2)
    house.subscriber(2)
    assert (len(one), house.replay.waiting) == (1, 2)


async def test_hand_over_while_the_tail_moves() -> None:
    """Records come and are evicted during every fetch: the reader asks again, and gets each of them once, in order."""
    house = House()
    house.history(6)
    house.kafka.at_once = 3

    def go_on() -> None:
        if len(house.fetches) < 20:
            house.history(2)
            house.produce(str(house.kafka.logs["t", 0].end).encode())

    house.kafka.on_fetch = go_on
    subscriber = house.subscriber(0)
    async with at_work(house):
        got = await subscriber.live()
    end = house.kafka.logs["t", 0].end
    assert (got, end) == ([*map(str, range(end)), "live"], 6 + 19 * 3)


async def test_reader_overtaken_by_eviction_asks_again() -> None:
    """What a live reader had not taken when it left the tail comes from the log, and what came since from the tail."""
    house = House()
    subscriber = house.subscriber(0)
    subscriber.wire.open = False
    house.history(3)
    house.produce(b"3")
    async with at_work(house):
        subscriber.goes_on()
        assert await subscriber.live() == ["live", "0", "1", "2", "3", "live"]


async def test_slow_reader_leaves_the_pass_and_asks_again() -> None:
    """The pass goes on for the others; when the slow one can take again, it gets the rest in a pass of its own."""
    house = House(bounds=Bounds(bytes=1000))
    expected = house.history(30)
    house.kafka.at_once = 10
    slow, fast = house.subscriber(0), house.subscriber(0)
    slow.wire.open = False
    async with at_work(house):
        got = await fast.live()
        fetches, waiting, lying = len(house.fetches), house.replay.waiting, slow.got
        slow.goes_on()
        assert await slow.live() == got == [*expected, "live"]
    assert (fetches, waiting, lying) == (3, 0, [])


async def test_what_may_lie_is_shared() -> None:
    """Each who waits has an even part of the bound, and nobody more than four writes."""
    house = House(bounds=Bounds(bytes=READER_BYTES + 3))
    house.history(3)
    shares = [house.replay._share()]
    for _ in range(2):
        house.subscriber(0)
        shares.append(house.replay._share())
    assert shares == [READER_BYTES, READER_BYTES, READER_BYTES // 2 + 1]


async def test_passes_at_work_are_bounded() -> None:
    """The others wait in the order in which they were asked for."""
    house = House(partitions=4, bounds=Bounds(passes=2))
    for partition in range(4):
        house.history(2, partition=partition)
    counts = list[int]()
    house.kafka.on_fetch = lambda: counts.append(house.replay.at_work)
    subscriber = house.subscriber(0, 0, 0, 0)
    async with at_work(house):
        await subscriber.live()
    assert (set(counts), sorted(house.fetches)) == ({2}, [(0, 0), (1, 0), (2, 0), (3, 0)])


async def test_partitions_take_turns() -> None:
    """Whoever asks again for one partition, or comes too late for its pass, is behind those who wait for another."""
    house = House(partitions=2, bounds=Bounds(passes=1))
    house.history(4)
    house.history(1, key=b"x", partition=1)
    house.kafka.at_once = 2
    house.subscriber(0, 1)
    other = house.subscriber(4, 0, session="x")
    late = list[Subscriber]()
    house.kafka.on_fetch = lambda: late.append(house.subscriber(0, 1)) if len(house.fetches) == 2 else None
    async with at_work(house):
        await other.live()
        await late[0].live()
    assert house.fetches == [(0, 0), (0, 2), (1, 0), (0, 0), (0, 2)]


async def test_readers_that_wait_are_bounded() -> None:
    """One more is refused; one that waits already may ask for its other partitions."""
    house = House(partitions=2, bounds=Bounds(readers=1))
    house.history(1)
    house.history(1, partition=1)
    first, second = house.subscriber(0, 0), house.subscriber(0, 0)
    assert (first.owner.ends, second.owner.ends) == ([], ["come back later"])
    assert (house.replay.waiting, house.replay.is_full) == (1, True)
    with pytest.raises(ReplayFull):
        house.replay.ask(second.reader, (0, 0), 0)


async def test_records_of_one_resume_are_bounded() -> None:
    """A reader that is farther behind goes on as far back as it may, and is told first."""
    house = House(bounds=Bounds(records=2))
    house.history(5)
    subscriber = house.subscriber(0)
    async with at_work(house):
        assert await subscriber.live() == ["reset", "3", "4", "live"]
    assert (house.fetches, '"bounded"' in subscriber.wire.text) == ([(0, 3)], True)


async def test_who_has_left_is_not_read_for() -> None:
    """A client that disconnects while it waits, or while it is served, costs nothing more."""
    house = House()
    house.history(9)
    house.kafka.at_once = 3
    waits, served = house.subscriber(0, session="x"), house.subscriber(0)
    waits.reader.close()
    house.kafka.on_fetch = lambda: served.reader.close() if len(house.fetches) == 2 else None
    async with at_work(house):
        await until(lambda: not house.replay.waiting and not house.replay.at_work)
    assert (house.fetches, served.got) == ([(0, 0), (0, 3)], ["0", "1", "2"])


async def test_a_pass_that_fails_fails_its_readers_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A defect is logged and told to them; the next pass works."""
    house = House()
    house.history(2)
    trouble = LookupError("on purpose")

    def fail() -> None:
        house.kafka.on_fetch = lambda: None
        raise trouble

    house.kafka.on_fetch = fail
    first = house.subscriber(0)
    async with at_work(house):
        await until(lambda: first.owner.failures)
        first.reader.close()
        assert await house.subscriber(0).live() == ["0", "1", "live"]
    assert (first.owner.failures, "a replay failed: topic t, partition 0" in caplog.text) == ([trouble], True)


async def test_topic_made_again_while_a_pass_waits() -> None:
    """Nobody is given records of the new one in place of the old one's; then it is replayed from its start."""
    house = House()
    house.history(5)
    subscriber = house.subscriber(0)
    subscriber.wire.open = False
    house.kafka.make_again("t", "2", 1)
    await house._refreshed()
    house.produce(b"new", b"newer")
    house.evict()
    subscriber.goes_on()
    async with at_work(house):
        assert await subscriber.live() == ["reset", "new", "newer", "live"]


async def test_end_while_scanning_leaves_nothing_behind() -> None:
    """No task, and no connection; whoever waits keeps the position of what it was given."""
    house = House()
    house.history(4)
    house.kafka.at_once = 2
    subscriber = house.subscriber(0)
    async with at_work(house):
        await until(lambda: len(subscriber.got) == 2)
        at_work_then = house.replay.at_work
    assert (at_work_then, house.kafka.closed, house.replay.at_work) == (1, True, 0)
    assert subscriber.reader.position.offsets == ((2,),)


async def test_close_of_all_readers_ends_the_pass() -> None:
    """As a drain does, in the middle of a scan: the replay rests, and can be asked again."""
    house = House()
    house.history(4)
    house.kafka.at_once = 1
    readers = [house.subscriber(0) for _ in range(3)]
    async with at_work(house):
        await until(lambda: readers[0].got)
        for each in readers:
            each.reader.close()
        await until(lambda: not house.replay.at_work)
        assert (house.replay.waiting, await house.subscriber(3).live()) == (0, ["3", "live"])
    assert asyncio.current_task() in asyncio.all_tasks()


# Fair between subjects.


class Few(Replay):
    """The real one, for logs of a few records."""

    alike_records = 2
    alone_records = 10_000


MUCH = 1e6
"""Records, charged by hand."""


async def test_who_lacks_little_does_not_wait_for_who_lacks_much() -> None:
    """Each has a pass that begins about where they lack something."""
    house = House(replay=Few)
    house.history(64)
    house.kafka.at_once = 4
    house.subscriber(0)
    little = house.subscriber(60, session="x")
    async with at_work(house):
        await little.live()
        fetched = len(house.fetches)
        assert (house.fetches[:2], fetched < 8) == ([(0, 0), (0, 60)], True)


async def test_who_lacks_little_joins_a_pass_that_soon_comes_by() -> None:
    """Before as much again was read as is lacked; one that is farther off is not waited for."""
    house = House(replay=Few)
    house.history(64)
    house.kafka.at_once = 16
    late = list[Subscriber]()

    def come() -> None:
        if len(house.fetches) == 3:
            late.extend([house.subscriber(48), house.subscriber(62)])

    house.kafka.on_fetch = come
    first = house.subscriber(0)
    async with at_work(house):
        await first.live()
        got = [len(await each.live()) for each in late]
    assert (got, sorted(house.fetches)) == ([17, 3], [(0, 0), (0, 16), (0, 32), (0, 48), (0, 62)])


async def test_who_had_much_gives_way() -> None:
    """At the next fetch, though all passes that there may be are at work; it goes on where it was."""
    house = House(bounds=Bounds(passes=1), replay=Few)
    house.history(64)
    house.kafka.at_once = 16
    house.replay._accounts.charge(["mallory"], MUCH)
    mallory = house.subscriber(0, subject="mallory")
    other = list[Subscriber]()
    house.kafka.on_fetch = lambda: other.append(house.subscriber(0, session="x")) if not other else None
    async with at_work(house):
        got = await mallory.live()
    assert house.fetches == [(0, at) for at in (0, 0, 16, 32, 48, 16, 32, 48)]
    assert (got, other[0].got) == ([*map(str, range(64)), "live"], ["live"])


async def test_who_had_much_is_read_for_alone() -> None:
    """Others neither wait for its passes nor lengthen theirs."""
    house = House(replay=Few)
    house.history(8)
    house.replay._accounts.charge(["mallory"], MUCH)
    readers = [house.subscriber(0, subject=subject) for subject in ("mallory", "ada", "mallory", "grace")]
    async with at_work(house):
        for each in readers:
            await each.live()
    assert house.fetches == [(0, 0), (0, 0)]


async def test_a_pass_that_was_shared_is_left_to_whoever_had_much_meanwhile() -> None:
    """Whoever comes behind it does not wait for its end."""
    house = House(bounds=Bounds(passes=2), replay=Few)
    house.history(64)
    house.kafka.at_once = 16
    other = list[Subscriber]()

    def come() -> None:
        if len(house.fetches) == 2:
            other.append(house.subscriber(0, session="x", subject="grace"))
            [one] = house.replay._at_work
            one.count(20_000)

    house.kafka.on_fetch = come
    first = house.subscriber(0)
    async with at_work(house):
        await first.live()
        await other[0].live()
    assert house.fetches.index((0, 0), 1) < house.fetches.index((0, 48))


async def test_who_had_more_than_their_bound_rests_and_loses_nothing() -> None:
    """It goes on by itself when its account has faded; others are served meanwhile."""
    house = House(bounds=Bounds(records_per_subject=100_000), replay=Few)
    house.history(8)
    loop = asyncio.get_running_loop()
    house.replay._accounts.charge(["mallory"], 200_000)
    mallory = house.subscriber(0, subject="mallory")
    async with at_work(house):
        begin = loop.time()
        await until(lambda: house.replay.resting)
        assert await house.subscriber(0, session="x").live() == ["live"]
        resting = (house.replay.resting, mallory.got, loop.time() - begin < 5)
        assert await mallory.live() == [*map(str, range(8)), "live"]
        assert 40 < loop.time() - begin < 50  # 60 s x ln 2, and a little
    assert resting == (1, [], True)


async def test_who_rests_goes_on_when_somebody_joins_who_had_less() -> None:
    """One that is shared, before anybody had much, is not held up by one of those whom it serves."""
    house = House(bounds=Bounds(records_per_subject=100), replay=Few)
    house.history(64)
    house.kafka.at_once = 16
    first = house.subscriber(0)
    async with at_work(house):
        house.kafka.on_fetch = lambda: house.replay._charge(next(iter(house.replay._at_work)), 200)
        await until(lambda: house.replay.resting)
        house.kafka.on_fetch = lambda: None
        begin = asyncio.get_running_loop().time()
        await house.subscriber(40, session="x", subject="grace").live()
        assert asyncio.get_running_loop().time() - begin < 5
        assert first.reader.live
