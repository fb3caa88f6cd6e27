"""The inner state of a service that nobody uses, and how two of them differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

RSS_TOLERANCE_BYTES = 12 * 1024 * 1024
"""Python's arenas and the system's heap keep their size for one object that stays in them, and no two halves have the
same worst moment: up to 4.5 MiB were seen. It is what some 500 connections hold."""
LINE_TOLERANCE_BYTES = 32 * 1024
"""Caches and tables fill up to their bounds: up to 11 KiB were seen. Of a thousand connections each that leaks a single
object of Python's shows."""
SHOWN_LINES = 12

CONNECTIONS, SUBSCRIPTIONS = "connections", "subscriptions"


@dataclass(frozen=True)
class State:
    """What there was. ``counts`` by name; ``lines`` are bytes and blocks by the line of code that allocated them."""

    counts: Mapping[str, int]
    rss_bytes: int
    traced_bytes: int
    lines: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give it as it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read it back."""
        lines = {line: (size, blocks) for line, (size, blocks) in fields.pop("lines").items()}
        return cls(lines=lines, **fields)

    def least(self, other: Self) -> Self:
        """Give what there was both times."""
        counts = {name: min(number, other.counts.get(name, 0)) for name, number in self.counts.items()}
        rss_bytes, traced_bytes = min(self.rss_bytes, other.rss_bytes), min(self.traced_bytes, other.traced_bytes)
        return replace(self, counts=counts, rss_bytes=rss_bytes, traced_bytes=traced_bytes)

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody is there."""
        return not (self.counts.get(CONNECTIONS) or self.counts.get(SUBSCRIPTIONS))


def complaints(before: State, after: State) -> Iterator[str]:
    """Say what of the second state is more than what there was in the first."""
    for name in sorted(after.counts):
        if (had := before.counts.get(name, 0)) < (has := after.counts[name]):
            yield f"{name}: {had} before, {has} after"
    grown = after.rss_bytes - before.rss_bytes
    if grown > RSS_TOLERANCE_BYTES:
        yield f"resident memory grew by {grown / 2**20:.1f} MiB, by more than {RSS_TOLERANCE_BYTES / 2**20:.0f}"
    for line, size, blocks in grown_lines(before, after):
        if size > LINE_TOLERANCE_BYTES:
            yield f"memory allocated at {line} grew by {size / 1024:.0f} KiB in {blocks} blocks"


def grown_lines(before: State, after: State) -> list[tuple[str, int, int]]:
    """Give the lines whose memory grew, with how many bytes and blocks, the worst first."""
    grown = []
    for line, (size, blocks) in after.lines.items():
        had, had_blocks = before.lines.get(line, (0, 0))
        if size > had:
            grown.append((line, size - had, blocks - had_blocks))
    return sorted(grown, key=lambda each: -each[1])[:SHOWN_LINES]
