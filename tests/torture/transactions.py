"""A producer that says things in transactions: some it commits, some it takes back, and of some it forgets the end.

What was taken back may come to nobody. Of what was to be committed, and was answered by nothing, nobody knows.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from crowd.history import History, Kind
from crowd.producing import said
from kafka_cluster import QUIET

PAUSE_SECONDS = (0.2, 1.0)
"""What is said within this is one transaction."""
STEP_SECONDS = 10.0
"""How long each step may take before the producer gives up."""
COMMITS = 3
"""How often it asks for a commit that is not answered."""
SETTINGS: dict[str, Any] = {
    "delivery.timeout.ms": 8_000,
    "partitioner": "murmur2_random",
    "topic.metadata.refresh.interval.ms": 1000,
    "transaction.timeout.ms": 10_000,
}
ENDS = {"commit": 6, "abort": 3, "forget": 1}
_count = itertools.count()


class Outcome(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    TAKEN_BACK = "taken back"
    UNKNOWN = "unknown"


class Place(NamedTuple):
    """Where something came to lie."""

    partition: int
    offset: int
    at_ms: int


@dataclass(slots=True)
class Word:
    """Something that is said in a transaction."""

    session: str
    number: int
    value: bytes
    place: Place | None = field(default=None)


class Transactions:
    """Says things to sessions of one topic, whose epoch is known. A `torture.voices.Voice`."""

    def __init__(
        self, history: History, bootstrap: str, topic: str, epoch: str, compression: str, rng: random.Random
    ) -> None:
        self._history = history
        self._topic = topic
        self._epoch = epoch
        self._rng = rng
        name = f"{topic}-{next(_count)}"
        self._settings = {
            "bootstrap.servers": bootstrap,
            "transactional.id": name,
            "compression.type": compression,
            **SETTINGS,
            **QUIET,
        }
        self._producer: Producer | None = None
        self._words: list[Word] = []
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.max_event_bytes = 2**20
        self.said = 0
        self.failed = 0

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, in ``size`` more bytes, in the next transaction."""
        number = self._history.sending(session)
        self._words.append(Word(session, number, said(session, number, size, "transaction")))
        self._quiet.clear()
        self.said += 1

    @property
    def under_way(self) -> int:
        """Of how much it is not known yet what became of it; 1 for a transaction of which nobody knows the end."""
        return len(self._words) or int(not self._quiet.is_set())

    async def run(self) -> None:
        """Make transactions of what there is to say, until cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(*PAUSE_SECONDS))
            words, self._words = self._words, []
            if words:
                [end] = self._rng.choices(list(ENDS), list(ENDS.values()))
                self._tell(words, await asyncio.to_thread(self._transact, words, end))
            if not self._words:
                self._quiet.set()

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Speak no more."""
        if self._producer is not None:
            await asyncio.to_thread(self._producer.close)

    def _tell(self, words: list[Word], outcome: Outcome) -> None:
        for word in words:
            if outcome is Outcome.TAKEN_BACK:
                self._history.taken_back(word.session, word.number)
            elif word.place is None or outcome is Outcome.UNKNOWN:
                self.failed += 1
                self._history.doubtful(word.session, word.number)
            else:
                kind = Kind.EVENT if len(word.value) <= self.max_event_bytes else Kind.SKIPPED
                partition, offset, at_ms = word.place
                log = (self._epoch, partition)
                self._history.acknowledged(log, offset, word.session, word.number, kind, at_ms)

    # In a thread of its own.

    def _transact(self, words: list[Word], end: str) -> Outcome:
        """Do all of it. Until a commit was asked for, whatever goes wrong takes everything back."""
        try:
            producer = self._producer = self._producer or self._new()
            producer.begin_transaction()
            for word in words:
                producer.produce(
                    self._topic, word.value, key=word.session.encode(), on_delivery=partial(self._delivered, word)
                )
            producer.flush(STEP_SECONDS)
            if end == "abort":
                producer.abort_transaction(STEP_SECONDS)
            elif end == "forget":
                self._producer = None  # the next one fences it, whose transaction Kafka then aborts
        except (KafkaException, BufferError):
            self._producer = None
            return Outcome.TAKEN_BACK
        return self._commit(producer) if end == "commit" else Outcome.TAKEN_BACK

    def _commit(self, producer: Producer) -> Outcome:
        for _ in range(COMMITS):
            try:
                producer.commit_transaction(STEP_SECONDS)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.retriable():
                    continue
                self._producer = None
                return Outcome.TAKEN_BACK if error.txn_requires_abort() else Outcome.UNKNOWN
            else:
                return Outcome.COMMITTED
        self._producer = None
        return Outcome.UNKNOWN

    def _new(self) -> Producer:
        producer = Producer(self._settings)
        producer.init_transactions(STEP_SECONDS)
        return producer

    def _delivered(self, word: Word, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is None and partition is not None and offset is not None:
            word.place = Place(partition, offset, message.timestamp()[1])
