"""What `tailrace check` looks at: can this configuration work, and what should an operator know before the start?

Asks what the service would ask and says what it finds in plain sentences; changes nothing. Knows `kafka` and the
settings, no reader and no transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from tailrace.config import Settings
from tailrace.consumer import Cluster
from tailrace.errors import KafkaTrouble
from tailrace.kafka import LATEST, Kafka, TopicIdentity
from tailrace.service import connection_of, verifier_of

OK, WARNING, ERROR = "ok", "warning", "error"
MANY_PARTITIONS = 300
"""Above it an event id comes near the 8 kB of header at which proxies stop."""


class Described(Cluster, Protocol):
    """Whom to ask: `Kafka`, or what tests put in its place."""

    async def cleanup_policy(self, topic: str) -> str | KafkaTrouble: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and how bad it is."""

    level: str
    text: str


async def findings(settings: Settings) -> list[Finding]:
    """Look at everything; one trouble does not hide the next.

    Raises:
        ConfigurationError: a key or file cannot be used at all.
    """
    verifier_of(settings)
    found = [Finding(OK, "the verification key can be used")]
    kafka = Kafka(connection_of(settings), settings.kafka_topics, isolation_level=settings.kafka_isolation_level)
    try:
        async for finding in kafka_findings(kafka):
            found.append(finding)  # noqa: PERF401  what was found before a trouble counts
    except KafkaTrouble as trouble:
        found.append(Finding(ERROR, str(trouble)))
    finally:
        await kafka.close()
    return found


async def kafka_findings(kafka: Described) -> AsyncIterator[Finding]:
    """Look at the cluster and its topics. Raises `KafkaTrouble` where no broker answers at all."""
    identity = await kafka.identity()
    yield Finding(OK, f"cluster {identity.cluster_id} answers, with {len(identity.brokers)} brokers")
    for topic in identity.topics.values():
        async for finding in _topic_findings(kafka, topic):
            yield finding
    partitions = sum(len(topic.leaders) for topic in identity.topics.values())
    if partitions > MANY_PARTITIONS:
        yield Finding(WARNING, f"{partitions} partitions make event ids of several kB; proxies stop at 8 kB of header")


async def _topic_findings(kafka: Described, topic: TopicIdentity) -> AsyncIterator[Finding]:
    if topic.trouble is not None:
        yield Finding(ERROR, str(topic.trouble))
        return
    if topic.id is None:
        text = f"topic {topic.name}: the brokers give no topic id (Kafka before 3.1); making it anew goes unnoticed"
        yield Finding(WARNING, text)
    for partition, leader in enumerate(topic.leaders):
        if leader is None:
            yield Finding(ERROR, f"partition {partition} of topic {topic.name} has no leader")
            continue
        trouble = await _reading_trouble(kafka, leader, (topic.name, partition))
        if trouble is not None:
            yield Finding(ERROR, str(trouble))
    yield await _policy_finding(kafka, topic.name)
    yield Finding(OK, f"topic {topic.name} has {len(topic.leaders)} partitions")


async def _policy_finding(kafka: Described, topic: str) -> Finding:
    try:
        policy = await kafka.cleanup_policy(topic)
    except KafkaTrouble as trouble:
        policy = trouble
    if isinstance(policy, KafkaTrouble):
        return Finding(WARNING, f"topic {topic}: its cleanup.policy cannot be seen: {policy}")
    if "compact" in policy:
        text = f"topic {topic} is compacted: Kafka itself removes older records of a key, so of a session"
        return Finding(WARNING, text)
    return Finding(OK, f"topic {topic} keeps what it was given until its retention ends")


async def _reading_trouble(kafka: Described, leader: int, place: tuple[str, int]) -> KafkaTrouble | None:
    """Ask where the partition ends, and for what lies there: that needs the rights of reading, and costs nothing."""
    try:
        end = (await kafka.offsets(leader, [place], LATEST)).get(place)
        if isinstance(end, KafkaTrouble):
            return end
        stretches = await kafka.fetch(leader, {place: end or 0}, {}, max_wait_ms=0, min_bytes=0, max_bytes=1024)
    except KafkaTrouble as trouble:  # its broker's; the other brokers are asked all the same
        return trouble
    return next((stretch.trouble for stretch in stretches if stretch.trouble is not None), None)
