"""Everybody who speaks to one topic: producers of all kinds, each with a compression of its own.

When the topic is deleted they fall silent, and others speak to the new one: a producer that has known the old one would
make it again by mere asking, or number its records as if it were still the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Protocol

from crowd.history import History
from crowd.producing import Source
from torture.transactions import Transactions
from torture.worker import Worker

REFRESH_MS = 1000
"""How soon producers know of a partition that was added."""
ONCE: dict[str, Any] = {"enable_idempotence": False, "retries": 0}
"""Kafka has been seen to take an idempotent producer's batch twice, where it was killed before it had answered. Even so
librdkafka offers again what a broker does not take because it is not, or no longer, the leader."""
MAX_UNDER_WAY = 100
"""Nobody says more while nobody answers: the more is under way when a broker goes, the more is doubtful."""


class Voice(Protocol):
    """One of them. ``said`` counts records, ``failed`` those of which nobody knows what became of them."""

    said: int
    failed: int
    max_event_bytes: int

    def say(self, session: str, size: int = 0) -> None: ...
    @property
    def under_way(self) -> int: ...
    async def run(self) -> None: ...
    async def settled(self) -> None: ...
    async def close(self) -> None: ...


class Voices:
    """Those of one topic. ``epoch`` is the topic's present one; ``partitions`` it has when it is made."""

    def __init__(
        self,
        history: History,
        bootstrap: str,
        topic: str,
        partitions: int,
        rng: random.Random,
        compressions: Sequence[str],
        max_event_bytes: int,
    ) -> None:
        self._history = history
        self._bootstrap = bootstrap
        self._topic = topic
        self._rng = rng
        self._compressions = compressions
        self._max_event_bytes = max_event_bytes
        self._sources: list[Source] = []
        self._voices: list[Voice] = []
        self._leaving: list[Voice] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._said = 0
        self._failed = 0
        self.partitions = partitions
        self.epoch = ""

    @property
    def said(self) -> int:
        """How many records."""
        return self._said + sum(voice.said for voice in self._voices)

    @property
    def failed(self) -> int:
        """Of how many nobody knows what became of them."""
        return self._failed + sum(voice.failed for voice in self._voices)

    def speak(self, epoch: str) -> None:
        """Speak from now on to the topic of this epoch: one by librdkafka and one by aiokafka for each compression,
        and one in transactions."""
        self.epoch = epoch
        where = (self._history, self._bootstrap, self._topic, epoch)
        self._sources = [
            Source(*where, self._rng, compression_type=each, topic_metadata_refresh_interval_ms=REFRESH_MS, **ONCE)
            for each in self._compressions
        ]
        workers = [Worker(*where, each) for each in self._compressions]
        self._voices = [*self._sources, *workers, Transactions(*where, self._compressions[-1], self._rng)]
        for voice in self._voices:
            voice.max_event_bytes = self._max_event_bytes
        self._tasks = [asyncio.create_task(voice.run()) for voice in self._voices]

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, unless all are silent or wait for answers."""
        if free := [voice for voice in self._voices if voice.under_way < MAX_UNDER_WAY]:
            self._rng.choice(free).say(session, size)

    def say_wrongly(self, session: str) -> None:
        """Say something that cannot be delivered, unless all are silent."""
        if self._sources:
            self._rng.choice(self._sources).say_wrongly(session)

    def end(self, session: str) -> bool:
        """Say that the session has ended; False where all are silent."""
        if self._sources:
            self._rng.choice(self._sources).end(session)
        return bool(self._sources)

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        for voice in self._voices:
            await voice.settled()

    def unsettled(self) -> str:
        """Say who still waits, and for how much; and who has died."""
        voices = [*self._voices, *self._leaving]
        waiting = [f"{type(each).__name__} waits for {each.under_way}" for each in voices if each.under_way]
        dead = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception()]
        return ", ".join([*waiting, *(repr(task.exception()) for task in dead)]) or "nobody waits for anything"

    async def fall_silent(self) -> None:
        """Say nothing more, and wait until all that was said has settled."""
        voices, self._voices, self._sources = self._voices, [], []
        self._leaving = voices
        for voice in voices:
            await voice.settled()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for voice in voices:
            await voice.close()
        self._leaving = []
        self._said += sum(voice.said for voice in voices)
        self._failed += sum(voice.failed for voice in voices)


class Everybody:
    """Speaks to all topics alike. A `soak.traffic.Speaker`."""

    def __init__(self, voices: Sequence[Voices], rng: random.Random) -> None:
        self._voices = voices
        self._rng = rng

    def say(self, session: str, size: int = 0) -> None:
        self._rng.choice(self._voices).say(session, size)

    def say_wrongly(self, session: str) -> None:
        self._rng.choice(self._voices).say_wrongly(session)

    def end(self, session: str) -> bool:
        """Say that the session has ended; False where those who were chosen are silent."""
        return self._rng.choice(self._voices).end(session)
