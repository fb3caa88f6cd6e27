"""The torture's own parts: a schedule that follows from its seed, and what is a complaint and what is none.

What it proves of every client is judged by `crowd.judge`, whose rules have their tests in ``test_crowd.py``.
"""

from __future__ import annotations

import itertools
import json
import random
import struct
import time
from collections import Counter
from pathlib import Path

import pytest

from crowd.asking import Ask, Hearer, Link
from kafka_logs import CHECKPOINT, TRANSACTIONAL, batches, closed
from tailrace.kafka import CorruptBatch
from torture.clock import Clock, follow
from torture.logs import unexpected
from torture.people import Hop
from torture.report import Plan, Report, stayed
from torture.run import SIZES, size
from torture.schedule import BETWEEN, FIRST_SECONDS, KAFKA, OF_KAFKA, OF_NODES, OF_REPLICAS, REPLICAS, schedule

# The schedule.


def test_a_schedule_follows_from_its_seed() -> None:
    """The same seed is the same schedule; another seed is another."""
    assert schedule(7, 300) == schedule(7, 300)
    assert schedule(7, 300) != schedule(8, 300)


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    """Whoever looks for the first thing that went wrong need not run it for as long."""
    short = schedule(7, 60)
    assert short == schedule(7, 300)[: len(short)]


def test_everything_happens() -> None:
    """In an hour each track suffers all that it may, and Kafka nothing that is the replicas'."""
    found = {(fault.track, fault.what) for fault in schedule(7, 3600)}
    everything = {(KAFKA, what) for what in OF_KAFKA}
    assert everything | {(track, what) for track in REPLICAS for what in OF_REPLICAS} == found


def test_three_brokers_suffer_something_else() -> None:
    """The replicas suffer the same."""
    faults = schedule(7, 3600, nodes=True)
    assert set(OF_NODES) == {fault.what for fault in faults if fault.track == KAFKA}
    same = [fault for fault in schedule(7, 3600) if fault.track != KAFKA]
    assert same == [fault for fault in faults if fault.track != KAFKA]


def test_a_track_does_one_thing_after_the_other() -> None:
    """What begins does so when what was before is over, and a little has passed."""
    faults = [fault for fault in schedule(7, 600) if fault.track == KAFKA]
    pauses = [after.at - before.at - before.seconds for before, after in itertools.pairwise(faults)]
    assert min(pauses) >= BETWEEN[KAFKA][0] - 0.2  # each is written down to a tenth of a second
    assert faults[0].at >= FIRST_SECONDS


def test_shares_are_less_than_one() -> None:
    """Each is a place in a list, too."""
    shares = {fault.share for fault in schedule(7, 36_000)}
    assert (0 <= min(shares), max(shares) < 1, len(shares)) == (True, True, 100)


def test_how_a_fault_is_written() -> None:
    """When, to whom, what, for how long, and the share that decides the rest."""
    fault = schedule(7, 300)[0]
    assert f"{fault.at:.1f} s" in str(fault)
    assert all(each in str(fault) for each in (fault.track, fault.what, f"({fault.share:.2f})"))


def test_a_clock_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows it notices at once, ahead and back; the machine's own clock goes on as before."""
    monkeypatch.setattr(time, "time", time.time)  # put back afterwards
    one, other = Clock(tmp_path / "clock"), Clock(tmp_path / "clock")
    follow(one, lambda: 100.0)
    told = []
    for ahead in (0.0, 7.5, -20.0):
        other.ahead = ahead
        told.append(time.time())
    assert told == [100.0, 107.5, 80.0]


# What the service may write.


def a_line(level: str, message: str) -> str:
    return json.dumps({"level": level, "message": message})


@pytest.mark.parametrize(
    "line",
    [
        a_line("info", "listening"),
        a_line("warning", "topic calls-1 was deleted and made again"),
        a_line("error", "jumping from 3 to 7 in partition 0 of topic calls-1: retention"),
        a_line("error", f"jumping from 3 to 7: {CorruptBatch('calls-1', 0, 3, 7, 'its checksum is wrong')}"),
        a_line("error", f"a replay jumps from 3 to 7: {CorruptBatch('calls-1', 0, 3, 7, 'cut')}"),
    ],
)
def test_a_line_that_is_expected(line: str) -> None:
    """What is harmless, and what tells of something that was done."""
    assert [] == list(unexpected(line))


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        a_line("warning", "something else"),
        a_line("error", "a subscription failed"),
        a_line("error", "jumping from 3 to 7 in partition 0 of topic calls-1: truncated"),
    ],
)
def test_a_line_that_is_not(line: str) -> None:
    """Whatever nobody has a reason for, and all that is no line of the log."""
    assert [line] == list(unexpected(f"{a_line('info', 'listening')}\n{line}\n"))


