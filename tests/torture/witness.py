"""Somebody else who reads Kafka: where does it really have what a client lacks, or was given under another id?

Nowhere: then nobody has lost it. Twice: then Kafka took it twice from a producer that was not told that it had it; both
are given to everybody, and only one of them is where the producer thinks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from crowd.producing import saying
from kafka_cluster import ADMIN_SECONDS, QUIET

LOOK_SECONDS = 60.0
SHOWN_BYTES = 40
Said = tuple[str, int]
"""A session, and one of its numbers."""


def look(bootstrap: str, topic: str, wanted: Collection[Said]) -> Mapping[Said, Sequence[str]]:
    """Give all places where a topic has what is wanted, and how it begins there. Blocks.

    Raises:
        TimeoutError: Kafka gave not all of the topic in time, or nothing.
    """
    words = {saying(*each): each for each in wanted}
    found: dict[Said, list[str]] = defaultdict(list)
    settings = {"group.id": "witness", "enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": bootstrap, "enable.partition.eof": True, **settings, **QUIET})
    try:
        partitions = consumer.list_topics(topic, timeout=ADMIN_SECONDS).topics[topic].partitions
        if not partitions:
            raise TimeoutError(f"topic {topic} is not there")
        consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
        ended, give_up = set[int | None](), time.monotonic() + LOOK_SECONDS
        while len(ended) < len(partitions):
            if time.monotonic() > give_up:
                raise TimeoutError(f"topic {topic} could not be read to its end")
            for message in consumer.consume(1000, 0.5):
                if (error := message.error()) is not None:
                    ended |= {message.partition()} if error.code() == KafkaError._PARTITION_EOF else set()
                    continue
                value = message.value() or b""
                if (said := words.get(value[: value.find(b" ", value.find(b" ") + 1) + 1])) is not None:
                    place = f"offset {message.offset()} in partition {message.partition()}"
                    found[said].append(f"{place} ({value[:SHOWN_BYTES]!r})")
        return found
    finally:
        consumer.close()
