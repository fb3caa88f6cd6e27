"""Two equally long halves of the same load, each ending with everybody gone; the second must leave the service as the
first has left it, and every client must have had everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvloop

from crowd.asking import Endpoint
from crowd.history import History
from crowd.judge import Judge
from crowd.producing import Source, epoch_at
from kafka_cluster import KafkaCluster
from soak.people import RECEIVE_BUFFER_BYTES, People
from soak.process import SoakProcess
from soak.state import State, complaints
from soak.traffic import Traffic
from soak.visitors import Visitors

PARTITIONS = 6
SEND_TIMEOUT_SECONDS = 3
SETTINGS: Mapping[str, object] = {
    "heartbeat_seconds": 2,
    "send_timeout_seconds": SEND_TIMEOUT_SECONDS,
    "tail_max_bytes": 256 * 2**20,
}
"""Whatever happens after some time happens often. The tail reaches back some minutes: further than anybody stays away,
and further than anybody whose session is busy takes to catch up, who is cut while it does, and tries again."""
REST_SECONDS = 45.0
"""How long the service may take to be at rest: its keep-alive of 30 s bounds what was begun and never finished."""
SETTLE_SECONDS = 2.0
POLL_SECONDS = 0.2
TOLD = tuple(
    f"tailrace_{name}"
    for name in ("connections_opened", "connections_ended", "refusals", "resets", "slow_clients", "skipped_events")
)


@dataclass(frozen=True)
class Plan:
    """What to do. ``plant`` are leaks that the service is made to have, amid the second half."""

    seed: int
    seconds: float
    clients: int
    tls: bool
    plant: Sequence[str] = ()


@dataclass
class Report:
    """What came of it; ``complaints`` is empty if nothing was wrong."""

    plan: Plan
    clients: int = 0
    connections: int = 0
    records: int = 0
    events: int = 0
    resets: int = 0
    befell: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)
    traffic: Counter[str] = field(default_factory=Counter)
    states: list[State] = field(default_factory=list)
    told: Mapping[str, float] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


class Soak:
    """One run over a service that is ready."""

    def __init__(self, plan: Plan, service: SoakProcess, bootstrap: str, topic: str, epoch: str) -> None:
        self._plan = plan
        self._service = service
        self._rng = random.Random(plan.seed)
        history = History()
        self._judge = Judge(history)
        self._source = Source(history, bootstrap, topic, epoch, self._rng)
        host, _, port = service.host_port.partition(":")
        self._endpoint = Endpoint(host, int(port), service.certificate, RECEIVE_BUFFER_BYTES)
        self.report = Report(plan)

    async def run(self) -> None:
        """Run both halves; the report has what came of it."""
        asyncio.get_running_loop().set_exception_handler(self._failed)
        async with self._beside():
            await self._half()
            await self._half(self._plan.plant)
        self._judge.close()
        report, judge = self.report, self._judge
        report.clients, report.events, report.resets = judge.clients, judge.events, judge.resets
        report.records = self._source.said
        report.complaints += [str(fault) for fault in judge.faults]
        report.complaints += complaints(*report.states)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take a callback's failure for what it is: nothing that a client saw is sure any more."""
        if not isinstance(error := context.get("exception"), OSError):  # connections end in many ways
            loop.default_exception_handler(context)
            self.report.complaints.append(f"the crowd itself failed: {error!r}")

    @contextlib.asynccontextmanager
    async def _beside(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._source.run()), asyncio.create_task(self._settle())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._judge.settle()

    async def _half(self, plant: Sequence[str] = ()) -> None:
        seconds, rng = self._plan.seconds / 2, self._rng
        people = People(self._plan.clients, rng, self._judge, self._source, self._endpoint, SEND_TIMEOUT_SECONDS)
        visitors = Visitors(rng, self._endpoint)
        traffic = Traffic(self._source, rng, people.sessions, people.heavy)
        async with asyncio.TaskGroup() as together:
            for doing in (people.live(seconds), visitors.come(seconds), traffic.flow(seconds)):
                together.create_task(doing)
            if plant:
                together.create_task(self._leak(plant, seconds / 2))
        await self._source.settled()
        try:
            await people.gather()
        except TimeoutError:
            self.report.complaints.append("not everybody had everything in time")
        people.leave()
        await self._until_at_rest()
        self.report.states.append(await asyncio.to_thread(self._service.take))
        self.report.connections += people.connections
        self.report.befell += people.befell
        self.report.visits += visitors.came
        self.report.traffic += traffic.made
        self.report.complaints += visitors.complaints

    async def _leak(self, plant: Sequence[str], seconds: float) -> None:
        await asyncio.sleep(seconds)
        for leak in plant:
            await asyncio.to_thread(self._service.plant, leak)

    async def _until_at_rest(self) -> None:
        """Wait until nobody is there; where somebody stays, the census says so."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + REST_SECONDS
        while loop.time() < give_up:
            if (await asyncio.to_thread(self._service.look)).is_at_rest:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _run(plan: Plan, service: SoakProcess, bootstrap: str, topic: str, epoch: str) -> Report:
    run = Soak(plan, service, bootstrap, topic, epoch)
    await run.run()
    return run.report


def told(service: SoakProcess) -> dict[str, float]:
    """Ask the service what it has counted itself, where it has."""
    answer = httpx.get(f"{service.admin_url}/metrics", trust_env=False)
    samples = [line.rsplit(" ", 1) for line in answer.text.splitlines() if line.startswith(TOLD)]
    return {name.removeprefix("tailrace_"): float(value) for name, value in samples if float(value)}


def soak(plan: Plan, kafka: KafkaCluster) -> Report:
    """Start a service over a topic of its own, and run the plan on it."""
    topic = f"soak-{time.time_ns()}"
    kafka.create_topic(topic, PARTITIONS)
    epoch = epoch_at(kafka.bootstrap, topic)
    with SoakProcess(kafka.bootstrap, topic, tls=plan.tls, **SETTINGS) as service:
        report: Report = uvloop.run(_run(plan, service, kafka.bootstrap, topic, epoch))
        report.told = told(service)
        exit_code = service.stop()
        if exit_code or "Traceback" in service.log:
            report.complaints.append(f"the service ended with {exit_code} and said:\n{service.log[-4000:]}")
    return report
