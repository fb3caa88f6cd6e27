"""What a delivered event costs, through a real Apache Kafka: ``tox -e bench``.

The server has one core; Kafka, the producer and the crowd have the other. Prints a table and writes JSON where asked.
Compare ratios within one run, and figures only at the same rate: at low rates wake-ups dominate, which is why the cost
of a bare ``write()`` at the same rate, in C, stands beside each figure as the floor.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from bench.measuring import Bench, Result, Workload, take_our_core
from bench.native import spread
from bench.workloads import WORKLOADS
from kafka_cluster import KafkaCluster

ADMISSIONS = ("HS256", "ES256")
COLUMNS = (
    "workload", "µs of CPU per event", "of it in the kernel", "floor", "events/s", "% of the core",
    "p50 / p99 / p99.9 ms", "kB/connection", "MB", "lost", "beside it, % of the other core",
)  # fmt: skip


def line(name: str, results: list[Result], floors: list[Result]) -> str:
    """Write the medians over the runs, and the spread of the cost."""
    costs = [each.cpu_us for each in results if each.cpu_us is not None]
    ages = " / ".join(median(getattr(each, age) for each in results) for age in ("p50_ms", "p99_ms", "p999_ms"))
    beside = ", ".join(f"{who} {median((each.beside[who] for each in results), 0)}" for who in results[0].beside)
    return row(
        name,
        spread(costs) if costs else "-",
        median(each.system_us for each in results),
        spread([each.cpu_us or 0 for each in floors]) if floors else "-",
        median((each.per_second for each in results), 0),
        median(each.busy_percent for each in results),
        ages,
        median(each.kilobytes_per_connection for each in results),
        median((each.resident_megabytes for each in results), 0),
        str(sum(each.lost for each in results)),
        beside or "-",
    )


def median(values: Iterable[float | None], digits: int = 1) -> str:
    """Write the median of what was measured, a dash where nothing was."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.{digits}f}" if known else "-"


def row(*cells: str) -> str:
    """Write one row of the table."""
    return f"| {' | '.join(cells)} |"


def has_floor(workload: Workload) -> bool:
    """Whether a bare write() at the same rate says something."""
    return bool(workload.rate) and workload.transport != "h2" and not workload.others


def main() -> None:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join([*WORKLOADS, "intake", "admission"])
    parser.add_argument("only", nargs="*", default=["*"], help=f"what to measure; * and ? match. One of {names}")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all results")
    options = parser.parse_args()
    found: dict[str, dict[str, object]] = {}

    def wanted(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in options.only)

    def tell(name: str, title: str, results: list[Result], floors: list[Result]) -> None:
        print(line(title, results, floors), flush=True)
        runs_of = {"results": [asdict(each) for each in results], "floor": [asdict(each) for each in floors]}
        found[name] = {"title": title, **runs_of}

    print(row(*COLUMNS), row(*["---"] * len(COLUMNS)), sep="\n")
    take_our_core()
    runs = range(options.runs)
    with closing(KafkaCluster()) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.start()
        bench = Bench(kafka, Path(folder), options.seconds)
        bench.warm_up()
        for name, workload in WORKLOADS.items():
            if wanted(name):
                floors = [bench.floor(workload) for _ in runs] if has_floor(workload) else []
                tell(name, str(workload), [bench.fan_out(workload) for _ in runs], floors)
        if wanted("intake"):
            tell("intake", "Kafka to tail, nobody subscribed", [bench.intake() for _ in runs], [])
        for algorithm in ADMISSIONS:
            if wanted("admission"):
                title = f"admission, SSE with a JWT ({algorithm})"
                tell(f"admission-{algorithm}", title, [bench.admission(algorithm) for _ in runs], [])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
