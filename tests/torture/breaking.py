"""What is done to Kafka, having been told to the history first. Everything here blocks, but for what needs the voices.

The broker is up before and after each fault, so that whatever needs one to answer finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from crowd.history import History
from crowd.producing import epoch_at
from kafka_cluster import KafkaCluster
from kafka_logs import Batch, batches, closed
from torture.schedule import Fault
from torture.voices import Voices

MAX_PARTITIONS = 8
"""Ids name each of them: more would only make them longer."""
FILES: Mapping[str, str] = {"segment_ms": "3000"}
"""How topics are configured: with files that are soon closed."""


class Breaking:
    """Does to one broker what the schedule says; ``voices`` are those who speak to it, by topic. ``look`` is the last
    chance to look into a topic that is about to be deleted."""

    def __init__(
        self,
        kafka: KafkaCluster,
        history: History,
        voices: Mapping[str, Voices],
        look: Callable[[], Awaitable[object]],
    ) -> None:
        self._kafka = kafka
        self._history = history
        self._voices = voices
        self._look = look
        self._topics = list(voices)
        self._partitions = {topic: each.partitions for topic, each in voices.items()}
        self._faults: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "freeze": self._freeze,
            "move": self._move,
            "delete records": self._delete_records,
            "add a partition": self._add_a_partition,
            "make a topic again": self._make_again,
            "damage a batch": self._damage_a_batch,
        }

    async def suffer(self, fault: Fault) -> None:
        """Do what the fault says; returns when the broker answers again."""
        await self._faults[fault.what](fault)

    # The broker goes, and comes back.

    async def _kill(self, fault: Fault) -> None:
        await asyncio.to_thread(self._kafka.kill)
        await self._back_after(fault)

    async def _stop(self, fault: Fault) -> None:
        await asyncio.to_thread(self._kafka.stop)
        await self._back_after(fault)

    async def _move(self, fault: Fault) -> None:
        await asyncio.to_thread(self._kafka.kill)
        self._kafka.move()
        await self._back_after(fault)

    async def _back_after(self, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._kafka.start)
        await self._until_led()

    async def _until_led(self) -> None:
        for topic, partitions in self._partitions.items():
            await asyncio.to_thread(self._kafka.wait_for_leaders, topic, partitions)

    async def _freeze(self, fault: Fault) -> None:
        self._kafka.freeze()
        await asyncio.sleep(fault.seconds)
        self._kafka.thaw()
        await self._until_led()

    # The logs.

    def _topic(self, fault: Fault) -> str:
        return self._topics[int(fault.share * len(self._topics))]

    def _log(self, fault: Fault) -> tuple[str, int, float]:
        """Give topic and partition of the log that it is done to, and the share that is then left open."""
        topic = self._topic(fault)
        share = fault.share * len(self._topics) % 1 * self._partitions[topic]
        return topic, int(share), share % 1

    async def _delete_records(self, fault: Fault) -> None:
        """Delete from the beginning of one log: from a little to all, so that it overtakes whoever is away."""
        topic, partition, share = self._log(fault)
        log = (self._voices[topic].epoch, partition)
        start, end = await asyncio.to_thread(self._kafka.bounds, topic, partition)
        before = start + round(share * (end - start))
        self._history.shortened(log, before, "retention")
        await asyncio.to_thread(self._kafka.delete_records, topic, partition, before)

    async def _damage_a_batch(self, fault: Fault) -> None:
        """Let a batch be unreadable for whoever has to ask for it; none, where no file of the log is closed yet.

        A marker that says how a transaction ended is left alone: without it nobody can tell what was taken back.
        """
        topic, partition, share = self._log(fault)
        with contextlib.suppress(FileNotFoundError):  # retention has just taken it
            found = await asyncio.to_thread(self._plain_batches, topic, partition)
            if found:
                batch = found[int(share * len(found))]
                self._history.damaged((self._voices[topic].epoch, partition), batch.first, batch.next)
                await asyncio.to_thread(batch.damage)

    def _plain_batches(self, topic: str, partition: int) -> list[Batch]:
        segments = closed(self._kafka.files(topic, partition))
        return [batch for segment in segments for batch in batches(segment) if not batch.transactional]

    async def _add_a_partition(self, fault: Fault) -> None:
        topic = self._topic(fault)
        if self._partitions[topic] < MAX_PARTITIONS:
            self._partitions[topic] += 1
            await asyncio.to_thread(self._kafka.create_partitions, topic, self._partitions[topic])

    async def _make_again(self, fault: Fault) -> None:
        """Delete a topic, to which nothing is under way, and make it again; nobody speaks to it meanwhile."""
        topic, kafka = self._topic(fault), self._kafka
        voices = self._voices[topic]
        await voices.fall_silent()
        await self._look()
        self._history.remade(voices.epoch)
        await asyncio.to_thread(kafka.delete_topic, topic)
        await asyncio.sleep(fault.seconds)
        self._partitions[topic] = voices.partitions
        await asyncio.to_thread(partial(kafka.create_topic, topic, voices.partitions, **FILES))
        voices.speak(await asyncio.to_thread(epoch_at, kafka.bootstrap, topic))
