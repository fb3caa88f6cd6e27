"""The torture: ``tox -e torture -- --minutes 5 --seed 7``. Exits with 1 when anything was wrong."""

from __future__ import annotations

import argparse
import logging
import sys

from torture.report import Plan
from torture.run import torture

DEFAULT_SEED = 7
DEFAULT_MINUTES = 1.0
CLIENTS = 200


def plan() -> tuple[Plan, bool]:
    """Read the command line: the plan, and whether it shall only be shown."""
    parser = argparse.ArgumentParser(prog="tox -e torture --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="until the calm")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="what all chance comes from")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="at once")
    parser.add_argument("--nodes", action="store_true", help="Kafka is three brokers, among which leaders move")
    parser.add_argument("--show", action="store_true", help="write what would be done, and do nothing")
    options = parser.parse_args()
    asked = Plan(
        options.seed,
        60 * options.minutes,
        options.clients,
        nodes=options.nodes,
        show=lambda line: print(line, flush=True),
    )
    return asked, options.show


def main() -> None:
    """Run the torture."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells each attempt to reach a broker that is down
    asked, only_show = plan()
    print(asked.command, flush=True)
    for fault in asked.schedule:
        print(fault, flush=True)
    if only_show:
        return
    report = torture(asked)
    for counted in (report.faults, report.befell):
        print("\n" + "\n".join(f"  {name:<60}{number:>8}" for name, number in sorted(counted.items())))
    for complaint in report.complaints:
        print(f"\nWRONG: {complaint}")
    print(f"\n{report.summary}")
    print(f"{'WRONG' if report.complaints else 'all is well'}; again: {asked.command}")
    sys.exit(1 if report.complaints else 0)


if __name__ == "__main__":
    main()
