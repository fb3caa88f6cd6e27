"""A thousand clients that stop reading, beside some that do not: ``python -m bench.stalled``, from ``tests``.

A real Kafka, a real service; the service has one core, all others the second. Either all of them read one session,
which is fed fast, or a thousand sessions, to each of which more comes at once than a client's buffers hold. Prints how
late events reach those who read, without the stalled and beside them; what the stalled cost in memory, against the
bounds; and when they were cut.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token
from tailrace.server.settings import LAYER_BYTES, SEND_BUFFER_BYTES

SERVER_CORE, OTHER_CORE = 0, 1
TAIL_BYTES = 64 * 1024**2
FLOOD_BYTES = 400_000
"""More than is held for a client, with the kernel's part."""
SETTLE_SECONDS = 3.0


@dataclass(frozen=True)
class Scene:
    """Who reads what: each of ``readers`` sessions has a client that reads; the stalled have ``sessions`` of their own,
    or share those."""

    name: str
    readers: int
    sessions: int
    rate: int
    shared: bool


SCENES = (
    Scene("one session", readers=1, sessions=1, rate=2_000, shared=True),
    Scene("a session each", readers=100, sessions=1_000, rate=5_000, shared=False),
)


@dataclass(frozen=True)
class Found:
    """What one run showed; ages in milliseconds, bytes for each stalled client, seconds from its stall to its cut."""

    alone: list[float]
    beside: list[float]
    process_bytes: float
    kernel_bytes: float
    rss_bytes: int
    cuts: list[float]


@contextmanager
def role(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run one of `bench.roles`, and go on when it says that it is ready; end it with the block."""
    command = [sys.executable, "-m", "bench.roles", name, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            heard(process)
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> Any:
    """Wait for the next thing that it says."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def kernel_bytes() -> int:
    """Memory of all TCP sockets of the machine."""
    words = next(
        line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")
    ).split()
    return int(words[words.index("mem") + 1]) * 4096


def run(scene: Scene, kafka: KafkaCluster, options: argparse.Namespace) -> Found:
    """Play one scene against a service of its own."""
    topic, seconds = f"stalled-{time.time_ns()}", options.seconds
    kafka.create_topic(topic, 3)
    settings: dict[str, Any] = {"max_connections_per_subject": 100_000, "tail_max_bytes": TAIL_BYTES}
    patience = 3 * seconds  # so that they are still there while it is measured
    with (
        ServiceProcess(kafka.bootstrap, topic, tls=options.tls, send_timeout_seconds=patience, **settings) as service,
        ExitStack() as stack,
    ):
        server = psutil.Process(service.pid)
        server.cpu_affinity([SERVER_CORE])
        cert_file = service.certificate.cert_file if service.certificate else ""
        place = (service.host_port.partition(":")[2], cert_file, options.transport, token("*", ttl_seconds=3600))
        reading = stack.enter_context(role("read", *place, "s", scene.readers))
        stack.enter_context(role("produce", kafka.bootstrap, topic, "s", scene.readers, scene.rate))
        time.sleep(SETTLE_SECONDS)
        alone = window(seconds)
        fill_tail(kafka, topic)
        rss, kernel = server.memory_info().rss, kernel_bytes()
        prefix = "s" if scene.shared else "t"
        stalling = stack.enter_context(role("stall", *place, prefix, scene.sessions, options.clients))
        if not scene.shared:
            flood(kafka, topic, scene.sessions)
        time.sleep(SETTLE_SECONDS)
        beside = window(seconds)
        rss_full, kernel_full = server.memory_info().rss, kernel_bytes()
        cuts = heard(stalling)
        assert reading.stdin is not None
        reading.stdin.close()
        seen = heard(reading)
    return Found(
        alone=ages(seen, *alone),
        beside=ages(seen, *beside),
        process_bytes=(rss_full - rss) / options.clients,
        kernel_bytes=(kernel_full - kernel) / options.clients,
        rss_bytes=rss_full,
        cuts=cuts,
    )


def window(seconds: float) -> tuple[float, float]:
    """Let time pass; give its beginning and end."""
    begin = time.time()
    time.sleep(seconds)
    return begin, time.time()


def flood(kafka: KafkaCluster, topic: str, sessions: int) -> None:
    """Give each stalled session more than its client's buffers hold."""
    with role("flood", kafka.bootstrap, topic, "t", sessions, FLOOD_BYTES) as flooding:
        heard(flooding)


def fill_tail(kafka: KafkaCluster, topic: str) -> None:
    """Let the tail reach its bound, so that what grows later is the clients'."""
    with role("flood", kafka.bootstrap, topic, "nobody", 1, 2 * TAIL_BYTES) as flooding:
        heard(flooding)
    time.sleep(SETTLE_SECONDS)


def ages(seen: list[tuple[float, float]], begin: float, end: float) -> list[float]:
    """Give the ages of what came in a window, in milliseconds."""
    return [1000 * age for at, age in seen if begin <= at <= end]


def percentiles(values: list[float]) -> str:
    """Write the median and the 99th percentile; a dash where next to nothing came."""
    if len(values) < 2:
        return "-"
    cut = statistics.quantiles(values, n=100)
    return f"{cut[49]:.1f} / {cut[98]:.1f}"


def line(scene: Scene, found: Found) -> str:
    """Write one run."""
    cuts = sorted(found.cuts)
    return (
        f"| {scene.name} | {percentiles(found.alone)} | {percentiles(found.beside)} | {found.rss_bytes / 1e6:.0f} "
        f"| {found.process_bytes / 1e3:.0f} | {found.kernel_bytes / 1e3:.0f} "
        f"| {len(cuts)} in {cuts[0]:.1f}-{cuts[-1]:.1f} |"
    )


def main() -> None:
    """Play every scene and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000, help="that stall")
    parser.add_argument("--seconds", type=float, default=12.0, help="measured, without them and beside them")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--transport", choices=("sse", "websocket"), default="sse")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    layers = 2 if options.tls else 1
    print(f"{options.clients} stalled clients; a send time-out of {3 * options.seconds:g} s; bounds for each of them:")
    print(f"{layers * LAYER_BYTES / 1e3:.0f} kB in the process, {2 * SEND_BUFFER_BYTES / 1e3:.0f} kB in the kernel\n")
    print("| they read | ms alone, p50 / p99 | ms beside them | MB RSS | kB each | kB kernel each | cut after s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    psutil.Process().cpu_affinity([OTHER_CORE])  # Kafka and our roles inherit it
    with closing(KafkaCluster()) as kafka:
        kafka.start()
        for scene in SCENES:
            for _ in range(options.runs):
                print(line(scene, run(scene, kafka, options)), flush=True)


if __name__ == "__main__":
    main()
