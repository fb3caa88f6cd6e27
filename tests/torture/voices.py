"""Everybody who speaks to one topic: producers of all kinds, each with a compression of its own.

When the topic is deleted they fall silent, and others speak to the new one: a producer that has known the old one would
make it again by mere asking, or number its records as if it were still the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from crowd.history import History
from crowd.producing import Source

REFRESH_MS = 1000
"""How soon producers know of a partition that was added."""


class Voice(Protocol):
    """One of them."""

    said: int

    def say(self, session: str, size: int = 0) -> None: ...
    async def run(self) -> None: ...
    async def settled(self) -> None: ...
    def close(self) -> None: ...


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
    ) -> None:
        self._history = history
        self._bootstrap = bootstrap
        self._topic = topic
        self._rng = rng
        self._compressions = compressions
        self._sources: list[Source] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._said = 0
        self.partitions = partitions
        self.epoch = ""

    @property
    def said(self) -> int:
        """How many records."""
        return self._said + sum(source.said for source in self._sources)

    def speak(self, epoch: str) -> None:
        """Speak from now on to the topic of this epoch."""
        self.epoch = epoch
        arguments = (self._history, self._bootstrap, self._topic, epoch, self._rng)
        more: Mapping[str, object] = {"topic_metadata_refresh_interval_ms": REFRESH_MS}
        self._sources = [Source(*arguments, compression_type=each, **more) for each in self._compressions]
        self._tasks = [asyncio.create_task(source.run()) for source in self._sources]

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, unless all are silent."""
        if self._sources:
            self._rng.choice(self._sources).say(session, size)

    def say_wrongly(self, session: str) -> None:
        """Say something that cannot be delivered, unless all are silent."""
        if self._sources:
            self._rng.choice(self._sources).say_wrongly(session)

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        for source in self._sources:
            await source.settled()

    async def fall_silent(self) -> None:
        """Say nothing more, and wait until all that was said has settled."""
        sources, self._sources = self._sources, []
        for source in sources:
            await source.settled()
        for task in self._tasks:
            task.cancel()
        for source in sources:
            await asyncio.to_thread(source.close)
        self._said += sum(source.said for source in sources)


class Everybody:
    """Speaks to all topics alike. A `soak.traffic.Speaker`."""

    def __init__(self, voices: Sequence[Voices], rng: random.Random) -> None:
        self._voices = voices
        self._rng = rng

    def say(self, session: str, size: int = 0) -> None:
        self._rng.choice(self._voices).say(session, size)

    def say_wrongly(self, session: str) -> None:
        self._rng.choice(self._voices).say_wrongly(session)
