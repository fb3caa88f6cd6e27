"""How much memory something takes, as far as Python counts it: the same on every machine."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Taken:
    """Bytes: the most that there were, and those in use at the end."""

    peak: int = 0
    left: int = 0


@contextmanager
def counted() -> Iterator[Taken]:
    """Count what is allocated within the block; told at its end."""
    taken = Taken()
    tracemalloc.start()
    try:
        yield taken
        taken.left, taken.peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
