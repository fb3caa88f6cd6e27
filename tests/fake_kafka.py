"""A Kafka cluster made of lists, for tests: logs that grow, leaders that move, brokers that go away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from builders import FakeRecord
from tailrace.errors import KafkaTrouble
from tailrace.kafka import (
    EARLIEST,
    HIGH_WATERMARK,
    LATEST,
    BrokerUnavailable,
    Identity,
    OffsetOutOfRange,
    Stretch,
    TopicIdentity,
    UnknownTopic,
)

Place = tuple[str, int]
Answers = dict[Place, int | KafkaTrouble | None]


@dataclass
class Log:
    """One partition: who leads it, and what lies from its start to its end."""

    leader: int | None = 1
    start: int = 0
    records: list[FakeRecord] = field(default_factory=list)
    troubles: deque[KafkaTrouble | None] = field(default_factory=deque)
    """Answers to the next fetches, in place of what the log holds; None is no trouble."""
    end_troubles: deque[KafkaTrouble | None] = field(default_factory=deque)
    """The same for the next questions for its end; None: the broker does not know."""
    end: int = 0
    by_time: int | None = None
    """The answer to a question for an offset by time."""
    time_trouble: KafkaTrouble | None = None
    """The same, where there is trouble, as there is at and after this time:"""
    time_trouble_from: int = 0


class FakeKafka:
    """What `Kafka` does, with no socket. ``topics`` are names with their number of partitions."""

    def __init__(self, **topics: int) -> None:
        self.logs = {(name, partition): Log() for name, count in topics.items() for partition in range(count)}
        self.ids: dict[str, str | None] = dict.fromkeys(topics, "1")
        self.topic_troubles: dict[str, KafkaTrouble] = {}
        self.policies: dict[str, str | KafkaTrouble] = dict.fromkeys(topics, "delete")
        self.cluster_trouble: KafkaTrouble | None = None
        self.down: set[int] = set()
        self.fetches: list[dict[Place, int]] = []
        self.at_once = 1 << 30
        """Most records that one fetch brings of a partition."""
        self.on_identity: Callable[[], object] = lambda: None
        """What happens before it is said who the cluster is."""
        self.on_fetch: Callable[[], object] = lambda: None
        """What happens before each fetch is answered."""
        self.waits: list[tuple[int, int]] = []
        """(max_wait_ms, min_bytes) of each fetch."""
        self.whens: list[int] = []
        """What was asked of `offsets`, and what happens at each such question."""
        self.on_offsets: Callable[[], None] = lambda: None
        self.pause_offsets: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        """How long the answer takes."""
        self.identities = self.policies_asked = 0
        self.closed = False
        self._grew = asyncio.Event()

    def produce(self, place: Place, *values: bytes, key: bytes | None = b"s") -> None:
        """Append a record of session ``s`` for each value, and answer whoever waits for it."""
        log = self.logs[place]
        for value in values:
            log.records.append(FakeRecord(log.end, key, value))
            log.end += 1
        self.wake()

    def wake(self) -> None:
        """Let every fetch that waits look again."""
        self._grew.set()

    def retain(self, place: Place, start: int) -> None:
        """Move the log's start, as retention does."""
        log = self.logs[place]
        log.start, log.end = start, max(start, log.end)
        log.records = [record for record in log.records if record.offset >= start]

    def truncate(self, place: Place, end: int) -> None:
        """Cut the log's end off, as an unclean leader election does."""
        log = self.logs[place]
        log.end, log.records = end, [record for record in log.records if record.offset < end]

    def make_again(self, topic: str, id_: str, partitions: int) -> None:
        """Delete the topic and make it again, empty, with another id."""
        self.logs = {place: log for place, log in self.logs.items() if place[0] != topic}
        self.logs |= {(topic, partition): Log() for partition in range(partitions)}
        self.ids[topic] = id_

    async def identity(self) -> Identity:
        await asyncio.sleep(0)
        self.identities += 1
        self.on_identity()
        if self.cluster_trouble is not None:
            raise self.cluster_trouble
        return Identity("cluster", (1, 2), {name: self._topic(name) for name in self.ids})

    def _topic(self, name: str) -> TopicIdentity:
        trouble = self.topic_troubles.get(name)
        leaders = tuple(log.leader for place, log in sorted(self.logs.items()) if place[0] == name)
        return TopicIdentity(name, self.ids[name], leaders if trouble is None else (), trouble)

    async def fetch(
        self,
        node: int,
        offsets: Mapping[Place, int],
        ids: Mapping[str, str],
        *,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
    ) -> list[Stretch]:
        assert max_bytes > 0
        self.fetches.append(dict(offsets))
        self.waits.append((max_wait_ms, min_bytes))
        self._check(node)
        if not any(self._has_answer(place, offset) for place, offset in offsets.items()):
            await self._wait(max_wait_ms / 1000)
        await asyncio.sleep(0.001)
        self.on_fetch()
        self._check(node)
        return [self._stretch(place, offset, ids) for place, offset in offsets.items() if place in self.logs]

    async def _wait(self, seconds: float) -> None:
        self._grew.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._grew.wait()
        except TimeoutError:
            pass

    def _has_answer(self, place: Place, offset: int) -> bool:
        log = self.logs.get(place, Log())
        return bool(log.troubles) or offset != log.end

    def _check(self, node: int) -> None:
        if node in self.down:
            raise BrokerUnavailable(f"node {node}", "it is down")

    def _stretch(self, place: Place, offset: int, ids: Mapping[str, str]) -> Stretch:
        log, present = self.logs[place], self.ids[place[0]]
        trouble = log.troubles.popleft() if log.troubles else None
        if ids.get(place[0], present) != present:
            trouble = UnknownTopic(*place)
        if trouble is None and not log.start <= offset <= log.end:
            trouble = OffsetOutOfRange(*place)
        records = [record for record in log.records if record.offset >= offset] if trouble is None else []
        next_offset = offset if trouble is not None else log.end
        if len(records) > self.at_once:
            records, next_offset = records[: self.at_once], records[self.at_once].offset
        return Stretch(*place, records, next_offset, log.start, log.end, log.end, trouble)

    async def offsets(
        self, node: int, partitions: Sequence[Place], when: int
    ) -> dict[Place, int | KafkaTrouble | None]:
        await self.pause_offsets()
        self._check(node)
        self.whens.append(when)
        self.on_offsets()
        return {place: self._offset(self.logs[place], when) for place in partitions if place in self.logs}

    def _offset(self, log: Log, when: int) -> int | KafkaTrouble | None:
        if when == LATEST:
            return log.end_troubles.popleft() if log.end_troubles else log.end
        if when == HIGH_WATERMARK:
            return log.end
        if when == EARLIEST:
            return log.start
        return log.time_trouble if log.time_trouble and when >= log.time_trouble_from else log.by_time

    async def cleanup_policy(self, topic: str) -> str | KafkaTrouble:
        await asyncio.sleep(0)
        self.policies_asked += 1
        if self.cluster_trouble is not None:
            raise self.cluster_trouble
        return self.policies[topic]

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed = True
