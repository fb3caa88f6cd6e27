"""Event ids, read by somebody who is not the service: a second pair of eyes on what `tailrace.position` writes.

A *log* is one partition of one incarnation of a topic. Its name in an id is the epoch and the partition's number, and
no two logs share it; so a topic that was deleted and made again is simply other logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

Log = tuple[str, int]
"""Epoch and partition."""
NO_TOPIC = "0"

_ID = re.compile(r"v1\.(?P<groups>.+?)(?P<end>\.end)?")
_GROUP = re.compile(r"(?P<epoch>[0-9a-f]{8})(?P<entries>(\.-?(0|[1-9][0-9]*))*)")
REMEMBERED = 4096
"""Ids whose reading is kept: all clients of a session are given the same ones."""


class NoId(ValueError):
    """The text is no id."""


@dataclass(frozen=True, slots=True)
class Id:
    """A point in all logs: the next offset of each; ``mark`` is the log of the record that the id names."""

    entries: Mapping[Log, int]
    epochs: frozenset[str]
    mark: Log | None
    ended: bool

    def next_offset(self, log: Log) -> int:
        """Give the log's entry; 0 where there is none, because such a log is later than the id."""
        return self.entries.get(log, 0)


@lru_cache(REMEMBERED)
def read(text: str) -> Id:
    """Read an id. Raises `NoId`."""
    if (whole := _ID.fullmatch(text)) is None:
        raise NoId(f"{text!r} is no id")
    entries: dict[Log, int] = {}
    epochs, marks = set(), []
    for part in whole["groups"].split("~"):
        if part == NO_TOPIC:
            continue
        if (group := _GROUP.fullmatch(part)) is None or group["epoch"] in epochs:
            raise NoId(f"{text!r} is no id: {part!r}")
        epochs.add(group["epoch"])
        for partition, entry in enumerate(group["entries"].split(".")[1:]):
            entries[group["epoch"], partition] = int(entry.removeprefix("-"))
            if entry.startswith("-"):
                marks.append((group["epoch"], partition))
    if len(marks) > 1:
        raise NoId(f"{text!r} names {len(marks)} records")
    return Id(entries, frozenset(epochs), marks[0] if marks else None, whole["end"] is not None)
