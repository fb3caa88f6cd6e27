"""One run: two replicas over a broker, everybody speaks and listens, the schedule is played; then a calm, and a verdict.

In the calm nothing is done to anybody any more, and everyone must get what they lack.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvloop

from crowd.asking import Endpoint
from crowd.history import History
from crowd.judge import Judge
from crowd.producing import epoch_at
from kafka_cluster import KafkaCluster
from soak.traffic import Traffic
from torture.breaking import Breaking, play
from torture.logs import unexpected
from torture.people import RECEIVE_BUFFER_BYTES, People
from torture.replicas import Replica
from torture.schedule import KAFKA, REPLICAS, Fault, schedule
from torture.voices import Everybody, Voices

TOPICS: Mapping[str, tuple[int, Sequence[str]]] = {
    "calls": (3, ("none", "snappy", "zstd")),
    "rivers": (2, ("gzip", "lz4")),
}
"""By the topic's first word: how many partitions it has at first, and how those who speak to it compress."""
CALM_SECONDS = 90.0
"""How long everybody may take to have everything, once nothing is done to anybody any more."""
REST_SECONDS = 45.0
"""How long a replica may take to be at rest: its keep-alive of 30 s bounds what was begun and never finished."""
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.2
THREADS = 32
"""For what blocks: each track, and each producer that is closed."""
PASSING = ("tasks in ", "subscri", "connections", "subjects", "sockets", "readers", "passes", "timers")
"""What must be as it was before anybody came, by how its name begins."""


@dataclass(frozen=True)
class Plan:
    """What to do."""

    seed: int
    seconds: float
    clients: int
    show: Callable[[str], None] = lambda _: None


@dataclass
class Report:
    """What came of it; ``complaints`` is empty if nothing was wrong."""

    plan: Plan
    clients: int = 0
    connections: int = 0
    records: int = 0
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    befell: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


class Torture:
    """One run over a broker and replicas that are up."""

    def __init__(self, plan: Plan, kafka: KafkaCluster, replicas: Sequence[Replica], topics: Mapping[str, str]) -> None:
        self._plan = plan
        self._kafka = kafka
        self._replicas = replicas
        self._rng = random.Random(plan.seed)
        history = History()
        self._judge = Judge(history)
        self._voices = {
            topic: Voices(history, kafka.both_bootstraps, topic, TOPICS[word][0], self._rng, TOPICS[word][1])
            for word, topic in topics.items()
        }
        self._breaking = Breaking(kafka, history, self._voices)
        self._people = People(plan.clients, self._rng, self._judge, [endpoint_of(each) for each in replicas])
        self._begun = time.monotonic()
        self.report = Report(plan)

    async def run(self) -> None:
        """Do all of it; the report has what came of it."""
        asyncio.get_running_loop().set_exception_handler(self._failed)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        before = [await asyncio.to_thread(each.count) for each in self._replicas]
        for topic, voices in self._voices.items():
            voices.speak(await asyncio.to_thread(epoch_at, self._kafka.bootstrap, topic))
        async with self._settling():
            await self._storm()
            await self._calm()
        self._people.leave()
        for replica, state in zip(self._replicas, before, strict=True):
            await self._look_what_stayed(replica, state.counts)
            await asyncio.to_thread(replica.end)
        for voices in self._voices.values():
            await voices.fall_silent()
        self._judge.close()
        self._sum_up()

    async def _storm(self) -> None:
        seconds, rng = self._plan.seconds, self._rng
        faults = schedule(self._plan.seed, seconds)
        everybody = Everybody(list(self._voices.values()), rng)
        traffic = Traffic(everybody, rng, self._people.sessions, self._people.sessions[:4])
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as together:
            together.create_task(self._people.live(seconds))
            together.create_task(traffic.flow(seconds))
            for track in (KAFKA, *REPLICAS):
                of_track = [fault for fault in faults if fault.track == track]
                together.create_task(play(of_track, self._suffer, self._survived))

    async def _suffer(self, fault: Fault) -> None:
        if fault.track == KAFKA:
            await self._breaking.suffer(fault)
        else:
            await asyncio.to_thread(self._replicas[REPLICAS.index(fault.track)].suffer, fault)

    def _survived(self, fault: Fault) -> None:
        self.report.faults[f"{fault.track}: {fault.what}"] += 1
        self._plan.show(f"{time.monotonic() - self._begun:7.1f} s  over: {fault}")

    async def _calm(self) -> None:
        for voices in self._voices.values():
            await voices.settled()
        self._plan.show(f"{time.monotonic() - self._begun:7.1f} s  calm")
        try:
            await self._people.gather(CALM_SECONDS)
        except TimeoutError:
            self.report.complaints.append(f"not everybody had everything within {CALM_SECONDS:g} s of calm")

    @contextlib.asynccontextmanager
    async def _settling(self) -> AsyncIterator[None]:
        async def settle() -> None:
            while True:
                await asyncio.sleep(SETTLE_SECONDS)
                self._judge.behind()

        task = asyncio.create_task(settle())
        try:
            yield
        finally:
            task.cancel()

    async def _look_what_stayed(self, replica: Replica, before: Mapping[str, int]) -> None:
        """Wait until nobody is there any more; whatever is more than before anybody came is a complaint."""
        loop = asyncio.get_running_loop()
        give_up, stayed = loop.time() + REST_SECONDS, {"everything": 1}
        while stayed and loop.time() < give_up:
            await asyncio.sleep(POLL_SECONDS)
            after = (await asyncio.to_thread(replica.count)).counts
            stayed = {
                name: number
                for name, number in after.items()
                if name.startswith(PASSING) and number > before.get(name, 0)
            }
        self.report.complaints += [
            f"{replica.name}: {name}: {before.get(name, 0)} before anybody came, {number} after everybody has gone"
            for name, number in stayed.items()
        ]

    def _sum_up(self) -> None:
        report, judge = self.report, self._judge
        report.clients, report.events, report.connections = judge.clients, judge.events, self._people.connections
        report.records = sum(voices.said for voices in self._voices.values())
        report.befell, report.resets = self._people.befell, judge.resets_by_reason
        report.complaints += [str(fault) for fault in judge.faults]
        for replica in self._replicas:
            report.complaints += replica.complaints
            report.complaints += [f"{replica.name} wrote: {line}" for line in unexpected(replica.log)]

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take a callback's failure for what it is: nothing that a client saw is sure any more."""
        if not isinstance(error := context.get("exception"), OSError):  # connections end in many ways
            loop.default_exception_handler(context)
            self.report.complaints.append(f"the harness itself failed: {error!r}")


def endpoint_of(replica: Replica) -> Endpoint:
    """Say where a replica listens."""
    host, _, port = replica.host_port.partition(":")
    return Endpoint(host, int(port), replica.certificate, RECEIVE_BUFFER_BYTES)


def torture(plan: Plan, kafka: KafkaCluster) -> Report:
    """Start two replicas over topics of their own, and run the plan on them."""
    topics = {word: f"{word}-{time.time_ns()}" for word in TOPICS}
    for word, topic in topics.items():
        kafka.create_topic(topic, TOPICS[word][0])
    with contextlib.ExitStack() as stack:
        names = ",".join(topics.values())
        replicas = [stack.enter_context(Replica(each, kafka.both_bootstraps, names)) for each in REPLICAS]
        run = Torture(plan, kafka, replicas, topics)
        uvloop.run(run.run())
    return run.report
