"""Somebody else who reads Kafka: is what a client lacks really there? Then the service has lost it; else nobody has.

Without that a producer that takes something for written, and is wrong, would look like a service that loses.
"""

from __future__ import annotations

import time

from confluent_kafka import Consumer, TopicPartition

from kafka_cluster import QUIET

LOOK_SECONDS = 10.0
SHOWN_BYTES = 40


def look(bootstrap: str, topic: str, partition: int, offset: int) -> str:
    """Say what librdkafka's consumer is given at an offset, if it reads only what is committed. Blocks."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "witness",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            **QUIET,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, offset)])
        give_up = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < give_up:
            if (message := consumer.poll(0.5)) is None:
                continue
            if message.error() is not None or message.offset() != offset:
                return f"Kafka does not give it: next comes {message.error() or f'offset {message.offset()}'}"
            value = message.value() or b""
            return f"Kafka gives it: {message.key()!r}, {value[:SHOWN_BYTES]!r}, {len(value)} bytes"
        return "Kafka does not answer"
    finally:
        consumer.close()
