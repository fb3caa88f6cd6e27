"""A broker's own files: where the batches of a log lie in them, and what makes one unreadable.

A batch begins with 61 bytes: its first offset (8), its length without these two (4), ..., attributes at 21, the last
offset's distance from the first at 23. See https://kafka.apache.org/documentation/#recordbatch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BEFORE_LENGTH_COUNTS = 12
TRANSACTIONAL = 0x10
CHECKPOINT = "recovery-point-offset-checkpoint"


class Batch(NamedTuple):
    """One batch: the offset of its first record and the one after its last, and where it lies."""

    first: int
    next: int
    transactional: bool
    segment: Path
    begin: int
    end: int
    """Where it begins and ends in the file."""

    def damage(self) -> None:
        """Flip a byte. The broker sends what the file holds, and does not look into it."""
        with self.segment.open("r+b") as file:
            file.seek(self.end - 2)
            [byte] = file.read(1)
            file.seek(self.end - 2)
            file.write(bytes([byte ^ 0xFF]))


def batches(segment: Path) -> Iterator[Batch]:
    """Give the batches of one file."""
    data, at = segment.read_bytes(), 0
    while at < len(data):
        first = int.from_bytes(data[at : at + 8])
        end = at + BEFORE_LENGTH_COUNTS + int.from_bytes(data[at + 8 : at + 12])
        attributes, last = int.from_bytes(data[at + 21 : at + 23]), int.from_bytes(data[at + 23 : at + 27])
        yield Batch(first, first + last + 1, bool(attributes & TRANSACTIONAL), segment, at, end)
        at = end


def closed(folder: Path) -> Iterator[Path]:
    """Give the files of one log, ``folder``, into which its broker does not look again after a crash.

    Whatever it finds unreadable then it cuts off, with all that comes behind it.
    """
    topic, _, partition = folder.name.rpartition("-")
    points = (line.split(" ") for line in (folder.parent / CHECKPOINT).read_text().splitlines())
    point = next((int(words[2]) for words in points if words[:2] == [topic, partition]), 0)
    segments = sorted(folder.glob("*.log"))
    for segment, following in itertools.pairwise(segments):
        if int(following.stem) <= point:
            yield segment
