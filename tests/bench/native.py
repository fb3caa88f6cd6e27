"""The two programs that are compiled where the bench runs, and the board on which the crowd counts.

In C, because a load generator that costs as much as the service would be what is measured. Needs a C compiler, ``cc``.
"""

from __future__ import annotations

import mmap
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
HEAD_BYTES, MOST_AGES = 64, 1 << 20


def build(name: str, folder: Path) -> Path:
    """Compile ``name``.c into ``folder``; gives the program. Ends the bench in plain words where that cannot be."""
    if shutil.which("cc") is None:
        sys.exit("the bench needs a C compiler, `cc`, for its load generator")
    program = folder / name
    subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / f"{name}.c")], check=True)
    return program


class Board:
    """What the crowd has counted, in memory that it shares; see ``struct board`` in crowd.c."""

    def __init__(self, file: Path) -> None:
        with file.open("w+b") as made:
            made.truncate(HEAD_BYTES + 4 * MOST_AGES)
            self._memory = mmap.mmap(made.fileno(), 0)
        self._numbers = memoryview(self._memory)[:HEAD_BYTES].cast("Q")
        self._ages = memoryview(self._memory)[HEAD_BYTES:].cast("I")

    @property
    def subscribed(self) -> int:
        return self._numbers[0]

    @property
    def events(self) -> int:
        return self._numbers[1]

    @property
    def lost_connections(self) -> int:
        return self._numbers[3]

    def send_away(self, away: bool) -> None:
        """Let a herd go, or come back; a crowd takes no notice."""
        self._numbers[7] = away

    @property
    def ages(self) -> int:
        """How many were taken."""
        return self._numbers[4]

    def measure(self) -> None:
        """Take ages from now on."""
        self._numbers[4] = 0
        self._numbers[5] = 1

    def ages_ms(self) -> list[float]:
        """Take no more ages; give those that were taken, sorted."""
        self._numbers[5] = 0
        return sorted(age / 1000 for age in self._ages[: self._numbers[4]])

    def stop(self) -> None:
        """End whoever counts here."""
        self._numbers[6] = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._numbers.release()
        self._ages.release()
        self._memory.close()


def percentile(ages: list[float], percent: float) -> float | None:
    """Give a percentile of sorted numbers."""
    return ages[min(len(ages) - 1, int(len(ages) * percent / 100))] if ages else None


def spread(values: list[float]) -> str:
    """Write the median of some runs, and the least and the most."""
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


@contextmanager
def running(
    command: list[str], *, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside us; end it with the block."""
    with subprocess.Popen(command, text=True, stdin=stdin, stdout=stdout) as process:
        try:
            yield process
        finally:
            process.kill()
