"""Who looks into Kafka for what clients lacked: all places where it is, also beyond what cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crowd.producing import said
from kafka_cluster import KafkaCluster, produce
from kafka_logs import batches
from real.producing import fresh
from torture.witness import look

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.kafka

SESSION = "room/1"


def say(kafka: KafkaCluster, topic: str, numbers: Sequence[int], compression: str = "none") -> None:
    """Say numbers, each in a batch of its own."""
    producer = kafka.producer(batch_num_messages=1, compression_type=compression)
    produce(producer, topic, 0, [said(SESSION, number, 500) for number in numbers], key=SESSION)


def places(kafka: KafkaCluster, topic: str, holes: Sequence[int]) -> dict[int, list[str]]:
    """Give the offsets at which each number is."""
    found = look(kafka.bootstrap, topic, [(SESSION, number) for number in range(10)], {0: holes})
    return {number: [place.split(" ")[1] for place in found[session, number]] for session, number in found}


def test_all_places(kafka: KafkaCluster) -> None:
    """What Kafka has twice is found twice, and what it does not have nowhere."""
    topic = fresh("witness")
    kafka.create_topic(topic)
    say(kafka, topic, [0, 1, 2, 1])
    assert {0: ["0"], 1: ["1", "3"], 2: ["2"]} == places(kafka, topic, [])


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])
def test_beyond_what_cannot_be_read(ours: KafkaCluster, compression: str) -> None:
    """Batches that are damaged, one behind the other and one at the end, hide nothing but themselves."""
    topic = fresh("witness")
    ours.create_topic(topic)
    say(ours, topic, range(8), compression)
    for number in (2, 3, 5, 7):
        list(batches(ours.segment(topic, 0)))[number].damage()
    assert {number: [str(number)] for number in (0, 1, 4, 6)} == places(ours, topic, [3, 4, 6, 8])
