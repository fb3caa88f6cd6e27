"""What is measured: one workload, one service process, one core.

The server has `SERVER_CORE` alone; Kafka, the producer and the crowd share the other, and what each of them takes of it
is told beside the result. CPU time is the kernel's account of the server's process, in user and system together.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import psutil

from bench.native import Board, build, percentile, running
from bench.produce import EVENT_BYTES, Sessions
from certificates import make_certificate
from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token

SERVER_CORE, OTHER_CORE = 0, 1
WARM_UP_SECONDS = 2.0
PARTITIONS = 3
SETTLE_SECONDS = 30.0
"""For whatever is still on its way to arrive, and for a crowd to subscribe."""
WIRE_BYTES = EVENT_BYTES + 70
"""Of one event over HTTP/1.1, its id and its framing included: what the floor writes."""
HEADROOM: dict[str, Any] = {"max_connections_per_subject": 100_000, "heartbeat_seconds": 3600, "drain_seconds": 0}


@dataclass(frozen=True)
class Workload:
    """Who reads what, and how fast it comes.

    ``rate`` is in records a second, 0 for as many as are taken; ``burst`` is what goes to one session at once,
    ``others`` how many other sessions the tail holds, with an event each. ``connections`` matter over HTTP/2 only. An
    ``idle`` one is not produced to.
    """

    transport: str
    sessions: int
    clients: int = 1
    rate: int = 0
    burst: int = 1
    connections: int = 1
    others: int = 0
    idle: bool = False
    tail_max_bytes: str = "64MiB"

    @property
    def subscribers(self) -> int:
        return self.sessions * self.clients

    def __str__(self) -> str:
        name = {"sse": "SSE", "websocket": "WebSocket", "h2": "HTTP/2 SSE"}[self.transport]
        who = f"{name}, {self.sessions} x {self.clients}"
        who += f" over {self.connections} connections" if self.transport == "h2" else ""
        rate = "idle" if self.idle else f"{self.rate * self.clients}/s" if self.rate else "saturation"
        rate += f" in bursts of {self.burst}" if self.burst > 1 else ""
        rate += f", {self.others} other sessions" if self.others else ""
        return f"{who}, {rate}"


@dataclass(frozen=True)
class Result:
    """What one run showed. CPU in microseconds of the server's, per event that was delivered."""

    cpu_us: float | None = None
    system_us: float | None = None
    per_second: float = 0.0
    busy_percent: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    kilobytes_per_connection: float | None = None
    resident_megabytes: float | None = None
    lost: int = 0
    beside: dict[str, float] = field(default_factory=dict)
    """What the others took of their core, in percent."""


class Stopwatch:
    """CPU time of some processes, since it was made or last asked."""

    def __init__(self, **pids: int | None) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items() if pid}
        self._at = time.perf_counter()
        self._then = self._now()

    def _now(self) -> dict[str, tuple[float, float]]:
        return {name: process.cpu_times()[:2] for name, process in self._processes.items()}

    def lap(self) -> tuple[float, dict[str, tuple[float, float]]]:
        """Give the seconds that have passed, and what each took: seconds in user and system mode."""
        now, at = self._now(), time.perf_counter()
        took = {
            name: (after[0] - before[0], after[1] - before[1])
            for (name, before), after in zip(self._then.items(), now.values(), strict=True)
        }
        passed, self._at, self._then = at - self._at, at, now
        return passed, took


