"""One attack against one service of its own: a real Kafka, ``tailrace serve``, the honest and the attacker, each a
process. Everything here blocks; everything that was started is ended, whatever fails.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from attack.honest import Place
from attack.measuring import SETTLE_SECONDS, Cost, Found, Phase, Seen, Sent, Spread, ages, growth, newcomers, within
from attack.producers import PARTITIONS
from attack.table import ATTACKS, Attack
from kafka_cluster import KafkaCluster
from real.service import ServiceProcess

TESTS = Path(__file__).parents[1]
BEFORE_SECONDS, AFTER_SECONDS = 2.0, 2.0
ANSWER_SECONDS = 90.0
"""What a process may take until it says something, beside the time of the attack."""
MIB = 2**20
MOST_BYTES = 8 * 1024 * MIB
"""Address space of the service: an attack that is not held shall not take the machine."""
DEFAULTS: Mapping[str, Any] = {"heartbeat_seconds": 15, "max_connections_per_subject": 32, "drain_seconds": 0}
"""What an operator has who changes nothing; `ServiceProcess` makes it easier for other tests."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. ``service`` is the checkout whose service runs; None: the one that is installed."""

    times: float
    seconds: float
    addresses: int
    service: Path | None


class Attacked(ServiceProcess):
    """``tailrace serve`` with an operator's defaults, of any checkout."""

    def __init__(self, bootstrap: str, topic: str, checkout: Path | None, *, tls: bool, **settings: Any) -> None:
        super().__init__(bootstrap, topic, tls=tls, **{**DEFAULTS, **settings})
        if checkout is not None:
            self._environment["PYTHONPATH"] = str(checkout.resolve() / "service")

    def scrape(self) -> str:
        """Return what ``/metrics`` says; nothing where nobody answers any more."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.admin_url}/metrics", trust_env=False, timeout=ANSWER_SECONDS).text
        return ""


class Role:
    """One of our processes, which says a line of JSON whenever it has something to say."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def heard(self, seconds: float = ANSWER_SECONDS) -> Any:
        """Wait for the next thing that it says. Raises `RuntimeError` where it ends, or says nothing in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"{self.process.args!r} said nothing")
        return json.loads(line)

    def go(self) -> None:
        """Say the word that it waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        """End it, and return what it tells at its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.heard()


@contextmanager
def role(name: str, *arguments: str) -> Iterator[Role]:
    """Run one of our processes; kill it with the block."""
    command = [sys.executable, "-m", f"attack.{name}", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            yield Role(process)
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                assert process.stdin is not None
                process.stdin.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel says of a process: seconds of CPU, and of waiting for a core, since its start; MiB."""

    at: float
    cpu: float
    waited: float
    rss: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Reading:
        """Read them; all but the time are 0 where the process has ended."""
        at = time.time()
        with suppress(psutil.NoSuchProcess, OSError, StopIteration):
            process = psutil.Process(pid)
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
            waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
            return cls(at, sum(process.cpu_times()[:2]), waited, process.memory_info().rss / MIB, peak)
        return cls(at, 0, 0, 0, 0)


def forget_peak(pid: int) -> None:
    """Have the kernel's peak of resident memory begin anew (proc(5), ``clear_refs``)."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def run(name: str, kafka: KafkaCluster, options: Options) -> Found:
    """Attack one service, and return what it showed."""
    attack, topic = ATTACKS[name], f"attack-{name}-{time.time_ns()}"
    kafka.create_topic(topic, PARTITIONS, message_timestamp_after_max_ms=str(2**63 - 1))  # as before Kafka 4.0
    since_ms = attack.past(kafka, topic) if attack.past else 0
    service = Attacked(kafka.bootstrap, topic, options.service, tls=attack.tls, **attack.service)
    with service:
        psutil.Process(service.pid).rlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        place = _place(service, kafka, topic, attack, since_ms)
        with role("honest", json.dumps(asdict(place))) as honest:
            honest.heard()
            scene = {
                "port": place.port,
                "bootstrap": kafka.bootstrap,
                "topic": topic,
                "times": options.times,
                "seconds": options.seconds,
                "addresses": options.addresses,
            }
            with role("attacker", name, json.dumps(scene)) as attacker:
                attacker.heard()
                return _measured(service, honest, attacker, options.seconds)


def _place(service: Attacked, kafka: KafkaCluster, topic: str, attack: Attack, since_ms: int) -> Place:
    port, admin_port = (int(each.rpartition(":")[2]) for each in (service.host_port, service.admin_url))
    cert_file = str(service.certificate.cert_file) if service.certificate else ""
    return Place(port, admin_port, kafka.bootstrap, topic, cert_file, attack.newcomer, since_ms)


def _measured(service: Attacked, honest: Role, attacker: Role, seconds: float) -> Found:
    """Measure before, during and after."""
    time.sleep(BEFORE_SECONDS)
    forget_peak(service.pid)
    scraped, first = service.scrape(), Reading.of(service.pid)
    attacker.go()
    sent = Sent(**attacker.heard(seconds + ANSWER_SECONDS))
    then = Reading.of(service.pid)
    time.sleep(SETTLE_SECONDS + AFTER_SECONDS)
    last = Reading.of(service.pid)
    died = last.rss == 0
    limits, counted = growth(scraped, "" if died else service.scrape())
    seen = Seen(**honest.end())
    before = Phase(first.at - BEFORE_SECONDS, first.at)
    during, after = Phase(first.at, then.at), Phase(then.at + SETTLE_SECONDS, last.at)
    passed = then.at - first.at
    cpu, waited = (100 * each / passed for each in (then.cpu - first.cpu, then.waited - first.waited))
    return Found(
        sent=sent,
        cost=Cost(*(round(each, 1) for each in (first.rss, max(then.peak, last.peak), last.rss, cpu, waited))),
        before=Spread.of(ages(seen, before)),
        during=Spread.of(ages(seen, during)),
        after=Spread.of(ages(seen, after)),
        livez=within(seen.probes, during),
        newcomers_before=newcomers(seen, before),
        newcomers=newcomers(seen, during),
        limits=limits,
        counted=counted,
        own_lateness=within(seen.late, during),
        cuts=seen.cuts,
        resets=seen.resets,
        lost=seen.lost,
        repeated=seen.repeated,
        died=died,
    )
