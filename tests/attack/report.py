"""The figures of an attack as a row for people, and those of all as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from attack.measuring import Bounds, Found, Spread, broken

COLUMNS = (
    "attack", "sent: connections / requests / kB", "RSS before / peak / after, MiB",
    "victim's p50 / p99 / max before, ms", "during", "after", "slowest /livez, ms", "newcomers in, p50 / p99 ms",
    "% of a core (waited; delay of the measurement, p99 ms)", "limits", "verdict",
)  # fmt: skip

TOLD = tuple(
    f"tailrace_{name}" for name in ("refusals", "resets", "skipped", "unaddressed", "slow_clients", "kafka_jumps")
)
"""Beginnings of the counters that tell something of an attack; those of ordinary work grow in any case."""


def row(*cells: str) -> str:
    """Return one row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def head() -> str:
    """Return the head of the table."""
    return "\n".join([row(*COLUMNS), row(*["---"] * len(COLUMNS))])


def line(name: str, found: Found, bounds: Bounds) -> str:
    """Return the row of one attack."""
    cost, sent, came = found.cost, found.sent, found.newcomers
    return row(
        name,
        f"{sent.connections} / {sent.requests} / {sent.bytes / 1000:.0f}",
        f"{cost.rss_before:.0f} / {cost.rss_peak:.0f} / {cost.rss_after:.0f}",
        *(spread(each) for each in (found.before, found.during, found.after)),
        f"{found.livez.most:.0f}",
        f"{came.admitted} of {came.came}, {came.took.p50:.0f} / {came.took.p99:.0f}",
        f"{cost.cpu:.0f} ({cost.waited:.0f}; {found.own_lateness.p99:.0f})",
        counts(found.limits) or "-",
        "; ".join(broken(found, bounds)) or "held",
    )


def spread(found: Spread) -> str:
    """Write a spread; a dash where nothing was measured."""
    return f"{found.p50:.0f} / {found.p99:.0f} / {found.most:.0f}" if found.count else "-"


def counts(found: Mapping[str, float]) -> str:
    """Write counts by name."""
    return ", ".join(f"{name} {count:g}" for name, count in found.items())


def notes(title: str, found: Found) -> str:
    """Return what else there is to tell of one attack, in three lines: answers, and what the service counted."""
    counted = {name: count for name, count in found.counted.items() if name.startswith(TOLD)}
    return f"  {title}\n  answered: {counts(found.sent.notes) or '-'}\n  counted: {counts(counted) or '-'}"


def as_json(found: Found, bounds: Bounds) -> dict[str, object]:
    """Return all figures of one attack, and which bounds it broke."""
    return {**asdict(found), "broken": broken(found, bounds)}