class Bench:
    """The programs, the broker and the folder that all measurements share."""

    def __init__(self, kafka: KafkaCluster, folder: Path, seconds: float) -> None:
        self._kafka = kafka
        self._folder = folder
        self._seconds = seconds
        self._crowd, self._floor = build("crowd", folder), build("floor", folder)

    def warm_up(self) -> None:
        """Let the broker's Java get warm: its first seconds are not like the others."""
        self.fan_out(Workload("sse", 100))

    # One measurement each.

    def fan_out(self, workload: Workload) -> Result:
        """Subscribe a crowd, produce, and see what a delivered event costs."""
        topic = self._topic()
        with self._service(topic, tail_max_bytes=workload.tail_max_bytes) as service, self._board() as (board, file):
            self._fill(topic, workload.others, service)
            empty = resident(service)
            with self._subscribed(workload, service_port(service), token("*", ttl_seconds=3600), board, file) as crowd:
                memory = (resident(service) - empty) / workload.subscribers / 1000
                if workload.idle:
                    return self._idle(service, memory)
                with self._producing(workload, topic, file) as producer:
                    time.sleep(WARM_UP_SECONDS)
                    watch = Stopwatch(server=service.pid, crowd=crowd.pid, producer=producer.pid, kafka=self._kafka.pid)
                    events = board.events
                    board.measure()
                    time.sleep(self._seconds)
                    events = board.events - events
                    passed, took = watch.lap()
                    ages = board.ages_ms()
                    produced = int(producer.communicate()[0])
                wait_for(lambda: board.events >= produced * workload.clients, "every event to arrive", fails=False)
                user, system = took.pop("server")
                return Result(
                    cpu_us=1e6 * (user + system) / events,
                    system_us=1e6 * system / events,
                    per_second=events / passed,
                    busy_percent=100 * (user + system) / passed,
                    p50_ms=percentile(ages, 50),
                    p99_ms=percentile(ages, 99),
                    p999_ms=percentile(ages, 99.9),
                    kilobytes_per_connection=memory,
                    resident_megabytes=resident(service) / 1e6,
                    lost=produced * workload.clients - board.events + board.lost_connections,
                    beside={name: 100 * sum(each) / passed for name, each in took.items()},
                )

    def floor(self, workload: Workload) -> Result:
        """See what a bare write() per event costs, at the same rate to as many connections."""
        rate = workload.rate * workload.clients
        command = [str(self._floor), str(workload.subscribers), str(rate), str(workload.burst), str(WIRE_BYTES)]
        with self._board() as (board, file), running(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as server:
            psutil.Process(server.pid).cpu_affinity([SERVER_CORE])
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with self._subscribed(Workload("sse", workload.subscribers), port, "none", board, file):
                time.sleep(WARM_UP_SECONDS)
                watch, events = Stopwatch(server=server.pid), board.events
                time.sleep(self._seconds)
                passed, took = watch.lap()
                events = board.events - events
        return per_event(took["server"], events, passed)

    def intake(self, records: int = 600_000) -> Result:
        """Let a log grow while the service stands still; see how fast it then reads it. Nobody is subscribed."""
        topic = self._topic()
        with self._service(topic) as service:
            service.signal(signal.SIGSTOP)
            to = Sessions(self._kafka.bootstrap, topic, 1000, 1, linger_ms=5)
            for _ in range(records):
                to.produce(time.time())
            to.flush()
            watch = Stopwatch(server=service.pid)
            service.signal(signal.SIGCONT)
            wait_for(lambda: service.metric("tailrace_tail_appended_events_total") >= records, "the log to be read")
            passed, took = watch.lap()
        return per_event(took["server"], records, passed)

    def admission(self, algorithm: str, connections: int = 5000) -> Result:
        """Let a crowd in, one token each time; see what one admission costs."""
        settings: dict[str, Any] = {}
        granted = token("*", ttl_seconds=3600)
        if algorithm == "ES256":
            pair = make_certificate(self._folder, "signer")
            claims = jwt.decode(granted, options={"verify_signature": False})
            granted = jwt.encode(claims, pair.key_file.read_bytes(), algorithm)
            settings = {"jwt_secret": "", "jwt_public_key_file": pair.cert_file}
        workload = Workload("sse", connections)
        with self._service(self._topic(), **settings) as service, self._board() as (board, file):
            watch = Stopwatch(server=service.pid)
            with self._subscribed(workload, service_port(service), granted, board, file):
                passed, took = watch.lap()
        return per_event(took["server"], connections, passed)

    # What they are made of.

    def _idle(self, service: ServiceProcess, memory: float) -> Result:
        watch = Stopwatch(server=service.pid)
        time.sleep(self._seconds)
        passed, took = watch.lap()
        busy = 100 * sum(took["server"]) / passed
        return Result(busy_percent=busy, kilobytes_per_connection=memory, resident_megabytes=resident(service) / 1e6)

    def _topic(self) -> str:
        topic = f"bench-{time.time_ns()}"
        self._kafka.create_topic(topic, PARTITIONS)
        return topic

    @contextmanager
    def _service(self, topic: str, **settings: Any) -> Iterator[ServiceProcess]:
        with ServiceProcess(self._kafka.bootstrap, topic, **{**HEADROOM, **settings}) as service:
            psutil.Process(service.pid).cpu_affinity([SERVER_CORE])
            yield service

    @contextmanager
    def _board(self) -> Iterator[tuple[Board, Path]]:
        file = self._folder / "board"
        with Board(file) as board:
            yield board, file

    @contextmanager
    def _subscribed(
        self, workload: Workload, port: int, granted: str, board: Board, file: Path
    ) -> Iterator[subprocess.Popen[str]]:
        shape = [workload.sessions, workload.clients, workload.connections]
        command = [str(self._crowd), str(port), workload.transport, *map(str, shape), granted, str(file)]
        with running(command) as crowd:
            wait_for(lambda: board.subscribed == workload.subscribers, "the crowd to subscribe")
            yield crowd

    @contextmanager
    def _producing(
        self, workload: Workload, topic: str, file: Path, *, seconds: float = 0, name: str = "s"
    ) -> Iterator[subprocess.Popen[str]]:
        seconds = seconds or WARM_UP_SECONDS + self._seconds + 0.5
        shape = [workload.sessions, workload.clients, workload.rate, workload.burst, seconds]
        where = [self._kafka.bootstrap, topic]
        command = [sys.executable, "-m", "bench.produce", *where, *map(str, shape), str(file), name]
        with running(command, stdout=subprocess.PIPE) as producer:
            yield producer

    def _fill(self, topic: str, others: int, service: ServiceProcess) -> None:
        if others:
            to = Sessions(self._kafka.bootstrap, topic, others, 1, linger_ms=5, name="other")
            for _ in range(others):
                to.produce(time.time())
            to.flush()
            wait_for(lambda: service.metric("tailrace_tail_sessions") >= others, "the tail to be filled")


def per_event(took: tuple[float, float], count: int, passed: float) -> Result:
    """Share what the server took, in seconds of user and system mode, among what it did."""
    user, system = took
    return Result(cpu_us=1e6 * (user + system) / count, system_us=1e6 * system / count, per_second=count / passed)


def wait_for(condition: Callable[[], bool], what: str, *, fails: bool = True, seconds: float = SETTLE_SECONDS) -> None:
    """Poll until ``condition`` holds; after a while give up, and the bench with it if that ``fails`` it."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            if fails:
                sys.exit(f"gave up waiting for {what}")
            return
        time.sleep(0.002)


def waited(service: ServiceProcess) -> float:
    """Give the seconds for which its process could have run and something else had the core: a disturbed measurement.

    It has one thread that matters.
    """
    return int(Path(f"/proc/{service.pid}/schedstat").read_text().split()[1]) / 1e9


def service_port(service: ServiceProcess) -> int:
    """Give the port of its public listener."""
    return int(service.host_port.partition(":")[2])


def resident(service: ServiceProcess) -> int:
    """Give the bytes of memory that its process really has."""
    return int(psutil.Process(service.pid).memory_info().rss)


def take_our_core() -> None:
    """Leave the server's core to it; whatever we start inherits that."""
    os.sched_setaffinity(0, {OTHER_CORE})
