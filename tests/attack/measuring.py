"""What was seen of one attack -> figures, and which of its bounds they break.

Pure: knows no process, no socket and no clock. All times are Unix seconds, durations milliseconds unless named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

SETTLE_SECONDS = 2.0
"""After an attack, before "after" begins: what was sent is still being worked on."""
COUNTER = re.compile(r'^(tailrace_\w+_(?:total|sum))(?:\{\w+="([^"]*)"\})? (\S+)$', re.MULTILINE)
"""A counter of ours in Prometheus' text format, or a histogram's sum, with at most one label."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time, its end not included."""

    begin: float
    end: float

    def __contains__(self, at: float) -> bool:
        return self.begin <= at < self.end


@dataclass(frozen=True, slots=True)
class Seen:
    """What the honest process tells at its end.

    ``events`` are (sent, received) of each event of the victim, received is None where it never came; ``newcomers``
    are (asked, milliseconds, why not), the last empty where they got in; ``probes`` are (asked, milliseconds) of
    ``/livez``; ``late`` is (at, milliseconds) that the process itself woke too late. Of the victim's stream: how often
    it was cut, told of a gap, and how many events it missed or was given twice.
    """

    ended: float
    events: list[tuple[float, float | None]]
    newcomers: list[tuple[float, float, str]]
    probes: list[tuple[float, float]]
    late: list[tuple[float, float]]
    cuts: int
    resets: int
    lost: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Spread:
    """How some durations are spread, in milliseconds; all 0 where there were none."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, durations: Iterable[float]) -> Spread:
        """Return the spread of these durations."""
        known = sorted(durations)
        if not known:
            return cls()
        p50, p99 = (known[min(len(known) - 1, int(len(known) * part))] for part in (0.5, 0.99))
        return cls(len(known), round(p50, 1), round(p99, 1), round(known[-1], 1))


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Honest clients that came during an attack: how many got in, how fast, and why the others did not."""

    came: int
    admitted: int
    took: Spread
    refused: dict[str, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the service's process had and took: MiB resident, percent of one core.

    ``waited`` is the part of the time, in percent, for which it could have run and something else had the core: where
    it is high, the machine was measured and not the service.
    """

    rss_before: float
    rss_peak: float
    rss_after: float
    cpu: float
    waited: float


@dataclass(frozen=True, slots=True)
class Sent:
    """What the attacker has sent, and how it was answered; ``notes`` are counts by name."""

    connections: int
    requests: int
    bytes: int
    notes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """All figures of one attack. ``limits`` is the growth of ``tailrace_server_limits_total`` by limit, ``counted``
    that of the other counters."""

    sent: Sent
    cost: Cost
    before: Spread
    during: Spread
    after: Spread
    livez: Spread
    newcomers_before: Newcomers
    newcomers: Newcomers
    limits: dict[str, float]
    counted: dict[str, float]
    own_lateness: Spread
    cuts: int
    resets: int
    lost: int
    repeated: int
    died: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an attack may do at most; the table of attacks says where one differs from these, and why."""

    victim_p99_ms: float = 50.0
    """An event later than this is noticed by somebody who reads an answer as it is written."""
    livez_ms: float = 100.0
    """A tenth of what Kubernetes waits for a probe by default."""
    grown_mib: float = 96.0
    """Of memory at the worst moment: connections, their buffers, and work that waits its turn."""
    kept_mib: float = 64.0
    """Of it after the attack: the allocator keeps some for the next."""
    newcomers_refused: int = 0
    newcomer_p99_ms: float = 1000.0
    """Of a client that comes during the attack, until it is admitted: a person waits that long without noticing."""
    newcomers_slowdown: float | None = None
    """How many times longer than before the median newcomer may wait; None: not looked at."""
    victim_resets: int | None = 0
    """How often the victim may be told of a gap; None: not looked at, where its partition is damaged on purpose."""
    cpu_percent: float | None = None
    """Of one core, on average; None: an attack may use what nobody else needs."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """By how much counters may grow at most."""


def broken(found: Found, bounds: Bounds) -> list[str]:
    """Return one sentence for each bound that was broken."""
    return list(_broken(found, bounds))


def _broken(found: Found, bounds: Bounds) -> Iterator[str]:
    if found.died:
        yield "the service's process ended"
    if found.during.p99 > bounds.victim_p99_ms:
        yield f"victim's p99 {found.during.p99:g} ms, above {bounds.victim_p99_ms:g}"
    if found.livez.most > bounds.livez_ms:
        yield f"/livez took {found.livez.most:g} ms, above {bounds.livez_ms:g}"
    if (grown := found.cost.rss_peak - found.cost.rss_before) > bounds.grown_mib:
        yield f"memory grew by {grown:.0f} MiB, above {bounds.grown_mib:g}"
    if (kept := found.cost.rss_after - found.cost.rss_before) > bounds.kept_mib:
        yield f"{kept:.0f} MiB of memory stayed, above {bounds.kept_mib:g}"
    if bounds.cpu_percent is not None and found.cost.cpu > bounds.cpu_percent:
        yield f"{found.cost.cpu:.0f} % of a core, above {bounds.cpu_percent:g}"
    yield from _broken_for_newcomers(found, bounds)
    yield from _broken_for_victim(found, bounds)
    for name, most in bounds.counted.items():
        if abs(found.counted.get(name, 0)) > most:
            yield f"{name} grew by {found.counted[name]:g}, above {most:g}"


def _broken_for_newcomers(found: Found, bounds: Bounds) -> Iterator[str]:
    came = found.newcomers
    if (refused := came.came - came.admitted) > bounds.newcomers_refused:
        reasons = ", ".join(f"{count} {why}" for why, count in came.refused.items())
        yield f"{refused} of {came.came} honest newcomers did not get in ({reasons})"
    if came.took.p99 > bounds.newcomer_p99_ms:
        yield f"newcomers' p99 {came.took.p99:g} ms, above {bounds.newcomer_p99_ms:g}"
    alone = found.newcomers_before.took.p50
    if bounds.newcomers_slowdown is not None and came.took.p50 > bounds.newcomers_slowdown * alone:
        yield f"newcomers' median {came.took.p50:g} ms, above {bounds.newcomers_slowdown:g} times {alone:g}"


def _broken_for_victim(found: Found, bounds: Bounds) -> Iterator[str]:
    for count, what in ((found.cuts, "cut"), (found.lost, "not given events"), (found.repeated, "given events twice")):
        if count:
            yield f"the victim was {what}: {count}"
    if bounds.victim_resets is not None and found.resets > bounds.victim_resets:
        yield f"the victim was told of a gap: {found.resets}, above {bounds.victim_resets}"


def ages(seen: Seen, phase: Phase) -> list[float]:
    """Return how long the events took that were *sent* in a phase, ms; one that never came took until the end."""
    return [1000 * ((came or seen.ended) - sent) for sent, came in seen.events if sent in phase]


def newcomers(seen: Seen, phase: Phase) -> Newcomers:
    """Return what became of those who asked in a phase."""
    came = [(took, why) for asked, took, why in seen.newcomers if asked in phase]
    refused: dict[str, int] = {}
    for _, why in came:
        if why:
            refused[why] = refused.get(why, 0) + 1
    admitted = [took for took, why in came if not why]
    return Newcomers(len(came), len(admitted), Spread.of(admitted), refused)


def within(pairs: Iterable[tuple[float, float]], phase: Phase) -> Spread:
    """Return the spread of the durations of those (at, milliseconds) that lie in a phase."""
    return Spread.of(took for at, took in pairs if at in phase)


def counters(text: str) -> dict[tuple[str, str], float]:
    """Return the counters of a scrape, by name and value of their label, empty where there is none."""
    return {(name, label or ""): float(value) for name, label, value in COUNTER.findall(text)}


def growth(before: str, after: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return by how much counters grew between two scrapes: limits of the server by limit, all others by name."""
    first = counters(before)
    grown = {key: value - first.get(key, 0) for key, value in counters(after).items()}
    limits = {label: by for (name, label), by in grown.items() if name == LIMITS and by}
    others = {f"{name}{{{label}}}" if label else name: by for (name, label), by in grown.items() if name != LIMITS}
    return limits, {name: by for name, by in others.items() if by}


LIMITS = "tailrace_server_limits_total"
