"""The inner state of a service that nobody uses, and how two of them differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

RSS_TOLERANCE_BYTES = 32 * 1024 * 1024
"""Of a tail of 256 MiB that was emptied, 60 stay resident: arenas and heaps keep their size for one object that lies
in them, and no two halves have the same worst moment. Up to 17 were seen. So this one is coarse; the others are not."""
MALLOC_TOLERANCE_BYTES = 2 * 1024 * 1024
"""What is in use of the system's heap, without its holes: buffers of OpenSSL, of the loop, of the codecs."""
LINE_TOLERANCE_BYTES = 32 * 1024
"""Caches and tables fill up to their bounds: up to 11 KiB were seen. Where each of a thousand connections leaks a
single object, it is more."""
TABLE_TOLERANCE_BYTES = 256 * 1024
"""The same for what grew without a block more: a table keeps the size of its worst moment. 64 KiB were seen, that of
all tasks."""
MAY_BE_MORE = {
    "objects _contextvars.Context": 1,
    "objects uvloop.loop.TimerHandle": 1,
    "objects uvloop.loop.UVTimer": 1,
}
"""A connection to Kafka has a timer, with its context, which is set again by the next question after it ran out: every
ten seconds it is away for a moment, and only one of the halves may have been looked at just then."""
SHOWN_LINES = 12

CONNECTIONS, SUBSCRIPTIONS = "connections", "subscriptions"


@dataclass(frozen=True)
class State:
    """What there was. ``counts`` by name; ``lines`` are bytes and blocks by the line of code that allocated them."""

    counts: Mapping[str, int]
    rss_bytes: int
    malloc_bytes: int
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
        return replace(
            self,
            counts=counts,
            rss_bytes=min(self.rss_bytes, other.rss_bytes),
            malloc_bytes=min(self.malloc_bytes, other.malloc_bytes),
            traced_bytes=min(self.traced_bytes, other.traced_bytes),
        )

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody is there."""
        return not (self.counts.get(CONNECTIONS) or self.counts.get(SUBSCRIPTIONS))


def complaints(before: State, after: State) -> Iterator[str]:
    """Say what of the second state is more than what there was in the first."""
    for name in sorted(after.counts):
        if (had := before.counts.get(name, 0)) + MAY_BE_MORE.get(name, 0) < (has := after.counts[name]):
            yield f"{name}: {had} before, {has} after"
    for what, grown, tolerance in (
        ("resident memory", after.rss_bytes - before.rss_bytes, RSS_TOLERANCE_BYTES),
        ("the system's heap in use", after.malloc_bytes - before.malloc_bytes, MALLOC_TOLERANCE_BYTES),
    ):
        if grown > tolerance:
            yield f"{what} grew by {grown / 2**20:.1f} MiB, by more than {tolerance / 2**20:.0f}"
    for line, size, blocks in grown_lines(before, after):
        if size > (LINE_TOLERANCE_BYTES if blocks > 0 else TABLE_TOLERANCE_BYTES):
            yield f"memory allocated at {line} grew by {size / 1024:.0f} KiB in {blocks} blocks"


def grown_lines(before: State, after: State) -> list[tuple[str, int, int]]:
    """Give the lines whose memory grew, with how many bytes and blocks, the worst first."""
    grown = []
    for line, (size, blocks) in after.lines.items():
        had, had_blocks = before.lines.get(line, (0, 0))
        if size > had:
            grown.append((line, size - had, blocks - had_blocks))
    return sorted(grown, key=lambda each: -each[1])[:SHOWN_LINES]
