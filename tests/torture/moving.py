"""What is done to three brokers: they go, one at a time, and leaders move.

A broker goes only when all replicas of everything are in step again, so that Kafka itself loses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from kafka_nodes import KafkaNodes
from torture.schedule import Fault

IN_STEP_SECONDS = 120.0
POLL_SECONDS = 0.5


class Moving:
    """Does to three brokers what the schedule says."""

    def __init__(self, kafka: KafkaNodes, topics: Sequence[str]) -> None:
        self._kafka = kafka
        self._topics = topics
        self._ends: Mapping[str, Callable[[int], None]] = {
            "kill a leader": kafka.kill,
            "stop a leader": kafka.stop,
        }

    async def suffer(self, fault: Fault) -> None:
        """Do what the fault says to whoever leads a partition; returns when all replicas are in step again.

        Raises:
            TimeoutError: they did not get there.
        """
        topic = self._topics[int(fault.share * len(self._topics))]
        leaders = await asyncio.to_thread(self._kafka.leaders, topic)
        node = leaders[int(fault.share * len(self._topics) % 1 * len(leaders))]
        if fault.what in self._ends:
            await asyncio.to_thread(self._ends[fault.what], node)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._kafka.start, node)
        else:
            self._kafka.freeze(node)
            await asyncio.sleep(fault.seconds)
            self._kafka.thaw(node)
        await asyncio.to_thread(self._until_in_step)

    def _until_in_step(self) -> None:
        give_up = time.monotonic() + IN_STEP_SECONDS
        while not all(map(self._kafka.in_sync, self._topics)):
            if time.monotonic() > give_up:
                raise TimeoutError("the brokers are not in step again")
            time.sleep(POLL_SECONDS)
