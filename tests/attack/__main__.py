"""The attacks: ``tox -e attack``, or ``python -m attack --only silent --times 4``. Exits with 1 when one was not held.

Each runs at its size against a service of its own, over a real Kafka, on loopback. A victim is sent an event every 50
ms; honest newcomers come four times a second; ``/livez`` is asked for every 100 ms. Where "waited" is high, or the
measurement was late itself, the machine was busy with something else, and the figures are not the service's.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from attack.measuring import Found, broken
from attack.report import as_json, head, line, notes, row
from attack.run import Options, run
from attack.table import ATTACKS
from kafka_cluster import KafkaCluster


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="tox -e attack --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="which; * and ? match")
    parser.add_argument("--list", action="store_true", help="say what there is, and do nothing")
    parser.add_argument("--times", type=float, default=1.0, help="how many times the size in the table")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each attack")
    parser.add_argument(
        "--addresses", type=int, default=1, help="that attackers come from; 0: the one of honest clients"
    )
    parser.add_argument("--service", type=Path, metavar="DIR", help="run the service of another checkout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    return parser.parse_args()


def main() -> None:
    """Attack as the command line says, and print the table."""
    given = options()
    names = [name for name in ATTACKS if any(fnmatch.fnmatch(name, each) for each in given.only)]
    if given.list or not names:
        print("\n".join(f"{name:<18} {attack.title}" for name, attack in ATTACKS.items()))
        sys.exit(0 if given.list else f"no attack is called {', '.join(given.only)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every block ends what it began
    asked = Options(given.times, given.seconds, given.addresses, given.service)
    print(head(), flush=True)
    with closing(KafkaCluster()) as kafka:
        kafka.start()
        found = dict(measured(names, kafka, asked, given.json))
    for name, each in found.items():
        print(f"\n{name}\n{notes(ATTACKS[name].title, each)}")
    not_held = [name for name in names if name not in found or broken(found[name], ATTACKS[name].bounds)]
    print(f"\n{'not held: ' + ', '.join(not_held) if not_held else 'all held'}")
    sys.exit(1 if not_held else 0)


def measured(
    names: Sequence[str], kafka: KafkaCluster, asked: Options, file: Path | None
) -> Iterator[tuple[str, Found]]:
    """Attack by each of these names; print its row, and write all figures so far. What fails is a row, too."""
    written: dict[str, Any] = {}
    for name in names:
        bounds = ATTACKS[name].bounds
        try:
            found = run(name, kafka, asked)
        except RuntimeError as error:
            print(row(name, f"could not be measured: {error}"), flush=True)
            continue
        print(line(name, found, bounds), flush=True)
        written[name] = {"title": ATTACKS[name].title, **as_json(found, bounds)}
        if file is not None:
            file.write_text(json.dumps(written, indent=2) + "\n")
        yield name, found


if __name__ == "__main__":
    main()