# What stays behind.


@pytest.mark.parametrize("name", ["tasks in Scanner.scan", "readers that wait for a replay", "timers", "connections"])
def test_what_stayed(name: str) -> None:
    """One more than before anybody came is one too many, of whatever comes and goes with clients."""
    assert [f"{name}: 1 before anybody came, 2 after everybody has gone"] == list(stayed({name: 1}, {name: 2}))


def test_what_may_stay() -> None:
    """Events are there to stay, and less is no more."""
    assert [] == list(stayed({"timers": 3}, {"timers": 2, "events in the tail": 100, "open /dev/null": 1}))


# What is damaged.


def a_batch(first: int, records: int, *, attributes: int = 0) -> bytes:
    """Write as much of a batch as `kafka_logs` reads."""
    body = bytes(9) + struct.pack(">hi", attributes, records - 1) + bytes(40)
    return struct.pack(">qi", first, len(body)) + body


def test_batches_of_a_file(tmp_path: Path) -> None:
    """Each with its offsets, whether a transaction has to do with it, and where it lies; one is damaged alone."""
    file = tmp_path / f"{7:020}.log"
    whole = a_batch(7, 3) + a_batch(10, 1, attributes=TRANSACTIONAL)
    file.write_bytes(whole)
    one, other = batches(file)
    assert [(7, 10, False), (10, 11, True)] == [(each.first, each.next, each.transactional) for each in (one, other)]
    other.damage()
    damaged = file.read_bytes()
    assert (whole[: other.begin], [other.end - 2]) == (
        damaged[: other.begin],
        [at for at, byte in enumerate(damaged) if byte != whole[at]],
    )


def test_files_that_a_broker_is_done_with(tmp_path: Path) -> None:
    """Those that end at or before its recovery point: of the others it would cut off what is damaged, and the rest."""
    folder = tmp_path / "calls-1-0"
    folder.mkdir()
    files = [folder / f"{first:020}.log" for first in (0, 5, 9)]
    for file in files:
        file.touch()
    done = []
    for point in (0, 5, 8, 9, 20):
        (tmp_path / CHECKPOINT).write_text(f"0\n2\ncalls-1 1 99\ncalls-1 0 {point}\n")
        done.append(len(list(closed(folder))))
    (tmp_path / CHECKPOINT).write_text("0\n0\n")
    assert ([0, 1, 1, 2, 2], []) == (done, list(closed(folder)))


# The rest.


def test_the_summary() -> None:
    """One line with the figures, and the command that does it again."""
    report = Report(Plan(3, 90, 20), clients=30, connections=300, records=9, doubtful=1, events=27)
    report.faults, report.resets = Counter({"kill": 2}), Counter({"retention": 4, "epoch": 1})
    assert "tox -e torture -- --minutes 1.5 --seed 3 --clients 20" == report.plan.command
    assert (
        "seed 3: 30 clients x 300 connections x 2 faults survived; 9 records said, 1 of them doubtful;"
        " 27 events checked; resets told: 1 for epoch, 4 for retention"
    ) == report.summary
    report.twice = 3
    assert report.summary.endswith("; 3 clients met a record that Kafka had taken twice")


def test_sizes() -> None:
    """Most events are tiny, and some are nearly as large as Kafka takes."""
    sizes = [size(random.Random(seed)) for seed in range(5000)]
    assert max(sizes) > 400_000
    assert sorted(sizes)[2500] <= max(next(iter(SIZES)))


class Nobody:
    """A link to nobody, and who asked for it."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, ask: Ask, hearer: Hearer) -> Link:
        del ask, hearer
        self.asked += 1
        return self

    def leave(self) -> None: ...
    def vanish(self) -> None: ...
    def stall(self) -> None: ...
    def resume(self) -> None: ...


async def test_hopping() -> None:
    """Every connection may lead to any of the replicas."""
    replicas = [Nobody(), Nobody()]
    hop = Hop(replicas, random.Random(7))
    for _ in range(20):
        await hop(None, None)  # type: ignore[arg-type]  # nobody looks at them
    assert all(each.asked > 4 for each in replicas)
