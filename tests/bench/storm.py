"""A restart under thousands of clients, and the same with clients that memory cannot answer: ``python -m bench.storm``.

Every client has a position of its own and comes back with it within a few seconds. Told are how many were given
everything, what that took of Kafka and of the server's core, and what a crowd that is live felt of it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.measuring import (
    OTHER_CORE,
    SERVER_CORE,
    Bench,
    Stopwatch,
    Workload,
    service_port,
    take_our_core,
    wait_for,
    waited,
)
from bench.native import Board, percentile, running
from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token

COUNTERS = {
    "live fetches": "tailrace_kafka_fetches_total",
    "of records": "tailrace_kafka_records_total",
    "replay fetches": "tailrace_replay_fetches_total",
    "of as many records": "tailrace_replay_records_total",
}


class Herd:
    """The parent's end of `bench.herd`."""

    def __init__(self, board: Board, process: subprocess.Popen[str]) -> None:
        self.board = board
        self._process = process

    def stop(self) -> str:
        """End it; give what was wrong, or what else it has to tell, as JSON."""
        self.board.stop()
        told, _ = self._process.communicate(timeout=30)
        return told.strip()


@contextmanager
def herd(service: ServiceProcess, clients: int, file: Path, *, spread: float, begin: str = "") -> Iterator[Herd]:
    """Run a herd of so many clients."""
    shape = [service_port(service), clients, spread, begin, token("*", ttl_seconds=36_000), file]
    command = [sys.executable, "-m", "bench.herd", *map(str, shape)]
    with Board(file) as board, running(command, stdout=subprocess.PIPE) as process:
        yield Herd(board, process)


def counters(service: ServiceProcess) -> dict[str, int]:
    """Read what the service has counted since it was started."""
    lines = httpx.get(f"{service.admin_url}/metrics", trust_env=False).text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line and line[0] != "#")
    return {title: int(float(found[name])) for title, name in COUNTERS.items()}


BUCKET = re.compile(r'(tailrace_\w+)_bucket\{(?:.*,)?le="([^"]+)"(?:,transport="sse")?\} (.+)')
WRITTEN, LATE = "tailrace_delivery_latency_seconds", "tailrace_event_loop_lag_seconds"


