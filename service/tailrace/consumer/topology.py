"""Which topics and partitions there are, in which incarnation, and who leads them.

Takes what `Kafka.identity` says and moves the tail along; only ever forward: a topic id that was left is never believed
again, and a partition count never shrinks under one id, because some broker's metadata is always a little stale. Does
no I/O. Lives as long as the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tailrace.kafka import Identity, TopicIdentity, UnknownTopic
from tailrace.position import epoch_of
from tailrace.tail import Tail

BELIEVED_AT = 2
"""So many answers in a row must say that a topic does not exist: a broker that has just started may not know better."""


@dataclass(slots=True)
class _Topic:
    number: int
    trouble: str
    epoch: str | None = None
    id: str | None = None
    left: frozenset[str] = frozenset()
    leaders: tuple[int | None, ...] = ()
    absences: int = 0
    """Answers in a row that say it does not exist."""
    met: bool = False
    """Whether the cluster has told of it, or that it does not exist: what comes after that is new."""


class Topology:
    """The present shape of the configured topics."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._topics = {
            name: _Topic(number, f"topic {name} is not known yet") for number, name in enumerate(tail.topics)
        }
        self._led: Mapping[int, dict[tuple[str, int], int]] = {}
        self.ids: Mapping[str, str] = {}
        """Of the topics' present incarnations, those that the brokers tell; as old as the tail's epochs."""
        self.known = False
        """Whether the cluster has answered once."""

    def take_up(self, identity: Identity) -> list[tuple[str, int]]:
        """Learn what ``identity`` says; give the partitions, (topic, partition), whose end has to be asked for.

        Those are the ones that existed before this service did. What is added later is read from its beginning.
        """
        found = []
        for name, said in identity.topics.items():
            topic = self._topics[name]
            topic.absences = topic.absences + 1 if isinstance(said.trouble, UnknownTopic) else 0
            if said.trouble is not None:
                topic.trouble, topic.leaders = str(said.trouble), ()
                topic.met = topic.met or topic.absences >= BELIEVED_AT
            elif self._is_forward(topic, epoch := epoch_of(identity.cluster_id, name, said.id), said):
                topic.trouble, topic.leaders, topic.id = "", said.leaders, said.id
                if not topic.met:
                    found += [(name, partition) for partition in range(len(said.leaders))]
                    topic.met = True
                self._tail.learn(topic.number, epoch, len(said.leaders))
        self.known = True
        self._led = self._by_leader()
        self.ids = {name: topic.id for name, topic in self._topics.items() if topic.id is not None}
        return found

    def _by_leader(self) -> Mapping[int, dict[tuple[str, int], int]]:
        led: dict[int, dict[tuple[str, int], int]] = {}
        for name, topic in self._topics.items():
            for partition, leader in enumerate(topic.leaders):
                if leader is not None:
                    led.setdefault(leader, {})[name, partition] = topic.number
        return led

    def _is_forward(self, topic: _Topic, epoch: str, said: TopicIdentity) -> bool:
        if epoch in topic.left:
            return False
        if topic.epoch not in {None, epoch}:
            topic.left |= {topic.epoch or ""}
        elif len(said.leaders) < self._tail.partitions(topic.number):
            return False
        topic.epoch = epoch
        return True

    def led_by(self, node: int) -> Mapping[tuple[str, int], int]:
        """Return the partitions that ``node`` leads, each with its topic's place in a position."""
        return self._led.get(node, {})

    def is_led(self, place: tuple[str, int]) -> bool:
        """Whether the partition exists and has a leader."""
        leaders = self._topics[place[0]].leaders
        return place[1] < len(leaders) and leaders[place[1]] is not None

    def is_gone(self, name: str) -> bool:
        """Whether the topic does not exist now: it is waited for, but nothing waits for what it held."""
        return self._topics[name].absences >= BELIEVED_AT

    def is_told(self, name: str) -> bool:
        """Whether the last answer told the topic's partitions, or so many in a row that it does not exist."""
        return not self._topics[name].trouble or self.is_gone(name)

    @property
    def unmet(self) -> list[str]:
        """Topics of which it is not known yet whether they exist: a sentence each."""
        return [topic.trouble for topic in self._topics.values() if not topic.met]

    @property
    def leaders(self) -> set[int]:
        """All nodes that lead a partition of ours."""
        return set(self._led)

    def number(self, name: str) -> int:
        """Return the topic's place in a position."""
        return self._topics[name].number

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong: a sentence by topic, or by topic and partition."""
        found = {name: topic.trouble for name, topic in self._topics.items() if topic.trouble}
        for name, topic in self._topics.items():
            for partition, leader in enumerate(topic.leaders):
                if leader is None:
                    found[f"{name}/{partition}"] = f"partition {partition} of topic {name} has no leader"
        return found
