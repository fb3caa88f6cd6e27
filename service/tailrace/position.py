"""A point in the log, and its text: the event id.

Pure: no Kafka, no clock. A position holds, for each configured topic in the order of the topics' names, the topic's
*epoch* (which incarnation of the topic is meant) and the *next* offset of every partition. `event` and `reader` make
ids of positions; `resume` reads them back. An id names every partition, because only that is exact whatever partitioner
the producers use.

    v1.<epoch>.<next offset of partition 0>.<of partition 1>…~<epoch of the second topic>.<…>

The entry of an event's own partition carries a ``-`` before it; an id that ends in ``.end`` closed its session.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tailrace.errors import BadRequest

MAX_ID_BYTES = 8192
"""Longest id that is read: proxies stop at 8 kB of header, and 300 partitions of a huge topic fit."""

NO_TOPIC = "0"
"""Epoch of a topic that did not exist yet when the id was made: all its entries are 0, exactly."""

_VERSION = "v1."
_END = ".end"
_EPOCH = re.compile(r"[0-9a-f]{8}")
_ENTRY = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_MAX_OFFSET = 2**63 - 1


class MalformedId(BadRequest):
    """Not an id of ours, or of a version that this release does not know."""


def epoch_of(cluster_id: str, topic: str, topic_id: str | None) -> str:
    """Name one incarnation of a topic: an id from another cluster, or from a topic that was made again, shows.

    ``topic_id`` is Kafka's (KIP-516); None where the brokers are too old to have one, and making a topic anew goes
    unseen.
    """
    identity = "\0".join((cluster_id, topic, topic_id or ""))
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Position:
    """For each topic, in the order of names: its epoch, and the next offset of each partition known at the time."""

    epochs: tuple[str, ...]
    offsets: tuple[tuple[int, ...], ...]

    def entry(self, topic: int, partition: int) -> int:
        """Return the next offset; 0 for a partition added later: all that it holds is later."""
        offsets = self.offsets[topic]
        return offsets[partition] if partition < len(offsets) else 0

    def advanced(self, topic: int, partition: int, next_offset: int) -> Position:
        """Copy, with one entry set."""
        own = self.offsets[topic]
        own += (0,) * (partition + 1 - len(own))
        own = (*own[:partition], next_offset, *own[partition + 1 :])
        return Position(self.epochs, (*self.offsets[:topic], own, *self.offsets[topic + 1 :]))

    def around(self, topic: int, partition: int) -> tuple[bytes, bytes]:
        """Split the id of this partition's events: what stands before and what stands after the event's own entry."""
        text = self.advanced(topic, partition, 0).text(mark=(topic, partition))
        before, _, after = text.partition(".-0")
        return f"{before}.-".encode(), after.encode()

    def text(self, *, mark: tuple[int, int] | None = None, ended: bool = False) -> str:
        """Write the id; ``mark`` is the (topic, partition) whose record the id names."""
        groups = []
        for topic, (epoch, offsets) in enumerate(zip(self.epochs, self.offsets, strict=True)):
            entries = [str(offset) for offset in offsets]
            if mark is not None and mark[0] == topic:
                entries[mark[1]] = "-" + entries[mark[1]]
            groups.append(".".join([epoch, *entries]))
        return _VERSION + "~".join(groups) + (_END if ended else "")


class Vector:
    """Next offsets that change, by topic and partition: a position on its way. Lives as long as its reader."""

    __slots__ = ("_affixes", "_around", "_topics")

    def __init__(self, topics: Iterable[Iterable[int]] = ()) -> None:
        self._topics = [list(offsets) for offsets in topics]
        self._around: tuple[tuple[str, ...], int, int] | None = None  # what `_affixes` stand around
        self._affixes = (b"", b"")

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Return the next offsets of every topic, by partition; entries may be set while it is read."""
        return iter(self._topics)

    def entry(self, topic: int, partition: int) -> int:
        """Return the next offset; 0 where there is no entry."""
        offsets = self._topics[topic]
        return offsets[partition] if partition < len(offsets) else 0

    def set(self, topic: int, partition: int, offset: int) -> None:
        """Set one entry; those missing before it are 0."""
        offsets = self._topics[topic]
        if self._around is not None and (self._around[1:] != (topic, partition) or partition >= len(offsets)):
            self._around = None
        offsets += [0] * (partition + 1 - len(offsets))
        offsets[partition] = offset

    def id_at(self, epochs: tuple[str, ...], topic: int, partition: int) -> bytes:
        """Write it as the id of the event of this partition that was taken last.

        What stands around the partition's own entry is kept: mostly many events of one partition follow one another.
        """
        around = (epochs, topic, partition)
        if self._around != around:
            self._affixes = Position(epochs, self.offsets).around(topic, partition)
            self._around = around
        return b"%b%d%b" % (self._affixes[0], self.entry(topic, partition), self._affixes[1])

    def pad(self, partitions: Iterable[int]) -> None:
        """Have at least so many entries for each topic; the new ones are 0, and none is taken away."""
        for topic, count in enumerate(partitions):
            if topic == len(self._topics):
                self._topics.append([])
            if (missing := count - len(self._topics[topic])) > 0:
                self._topics[topic] += [0] * missing
                self._around = None

    def clear(self, topic: int) -> None:
        """Begin at the beginning of a topic."""
        self._topics[topic] = []
        self._around = None

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """What it holds now, as `Position` holds it."""
        return tuple(tuple(offsets) for offsets in self._topics)


@dataclass(frozen=True, slots=True)
class EventId:
    """An id as a client presents it: groups in the order of the text, not yet matched to topics."""

    groups: tuple[tuple[str, tuple[int, ...]], ...]
    mark: tuple[int, int] | None = None
    """(group, partition) of the record that the id names."""
    ended: bool = False


def parse(text: str) -> EventId:
    """Read an event id.

    Raises:
        MalformedId: it is not an id of this service and version; the message says what is wrong, and where.
    """
    if len(text) > MAX_ID_BYTES:
        raise MalformedId(f"the event id is longer than {MAX_ID_BYTES} characters")
    if not text.startswith(_VERSION):
        raise MalformedId("the event id does not start with 'v1.'")
    body = text.removeprefix(_VERSION)
    ended = body.endswith(_END)
    groups, mark = [], None
    for number, group in enumerate(body.removesuffix(_END).split("~")):
        epoch, *entries = group.split(".")
        groups.append((_checked_epoch(epoch, entries), tuple(_offset(entry) for entry in entries)))
        for partition, entry in enumerate(entries):
            if entry.startswith("-"):
                if mark is not None:
                    raise MalformedId("the event id marks more than one partition")
                mark = (number, partition)
    return EventId(tuple(groups), mark, ended)


def _checked_epoch(epoch: str, entries: list[str]) -> str:
    if epoch == NO_TOPIC and not entries:
        return epoch
    if _EPOCH.fullmatch(epoch) is None:
        raise MalformedId(f"the event id has {epoch[:16]!r} where an epoch of 8 hex digits is expected")
    return epoch


def _offset(entry: str) -> int:
    if _ENTRY.fullmatch(entry) is None or (offset := int(entry.removeprefix("-"))) > _MAX_OFFSET:
        raise MalformedId(f"the event id has {entry[:24]!r} where an offset is expected")
    return offset
