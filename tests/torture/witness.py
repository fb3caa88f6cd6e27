"""Somebody else who reads Kafka: where does it really have what a client lacks, or was given under another id?

Nowhere: then nobody has lost it. Twice: then Kafka took it twice from a producer that was not told that it had it; both
are given to everybody, and only one of them is where the producer thinks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from crowd.producing import saying
from kafka_cluster import ADMIN_SECONDS, QUIET

LOOK_SECONDS = 60.0
SHOWN_BYTES = 40
UNREADABLE = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION})
Said = tuple[str, int]
"""A session, and one of its numbers."""


def look(
    bootstrap: str, topic: str, wanted: Collection[Said], holes: Mapping[int, Sequence[int]]
) -> Mapping[Said, Sequence[str]]:
    """Give all places where a topic has what is wanted, and how it begins there. Blocks. ``holes`` are, by partition,
    the offsets behind batches that cannot be read.

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
                    if error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        _pass_over(consumer, message, holes)
                    continue
                value = message.value() or b""
                if (said := words.get(value[: value.find(b" ", value.find(b" ") + 1) + 1])) is not None:
                    place = f"offset {message.offset()} in partition {message.partition()}"
                    found[said].append(f"{place} ({value[:SHOWN_BYTES]!r})")
        return found
    finally:
        consumer.close()


def _pass_over(consumer: Consumer, failed: Message, holes: Mapping[int, Sequence[int]]) -> None:
    """Go on behind a batch that could not be read. Whatever else went wrong mends itself, or ends in a time-out."""
    error, topic, partition, offset = failed.error(), failed.topic(), failed.partition(), failed.offset()
    if error is None or error.code() not in UNREADABLE or topic is None or partition is None or offset is None:
        return
    if behind := [each for each in holes.get(partition, ()) if each > offset >= 0]:
        consumer.seek(TopicPartition(topic, partition, min(behind)))
