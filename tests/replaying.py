"""A log, a tail that has let some of it go, and readers who want it: what a replay is tested with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from builders import DECODER, Block, FakeOwner, append, attached, make_tail
from fake_kafka import FakeKafka
from leaping import leaping, until
from tailrace.metrics import Metrics
from tailrace.position import epoch_of
from tailrace.reader import Reader
from tailrace.replay import Bounds, Replay, Scanner
from tailrace.tail import Tail
from tailrace.timers import Wheel


class House:
    """Topic ``t`` in Kafka and in a tail, and a replay that can be set to work on it."""

    def __init__(
        self,
        partitions: int = 1,
        bounds: Bounds = Bounds(),  # noqa: B008  frozen
        replay: type[Replay] = Replay,
    ) -> None:
        self.kafka = FakeKafka(t=partitions)
        self.tail = make_tail(partitions, epoch=epoch_of("cluster", "t", "1"))
        self.metrics = Metrics()
        self.refreshes = 0
        self.scanner = Scanner(
            self.kafka, self.tail, refreshed=self._refreshed, metrics=self.metrics, clock=lambda: 0.0
        )
        self.replay = replay(self.scanner, self.tail, DECODER, bounds, lambda: asyncio.get_running_loop().time())

    async def _refreshed(self) -> None:
        """Let the tail know the cluster's present identity, as the consumer does."""
        self.refreshes += 1
        identity = await self.kafka.identity()
        said = identity.topics["t"]
        self.tail.learn(0, epoch_of(identity.cluster_id, "t", said.id), len(said.leaders))

    def produce(self, *values: bytes, key: bytes = b"s", partition: int = 0) -> None:
        """Let records come, to the log and to the tail, and wake whoever reads them."""
        self.kafka.produce(("t", partition), *values, key=key)
        new = self.kafka.logs["t", partition].records[-len(values) :]
        append(self.tail, *new, partition=partition)
        for _ in self.tail.wake():
            pass

    def history(self, count: int, key: bytes = b"s", partition: int = 0) -> list[str]:
        """Let so many come and leave the tail again; gives them."""
        begin = self.kafka.logs["t", partition].end
        values = [str(number) for number in range(begin, begin + count)]
        self.produce(*(value.encode() for value in values), key=key, partition=partition)
        self.evict()
        return values

    def evict(self) -> None:
        """Let the tail have nothing."""
        bound, self.tail.max_bytes = self.tail.max_bytes, 0
        self.tail.evict()
        self.tail.max_bytes = bound

    def subscriber(self, *taken: int, session: str = "s", subject: str = "ada") -> Subscriber:
        """Let somebody come who has taken so much of each partition, and ask for the rest."""
        subscriber = Subscriber(self.tail, self.replay, [taken or (0,)], session, subject)
        subscriber.reader.flush()
        return subscriber

    def metric(self, name: str) -> float:
        """Give a metric without labels."""
        lines = self.metrics.render()[0].decode().splitlines()
        [value] = [line.split()[-1] for line in lines if line.startswith(f"tailrace_{name} ")]
        return float(value)

    @property
    def fetches(self) -> list[tuple[int, int]]:
        """Every fetch: which partition, from where."""
        return [(partition, offset) for each in self.kafka.fetches for (_, partition), offset in each.items()]


class Subscriber:
    """A reader, its wire and its owner."""

    def __init__(
        self, tail: Tail, replay: Replay, taken: Sequence[Sequence[int]], session: str, subject: str = "ada"
    ) -> None:
        self.owner = FakeOwner(subject)
        self.reader = Reader(tail, session, taken, self.owner, Wheel(), replay)
        self.wire = attached(self.reader)

    @property
    def got(self) -> list[str]:
        """What it has got so far, by data or name."""
        return [block.event.removeprefix("tailrace.") or block.data for block in Block.all(self.wire.text)]

    async def live(self) -> list[str]:
        """Wait until it is live, and give what it has got."""
        await until(lambda: self.reader.live)
        return self.got

    def goes_on(self) -> None:
        """Let the wire be writable again."""
        self.wire.open = True
        self.wire.on_writable()


@asynccontextmanager
async def at_work(house: House) -> AsyncIterator[House]:
    """Let the replay work until the end of the block, at which no task is left."""
    before = asyncio.all_tasks()
    with leaping():
        task = asyncio.create_task(house.replay.run())
        try:
            yield house
        finally:
            task.cancel()
            await asyncio.wait([task])
    assert asyncio.all_tasks() == before