class Lap:
    """What the service's own histograms gained: the load has no part in how late its event loop was."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._before = self._buckets()

    def _buckets(self) -> dict[str, dict[float, float]]:
        found: dict[str, dict[float, float]] = {}
        text = httpx.get(f"{self._service.admin_url}/metrics", trust_env=False).text
        for name, bound, count in BUCKET.findall(text):
            found.setdefault(name, {})[float(bound)] = float(count)
        return found

    def most_ms(self, name: str) -> str:
        """Give p50 / p99 / p99.9 as the bounds of the buckets that they fell into."""
        counts = {bound: count - self._before[name][bound] for bound, count in self._buckets()[name].items()}
        parts = (max(counts.values()) * part for part in (0.5, 0.99, 0.999))
        most = (min(bound for bound, count in counts.items() if count >= part) for part in parts)
        return "at most " + " / ".join(f"{1000 * each:g}" for each in most)


@dataclass(frozen=True)
class Told:
    """What came of one return."""

    seconds: float
    took: float
    waited: float
    counted: dict[str, int]
    ages_ms: list[float]
    beside: str = ""

    def __str__(self) -> str:
        catching_up = " / ".join(f"{percentile(self.ages_ms, each) or 0:.0f}" for each in (50, 99, 100))
        counted = ", ".join(f"{count} {title}" for title, count in self.counted.items())
        lines = [
            f"  {len(self.ages_ms)} caught up after {self.seconds:.1f} s; {self.took:.1f} s of CPU",
            f"  and {self.waited:.1f} s of waiting for it; {counted}",
            f"  from asking to tailrace.live, p50 / p99 / most: {catching_up} ms",
        ]
        return "\n".join([*lines, f"  live beside it, p50 / p99 / p99.9 ms:{self.beside}"] if self.beside else lines)


class Storms(Bench):
    """Both storms, over one broker."""

    def restart(self, clients: int, rate: int, spread: float) -> None:
        """Kill the service under its clients while producers go on."""
        topic = self._topic()
        with self._service(topic) as service, herd(service, clients, self._folder / "herd", spread=spread) as they:
            with self._saying(topic, clients, rate, "h"):
                self._settle(they, clients)
                began = time.perf_counter()
                service.kill()
                wait_for(lambda: they.board.subscribed == 0, "everybody to notice")
                they.board.measure()
                service.start()
                psutil.Process(service.pid).cpu_affinity([SERVER_CORE])
                ready = time.perf_counter() - began
                wait_for(lambda: they.board.ages >= clients, "everybody to be live again", seconds=120)
                seconds = time.perf_counter() - began
                told = Told(seconds, cpu(service), waited(service), counters(service), they.board.ages_ms())
            print(
                f"restart: {clients} clients back within {spread:g} s, {rate} events/s go on; ready after {ready:.1f} s"
            )
            print(told, f"  wrong, and else: {they.stop()}; {they.board.lost_connections} wrong", sep="\n", flush=True)

    def absence(self, clients: int, rate: int, spread: float, away: float, live: Workload) -> None:
        """Send the clients away for longer than memory reaches, beside others that stay."""
        topic = self._topic()
        with ExitStack() as stack:
            service = stack.enter_context(self._service(topic, tail_max_bytes=live.tail_max_bytes))
            they = stack.enter_context(herd(service, clients, self._folder / "herd", spread=spread))
            board, file = stack.enter_context(self._board())
            stack.enter_context(
                self._subscribed(live, service_port(service), token("*", ttl_seconds=36_000), board, file)
            )
            stack.enter_context(self._saying(topic, clients, rate, "h"))
            stack.enter_context(self._saying(topic, live.sessions, live.rate, "s"))
            self._settle(they, clients)
            they.board.send_away(True)
            wait_for(lambda: they.board.subscribed == 0, "everybody to go")
            before = beside(board, service, lambda: time.sleep(away))
            they.board.measure()
            counted, held_up, watch = counters(service), waited(service), Stopwatch(server=service.pid)
            they.board.send_away(False)
            meanwhile = beside(
                board,
                service,
                lambda: wait_for(lambda: they.board.ages >= clients, "everybody to be back", seconds=120),
            )
            seconds, took = watch.lap()
            counted = {title: count - counted[title] for title, count in counters(service).items()}
            held_up = waited(service) - held_up
            live_felt = f"\n    {meanwhile}\n    before: {before}"
            told = Told(seconds, sum(took["server"]), held_up, counted, they.board.ages_ms(), live_felt)
            print(f"absence of {away:g} s: {clients} clients back within {spread:g} s; memory {live.tail_max_bytes}")
            print(told, f"  wrong, and else: {they.stop()}; {they.board.lost_connections} wrong", sep="\n", flush=True)

    def _settle(self, they: Herd, clients: int) -> None:
        wait_for(lambda: they.board.subscribed == clients, "the herd to come", seconds=120)
        events = they.board.events
        wait_for(lambda: they.board.events >= events + 2 * clients, "everybody to have an id", seconds=120)

    @contextmanager
    def _saying(self, topic: str, sessions: int, rate: int, name: str) -> Iterator[None]:
        workload = Workload("sse", sessions, rate=rate)
        with self._producing(workload, topic, self._folder / "board", seconds=3600, name=name):
            yield


def beside(board: Board, service: ServiceProcess, meanwhile: Callable[[], None]) -> str:
    """Give how old the crowd's events were while something else was done, here and when the service had written them.

    Where the core is full that the crowd shares with Kafka and the producers, both are that core's; how late the
    service's event loop was is the service's alone."""
    board.measure()
    lap = Lap(service)
    psutil.cpu_percent(percpu=True)
    meanwhile()
    busy, ages = psutil.cpu_percent(percpu=True)[OTHER_CORE], board.ages_ms()
    here = " / ".join(f"{percentile(ages, each) or 0:.1f}" for each in (50, 99, 99.9))
    return f"{here}, written {lap.most_ms(WRITTEN)}, loop late {lap.most_ms(LATE)}, their core {busy:.0f} % busy"


def cpu(service: ServiceProcess) -> float:
    """Give the CPU time that the process has taken since its start."""
    return sum(psutil.Process(service.pid).cpu_times()[:2])


def main() -> None:
    """Let both storms come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="*", default=["restart", "absence"], help="restart, absence")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=2000, help="events a second to these clients")
    parser.add_argument("--spread", type=float, default=3.0, help="seconds within which they come back")
    parser.add_argument("--away", type=float, default=15.0, help="seconds of absence")
    parser.add_argument("--memory", default="32MiB", help="tail of the service that they are absent from")
    parser.add_argument("--live", type=int, default=1000, help="others that stay, and are sent as many events")
    options = parser.parse_args()
    take_our_core()
    with closing(KafkaCluster()) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.start()
        storms = Storms(kafka, Path(folder), seconds=4)
        storms.warm_up()
        if "restart" in options.only:
            storms.restart(options.clients, options.rate, options.spread)
        if "absence" in options.only:
            live = Workload("sse", options.live, rate=options.rate, tail_max_bytes=options.memory)
            storms.absence(options.clients, options.rate, options.spread, options.away, live)


if __name__ == "__main__":
    main()
