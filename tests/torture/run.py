"""One run: two replicas over a broker, all speak and listen, the schedule is played; then a calm, and a verdict.

In the calm nothing is done to anybody any more, and everyone must get what they lack.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from confluent_kafka import KafkaException

from crowd.asking import Endpoint
from crowd.faults import Fault as Wrongdoing
from crowd.history import History
from crowd.judge import Judge
from crowd.producing import epoch_at
from kafka_cluster import KafkaCluster
from kafka_nodes import KafkaNodes
from soak.traffic import Traffic
from torture.breaking import FILES, Breaking
from torture.logs import unexpected
from torture.moving import Moving
from torture.people import HEAVY_SESSIONS, RECEIVE_BUFFER_BYTES, People
from torture.replicas import MAX_EVENT_BYTES, Replica
from torture.report import Plan, Report, stayed
from torture.schedule import KAFKA, REPLICAS, Fault
from torture.voices import Everybody, Voices
from torture.witness import Said, look

TOPICS: Mapping[str, tuple[int, Sequence[str]]] = {
    "calls": (3, ("none", "snappy", "zstd")),
    "rivers": (2, ("gzip", "lz4")),
}
"""By the topic's first word: how many partitions it has at first, and how those who speak to it compress."""
SIZES = {(0, 20): 600, (20, 500): 300, (500, 5000): 80, (5000, 100_000): 18, (400_000, 950_000): 2}
"""Bytes, and how many of a thousand events have so many."""
CALM_SECONDS = 180.0
"""How long everybody may take to have everything, once nothing is done to anybody any more."""
FAULT_SECONDS = 180.0
"""How long one fault may take: brokers start slowly where there is much else to do."""
SETTLED_SECONDS = 60.0
"""How long producers may take to know what became of everything: some wait 30 s for a broker that has gone."""
REST_SECONDS = 45.0
"""How long a replica may take to be at rest: its keep-alive of 30 s bounds what was begun and never finished."""
SETTLE_SECONDS = 1.0
SHOWN_FAULTS = 20
"""Most are the first one again, as others saw it."""
POLL_SECONDS = 0.2
THREADS = 32
"""For what blocks: each track, and each producer that is closed."""


