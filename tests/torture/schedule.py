"""What is done to whom, when: a pure function of the seed, known and printed before anything happens.

Three tracks run side by side, one for Kafka and one for each replica of the service; within a track one thing follows
the other. What chance decides on the spot (which log, which offset) is drawn from the fault's own number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

KAFKA = "Kafka"
REPLICAS = ("replica 1", "replica 2")


class Chance(NamedTuple):
    """How often something happens, compared with the others, and for how many seconds at least and at most."""

    weight: int
    seconds: tuple[float, float] = (0.0, 0.0)


OF_KAFKA: Mapping[str, Chance] = {
    "kill": Chance(5, (0.0, 5.0)),
    "stop": Chance(2, (0.0, 3.0)),
    "freeze": Chance(5, (0.5, 8.0)),
    "move": Chance(3, (0.0, 3.0)),
    "delete records": Chance(10),
    "add a partition": Chance(3),
    "make a topic again": Chance(4, (0.0, 4.0)),
    "damage a batch": Chance(6),
}
OF_NODES: Mapping[str, Chance] = {
    "kill a leader": Chance(3, (0.0, 8.0)),
    "stop a leader": Chance(3, (0.0, 8.0)),
    "freeze a leader": Chance(4, (1.0, 15.0)),
}
"""Where Kafka is three brokers. Nine seconds of silence are enough for the others."""
OF_REPLICAS: Mapping[str, Chance] = {
    "kill": Chance(6, (0.0, 6.0)),
    "kill, and again while it starts": Chance(2, (0.0, 2.0)),
    "end": Chance(5, (0.0, 4.0)),
    "kill while it ends": Chance(2, (0.0, 2.0)),
    "freeze": Chance(5, (0.2, 6.0)),
    "set the clock": Chance(3),
}
"""Seconds are those until the process is started again, or goes on."""
BETWEEN: Mapping[str, tuple[float, float]] = {KAFKA: (1.0, 9.0), **dict.fromkeys(REPLICAS, (1.0, 12.0))}
"""How long a track lets go before the next thing."""
FIRST_SECONDS = 3.0
"""How long everything is left in peace at first."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is done, ``at`` seconds after the beginning; ``share``, which is 0 to 0.99, decides what is left
    open."""

    at: float
    track: str
    what: str
    seconds: float
    share: float

    def __str__(self) -> str:
        duration = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:7.1f} s  {self.track:<10} {self.what}{duration} ({self.share:.2f})"


def schedule(seed: int, seconds: float, *, nodes: bool = False) -> list[Fault]:
    """Give what will be done within ``seconds``, in order; ``nodes`` where Kafka is three brokers."""
    tracks = {KAFKA: OF_NODES if nodes else OF_KAFKA, **dict.fromkeys(REPLICAS, OF_REPLICAS)}
    faults = [fault for track, chances in tracks.items() for fault in _of_track(seed, track, chances, seconds)]
    return sorted(faults, key=lambda fault: fault.at)


def _of_track(seed: int, track: str, chances: Mapping[str, Chance], seconds: float) -> Iterator[Fault]:
    rng = random.Random(f"{seed} {track}")
    at = FIRST_SECONDS + rng.uniform(*BETWEEN[track])
    while at < seconds:
        [what] = rng.choices(list(chances), [chance.weight for chance in chances.values()])
        lasts = rng.uniform(*chances[what].seconds)
        yield Fault(round(at, 1), track, what, round(lasts, 1), rng.randrange(100) / 100)
        at += lasts + rng.uniform(*BETWEEN[track])
