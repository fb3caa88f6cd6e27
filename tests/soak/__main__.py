"""The soak: ``tox -e soak -- --minutes 10 --seed 7``. Exits with 1 when anything was wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing

from kafka_cluster import KafkaCluster
from soak.planting import LEAKS
from soak.run import Plan, Report, soak
from soak.state import grown_lines

DEFAULT_SEED = 7
DEFAULT_MINUTES = 1.0
CLIENTS = 300
"""As many as leave half of two cores for the service, which counts its memory and so is three times as slow."""


def plan() -> Plan:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tox -e soak --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="both halves together")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="what all chance comes from")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="at once")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    parser.add_argument("--plant", action="append", choices=LEAKS, default=[], help="a leak, to see it found")
    options = parser.parse_args()
    return Plan(options.seed, 60 * options.minutes, options.clients, options.tls, options.plant)


def command(plan: Plan) -> str:
    """Write the command that repeats the run."""
    options = [f"--minutes {plan.seconds / 60:g}", f"--seed {plan.seed}", f"--clients {plan.clients}"]
    options += ["--tls"] if plan.tls else []
    return " ".join(["tox -e soak --", *options, *(f"--plant {leak}" for leak in plan.plant)])


def write(report: Report) -> None:
    """Print what came of it."""
    print(f"{report.clients} clients made {report.connections} connections;", end=" ")
    print(f"{report.records} records became {report.events} events, all judged; {report.resets} resets")
    write_counts("traffic", report.traffic)
    write_counts("what befell clients", report.befell)
    write_counts("who asked wrongly", report.visits)
    write_counts("what the service counted", report.told)
    before, after = report.states
    print("\nat rest, after each half")
    for name in sorted({*before.counts, *after.counts}):
        if not name.startswith("objects ") or before.counts.get(name, 0) != after.counts.get(name, 0):
            print(f"  {name:<60}{before.counts.get(name, 0):>10}{after.counts.get(name, 0):>10}")
    print(f"  {'resident memory, MiB':<60}{before.rss_bytes / 2**20:>10.1f}{after.rss_bytes / 2**20:>10.1f}")
    print(f"  {'heap in use, MiB':<60}{before.malloc_bytes / 2**20:>10.1f}{after.malloc_bytes / 2**20:>10.1f}")
    print(f"  {'allocated by Python, MiB':<60}{before.traced_bytes / 2**20:>10.1f}{after.traced_bytes / 2**20:>10.1f}")
    for line, size, blocks in grown_lines(before, after):
        print(f"  grew by {size / 1024:.1f} KiB in {blocks} blocks: {line}")


def write_counts(title: str, counts: Mapping[str, float]) -> None:
    """Print what was counted, on one line a word."""
    print(f"\n{title}")
    for name, number in sorted(counts.items()):
        print(f"  {name:<60}{number:>10g}")


def main() -> None:
    """Run the soak."""
    asked = plan()
    print(command(asked), flush=True)
    with closing(KafkaCluster()) as kafka:
        kafka.start()
        report = soak(asked, kafka)
    write(report)
    for complaint in report.complaints:
        print(f"\nWRONG: {complaint}")
    print(f"\n{'WRONG' if report.complaints else 'all is well'}; again: {command(asked)}")
    sys.exit(1 if report.complaints else 0)


if __name__ == "__main__":
    main()
