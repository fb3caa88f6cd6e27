"""Batches written by hand, produced to a real broker as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.conn import create_conn
from aiokafka.protocol.produce import ProduceRequest

if TYPE_CHECKING:
    from kafka_cluster import KafkaCluster

ANSWER_MS = 30_000


async def produced(kafka: KafkaCluster, topic: str, *batches: bytes, partition: int = 0) -> list[int]:
    """Have the leader append each batch; gives the offset at which each begins. One that is refused is a failure."""
    host, _, port = kafka.bootstrap.split(",")[0].rpartition(":")
    connection = await create_conn(host, int(port), request_timeout_ms=ANSWER_MS)
    offsets = []
    try:
        for batch in batches:
            answer = await connection.send(ProduceRequest(None, -1, ANSWER_MS, [(topic, [(partition, batch)])]))
            [(_, [(_, code, offset, *_)])] = answer.topics
            assert code == 0, f"the broker refused it with error {code}"
            offsets.append(offset)
    finally:
        await connection.close()
    return offsets
