"""What to do, and what came of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torture.schedule import Fault, schedule

PASSING = ("tasks in ", "subscri", "connections", "subjects", "sockets", "readers", "passes", "timers")
"""What must be as it was before anybody came, by how its name begins."""


@dataclass(frozen=True)
class Plan:
    """What to do, with ``nodes`` to three brokers; ``show`` is told how it goes on."""

    seed: int
    seconds: float
    clients: int
    nodes: bool = False
    show: Callable[[str], None] = lambda _: None

    @property
    def command(self) -> str:
        """The command that does it again."""
        more = " --nodes" if self.nodes else ""
        return f"tox -e torture -- --minutes {self.seconds / 60:g} --seed {self.seed} --clients {self.clients}{more}"

    @property
    def schedule(self) -> list[Fault]:
        """What will be done."""
        return schedule(self.seed, self.seconds, nodes=self.nodes)


@dataclass
class Report:
    """What came of it; ``complaints`` is empty if nothing was wrong. Of ``doubtful`` records nobody knows whether Kafka
    has them, unless a client was given them; ``twice`` counts the clients that met one which Kafka had taken twice, and
    were not judged any further."""

    plan: Plan
    clients: int = 0
    connections: int = 0
    records: int = 0
    doubtful: int = 0
    events: int = 0
    twice: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    befell: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """All of it in one line."""
        resets = ", ".join(f"{number} for {reason}" for reason, number in sorted(self.resets.items())) or "none"
        twice = f"; {self.twice} clients met a record that Kafka had taken twice" if self.twice else ""
        return (
            f"seed {self.plan.seed}: {self.clients} clients x {self.connections} connections"
            f" x {self.faults.total()} faults survived; {self.records} records said, {self.doubtful} of them doubtful;"
            f" {self.events} events checked; resets told: {resets}{twice}"
        )


def stayed(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    """Say of what there is more after everybody has gone than there was before anybody came."""
    for name, number in sorted(after.items()):
        if name.startswith(PASSING) and number > before.get(name, 0):
            yield f"{name}: {before.get(name, 0)} before anybody came, {number} after everybody has gone"
