"""What a delivered event costs, through a real Apache Kafka: ``tox -e bench``.

The server has one core, Kafka, the producer and the crowd have the other. For each workload: CPU time of the server's
process per delivered event, Kafka reading included; how old events are when they arrive; memory per idle connection.
Prints a table and writes JSON beside it. Compare ratios within one run, and figures only at the same rate: at low rates
wake-ups dominate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token

HERE = Path(__file__).parent
SERVER_CORE, OTHER_CORE = 0, 1
WARM_UP_SECONDS = 1.5


@dataclass(frozen=True)
class Workload:
    """Who reads what, and how fast it comes; a burst is what goes to one session at once."""

    transport: str
    sessions: int
    clients: int
    rate: int
    burst: int = 1


WORKLOADS = [
    Workload("sse", 100, 1, 0),
    Workload("sse", 1000, 1, 100),
    Workload("sse", 1000, 1, 2_000),
    Workload("sse", 1000, 1, 10_000),
    Workload("websocket", 1000, 1, 10_000),
    Workload("sse", 1000, 1, 10_000, burst=10),
    Workload("sse", 10, 100, 200),
    Workload("sse", 5000, 1, 10_000),
]


@dataclass(frozen=True)
class Result:
    """What one run of one workload showed; percentiles in milliseconds, CPU in percent of a core."""

    cpu_percent: float
    microseconds_per_event: float | None
    events_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    kilobytes_per_connection: float


def measure(workload: Workload, kafka: KafkaCluster, seconds: float) -> Result:
    """Run one workload against a service of its own."""
    topic = f"bench-{time.time_ns()}"
    kafka.create_topic(topic, 3)
    with service_reading(topic, kafka) as service, tempfile.TemporaryDirectory() as folder:
        assert service._process is not None
        server = psutil.Process(service._process.pid)
        server.cpu_affinity([SERVER_CORE])
        empty = server.memory_info().rss
        report = Path(folder) / "report.json"
        with crowd(workload, service, report):
            connections = workload.sessions * workload.clients
            memory = (server.memory_info().rss - empty) / connections / 1000
            with producing(workload, kafka.bootstrap, topic, seconds + WARM_UP_SECONDS):
                time.sleep(WARM_UP_SECONDS)
                events, busy = arrived(report), cpu_seconds(server)
                time.sleep(seconds)
                events, busy = arrived(report) - events, cpu_seconds(server) - busy
            ages = json.loads(report.read_text())["ages"]
    return Result(
        cpu_percent=100 * busy / seconds,
        microseconds_per_event=1e6 * busy / events if events else None,
        events_per_second=events / seconds,
        p50_ms=percentile(ages, 50),
        p99_ms=percentile(ages, 99),
        kilobytes_per_connection=memory,
    )


@contextmanager
def service_reading(topic: str, kafka: KafkaCluster) -> Iterator[ServiceProcess]:
    """Run a service that reads ``topic`` and lets one subject have all connections."""
    settings: dict[str, Any] = {"max_connections_per_subject": 100_000, "tail_max_bytes": "64MiB"}
    with ServiceProcess(kafka.bootstrap, topic, **settings) as service:
        yield service


@contextmanager
def crowd(workload: Workload, service: ServiceProcess, report: Path) -> Iterator[None]:
    """Subscribe everyone, and go on when they are."""
    numbers = [str(workload.sessions), str(workload.clients)]
    port = service.host_port.partition(":")[2]
    arguments = [port, workload.transport, *numbers, token("*", ttl_seconds=3600), str(report)]
    with beside("load.py", arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        yield


@contextmanager
def producing(workload: Workload, bootstrap: str, topic: str, seconds: float) -> Iterator[None]:
    """Produce while the block lasts; not at all at rate 0."""
    numbers = [str(workload.sessions), str(workload.rate), str(workload.burst), str(seconds)]
    if not workload.rate:
        yield
        return
    with beside("produce.py", [bootstrap, topic, *numbers]):
        yield


@contextmanager
def beside(script: str, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a script of ours, on our core; end it with the block."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time so far, in the kernel, too."""
    times = process.cpu_times()
    return float(times.user + times.system)


def arrived(report: Path) -> int:
    """How many events the crowd has counted."""
    return int(json.loads(report.read_text())["events"]) if report.exists() else 0


def percentile(values: list[float], percent: int) -> float | None:
    """Give a percentile in milliseconds."""
    return 1000 * statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else None


def line(workload: Workload, results: list[Result]) -> str:
    """Write the median over the runs, and the spread of the cost."""
    costs = [result.microseconds_per_event for result in results if result.microseconds_per_event is not None]
    cost = f"{statistics.median(costs):5.1f} ({min(costs):.1f}-{max(costs):.1f})" if costs else "-"
    middle = sorted(results, key=lambda result: result.cpu_percent)[len(results) // 2]
    p50 = "-" if middle.p50_ms is None else f"{middle.p50_ms:.1f}"
    p99 = "-" if middle.p99_ms is None else f"{middle.p99_ms:.1f}"
    who = f"{workload.transport} {workload.sessions} x {workload.clients}"
    rate = f"{workload.rate}/s" + (f" by {workload.burst}" if workload.burst > 1 else "")
    memory = f"{middle.kilobytes_per_connection:.0f}"
    return f"| {who} | {rate} | {cost} | {middle.cpu_percent:.1f} | {p50} | {p99} | {memory} |"


def main() -> None:
    """Measure every workload and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all results")
    options = parser.parse_args()
    found = []
    print("| who reads | events | us CPU per delivered event | % of a core | p50 ms | p99 ms | kB/connection |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    psutil.Process().cpu_affinity([OTHER_CORE])  # Kafka and our scripts inherit it
    with closing(KafkaCluster()) as kafka:
        kafka.start()
        for workload in WORKLOADS:
            results = [measure(workload, kafka, options.seconds) for _ in range(options.runs)]
            print(line(workload, results), flush=True)
            found.append({"workload": asdict(workload), "results": [asdict(result) for result in results]})
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