class Torture:
    """One run over a broker and replicas that are up."""

    def __init__(
        self, plan: Plan, kafka: KafkaCluster | KafkaNodes, replicas: Sequence[Replica], topics: Mapping[str, str]
    ) -> None:
        self._plan = plan
        self._kafka = kafka
        self._replicas = replicas
        self._rng = random.Random(plan.seed)
        history = self._history = History()
        history.forgetful = True  # a tail of a few seconds is
        self._judge = Judge(history)
        self._voices = {
            topic: Voices(
                history, everywhere(kafka), topic, TOPICS[word][0], self._rng, TOPICS[word][1], MAX_EVENT_BYTES
            )
            for word, topic in topics.items()
        }
        self._breaking: Breaking | Moving
        if isinstance(kafka, KafkaNodes):
            self._breaking = Moving(kafka, list(self._voices))
        else:
            self._breaking = Breaking(kafka, history, self._voices, self._look)
        self._everybody = Everybody(list(self._voices.values()), self._rng)
        endpoints = [endpoint_of(each) for each in replicas]
        self._people = People(plan.clients, self._rng, self._judge, endpoints, self._everybody.end)
        self._places: dict[Said, Sequence[str]] = {}
        """Where Kafka has what clients lacked."""
        self._found: set[Wrongdoing] = set()
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
        self._judge.close()
        await self._look_into_faults()
        faults = [fault for fault in self._judge.faults if not self._is_twice(fault)]
        self.report.complaints += map(self._words, faults[:SHOWN_FAULTS])
        self.report.twice = len(self._judge.faults) - len(faults)
        for voices in self._voices.values():
            with contextlib.suppress(TimeoutError):  # told already
                async with asyncio.timeout(REST_SECONDS):
                    await voices.fall_silent()
        self._sum_up()

    async def _storm(self) -> None:
        """Play the schedule, while clients come and go and are spoken to; ends when all is up again."""
        people, rng = self._people, self._rng
        traffic = Traffic(self._everybody, rng, people.sessions, people.sessions[:HEAVY_SESSIONS], size)
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as together:
            beside = [together.create_task(people.live()), together.create_task(traffic.flow(math.inf))]
            async with asyncio.TaskGroup() as tracks:
                tracks.create_task(asyncio.sleep(self._plan.seconds))
                for track in (KAFKA, *REPLICAS):
                    tracks.create_task(self._play(track))
            for task in beside:
                task.cancel()

    async def _play(self, track: str) -> None:
        """Do one track's faults, each at its time, or as soon as the one before is over; none when time is over."""
        for fault in self._plan.schedule:
            if fault.track == track:
                await asyncio.sleep(max(0.0, self._begun + fault.at - time.monotonic()))
                if time.monotonic() < self._begun + self._plan.seconds:
                    await self._suffer(fault)
                    self._survived(fault)

    async def _suffer(self, fault: Fault) -> None:
        """Do what the fault says. Raises `RuntimeError`, with what is known of the reason, where that does not end."""
        try:
            async with asyncio.timeout(FAULT_SECONDS):
                if fault.track == KAFKA:
                    await self._breaking.suffer(fault)
                else:
                    await asyncio.to_thread(self._replicas[REPLICAS.index(fault.track)].suffer, fault)
        except TimeoutError:
            who = "; ".join(f"{topic}: {voices.unsettled()}" for topic, voices in self._voices.items())
            raise RuntimeError(f"this did not end: {fault}; {who}") from None

    def _survived(self, fault: Fault) -> None:
        self.report.faults[f"{fault.track}: {fault.what}"] += 1
        self._show(f"over: {fault}")

    def _show(self, line: str) -> None:
        self._plan.show(f"{time.monotonic() - self._begun:7.1f} s  {line}")

    async def _calm(self) -> None:
        self._show("calm")
        for topic, voices in self._voices.items():
            try:
                async with asyncio.timeout(SETTLED_SECONDS):
                    await voices.settled()
            except TimeoutError:
                complaint = f"{topic}: not settled in {SETTLED_SECONDS:g} s: {voices.unsettled()}"
                self._show(complaint)
                self.report.complaints.append(complaint)
        self._show("all that was said has settled")
        try:
            await self._people.gather(CALM_SECONDS)
        except TimeoutError:
            self.report.complaints.append(f"not everybody had everything within {CALM_SECONDS:g} s of calm")
        self._show("the calm is over")

    @contextlib.asynccontextmanager
    async def _settling(self) -> AsyncIterator[None]:
        async def settle() -> None:
            while True:
                await asyncio.sleep(SETTLE_SECONDS)
                await self._look()

        task = asyncio.create_task(settle())
        try:
            yield
        finally:
            task.cancel()

    async def _look_what_stayed(self, replica: Replica, before: Mapping[str, int]) -> None:
        """Wait until nobody is there any more; whatever is more than before anybody came is a complaint."""
        give_up, more = time.monotonic() + REST_SECONDS, ["everything"]
        while more and time.monotonic() < give_up:
            await asyncio.sleep(POLL_SECONDS)
            more = list(stayed(before, (await asyncio.to_thread(replica.count)).counts))
        self.report.complaints += [f"{replica.name}: {each}" for each in more]

    async def _look(self) -> None:
        """Judge what can be judged by now, say what newly looks wrong, and look into it: Kafka may have it twice."""
        self._judge.behind()
        for fault in set(self._judge.faults) - self._found:
            self._found.add(fault)
            self._show(f"looks wrong: {fault}")
        await self._look_into_faults()

    async def _look_into_faults(self) -> None:
        """Look for what the clients lacked as soon as that is found, while Kafka still has it."""
        wanted = {each: fault.lacking.log[0] for fault in self._judge.faults for each in lacked(fault) if fault.lacking}
        for topic, voices in self._voices.items():
            if new := [each for each, epoch in wanted.items() if epoch == voices.epoch and each not in self._places]:
                with contextlib.suppress(KafkaException, TimeoutError):  # it is away: another time
                    holes = self._history.holes(voices.epoch)
                    places = await asyncio.to_thread(look, self._kafka.bootstrap, topic, new, holes)
                    self._places |= {each: places.get(each, []) for each in new}

    def _is_twice(self, fault: Wrongdoing) -> bool:
        """Whether Kafka has it twice: then nobody can tell the one from the other."""
        return any(len(self._places.get(each, ())) > 1 for each in lacked(fault))

    def _words(self, fault: Wrongdoing) -> str:
        places = [self._places.get(each, ["a topic that is gone"]) or ["no place"] for each in lacked(fault)]
        return "; Kafka has it at: ".join([str(fault), *map(", ".join, places)])

    def _sum_up(self) -> None:
        report, judge = self.report, self._judge
        report.clients, report.events, report.connections = judge.clients, judge.events, self._people.connections
        report.records = sum(voices.said for voices in self._voices.values())
        report.doubtful = sum(voices.failed for voices in self._voices.values())
        report.befell, report.resets = self._people.befell, judge.resets_by_reason
        for replica in self._replicas:
            report.complaints += replica.complaints
            report.complaints += [f"{replica.name} wrote: {line}" for line in unexpected(replica.log)]

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take a callback's failure for what it is: nothing that a client saw is sure any more."""
        if not isinstance(error := context.get("exception"), OSError):  # connections end in many ways
            loop.default_exception_handler(context)
            self.report.complaints.append(f"the harness itself failed: {error!r}")


def lacked(fault: Wrongdoing) -> list[Said]:
    """Give what the client should have been given, where that is known."""
    return [] if fault.lacking is None else [(fault.session, fault.lacking.number)]


def size(rng: random.Random) -> int:
    """Choose how many bytes an event has: tiny mostly, and now and then nearly as many as Kafka takes."""
    [sizes] = rng.choices(list(SIZES), list(SIZES.values()))
    return rng.randint(*sizes)


def endpoint_of(replica: Replica) -> Endpoint:
    """Say where a replica listens."""
    host, _, port = replica.host_port.partition(":")
    return Endpoint(host, int(port), replica.certificate, RECEIVE_BUFFER_BYTES)


def everywhere(kafka: KafkaCluster | KafkaNodes) -> str:
    """Give all addresses at which Kafka is, or may be later."""
    return kafka.bootstrap if isinstance(kafka, KafkaNodes) else kafka.both_bootstraps


@contextlib.contextmanager
def one_broker() -> Iterator[KafkaCluster]:
    """Run a Kafka of one broker, which may be broken."""
    with contextlib.closing(KafkaCluster(own=True)) as kafka:
        kafka.start()
        yield kafka


def torture(plan: Plan) -> Report:
    """Start Kafka and two replicas over it, and run the plan on them."""
    topics = {word: f"{word}-{time.time_ns()}" for word in TOPICS}
    with contextlib.ExitStack() as stack:
        kafka: KafkaCluster | KafkaNodes
        kafka = stack.enter_context(KafkaNodes()) if plan.nodes else stack.enter_context(one_broker())
        for word, topic in topics.items():
            kafka.create_topic(topic, TOPICS[word][0], **FILES)
        names = ",".join(topics.values())
        replicas = [stack.enter_context(Replica(each, everywhere(kafka), names)) for each in REPLICAS]
        run = Torture(plan, kafka, replicas, topics)
        uvloop.run(run.run())
    return run.report
