"""Whether Kafka keeps all that it was given: the ``continuity`` that `tailrace.ready` tells.

On a compacted topic Kafka may remove records of a session before anybody has read them. So each topic's
``cleanup.policy`` is asked for when the topic is met, and again now and then, beside the reading and never before it.
Knows no reader and no offset. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from tailrace.errors import KafkaTrouble
from tailrace.kafka import BrokerError, NotAuthorized, UnknownTopic
from tailrace.position import NO_TOPIC
from tailrace.tail import Tail

logger = logging.getLogger(__name__)

ASK_SECONDS = 60.0
"""How often a topic is asked about again: an operator may change its policy."""
RETRY_SECONDS = 5.0
"""The same after trouble that may pass."""

COMPLETE, COMPACTED = "complete", "compacted"


class Policies(Protocol):
    """Who knows a topic's configuration: `Kafka.cleanup_policy`."""

    async def cleanup_policy(self, topic: str) -> str | KafkaTrouble: ...


class Continuity:
    """What is known of the topics' policies. One that cannot be seen leaves things as they were."""

    def __init__(self, kafka: Policies, tail: Tail) -> None:
        self._kafka = kafka
        self._tail = tail
        self._epochs: tuple[str, ...] = ()
        self._compacted: set[str] = set()
        self._tried: set[str] = set()
        self._complained: set[str] = set()
        self._met = asyncio.Event()

    @property
    def word(self) -> str:
        """`COMPACTED` where one of the topics is, as far as is known; otherwise `COMPLETE`."""
        return COMPACTED if self._compacted else COMPLETE

    @property
    def waiting(self) -> list[str]:
        """Topics that have not been asked about at all: a sentence each."""
        untried = [name for name in self._existing() if name not in self._tried]
        return [f"the cleanup.policy of topic {name} has not been asked for yet" for name in untried]

    def look(self) -> None:
        """Ask now where a topic is new, or was made again. Call it after each identity."""
        if self._tail.epochs != self._epochs:
            self._met.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._met.clear()
            self._epochs = self._tail.epochs
            answered = [await self._ask(name) for name in self._existing()]
            try:
                async with asyncio.timeout(ASK_SECONDS if all(answered) else RETRY_SECONDS):
                    await self._met.wait()
            except TimeoutError:
                pass

    def _existing(self) -> list[str]:
        epochs = self._tail.epochs
        return [name for name, epoch in zip(self._tail.topics, epochs, strict=True) if epoch != NO_TOPIC]

    async def _ask(self, topic: str) -> bool:
        """Ask about one topic; gives whether there is no hope for more by asking soon again."""
        try:
            policy = await self._kafka.cleanup_policy(topic)
        except KafkaTrouble as trouble:
            policy = trouble  # of the broker, which is told elsewhere, or it is too simple to have policies
        else:
            self._take(topic, policy)
        self._tried.add(topic)
        return isinstance(policy, str | NotAuthorized | BrokerError)

    def _take(self, topic: str, policy: str | KafkaTrouble) -> None:
        if isinstance(policy, KafkaTrouble):
            going = isinstance(policy, UnknownTopic)  # the next identity says so
            if topic not in self._complained and not going:
                self._complained.add(topic)
                logger.warning("cannot see whether topic %s is compacted, and say that it is not: %s", topic, policy)
            return
        self._complained.discard(topic)
        if "compact" in policy:
            self._compacted.add(topic)
        else:
            self._compacted.discard(topic)
