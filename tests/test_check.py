"""What `tailrace check` finds, and in which words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asgi import SECRET
from fake_kafka import FakeKafka, Log, Place
from tailrace import check
from tailrace.check import ERROR, MANY_PARTITIONS, OK, WARNING, Finding
from tailrace.config import load
from tailrace.dev import EmbeddedBroker
from tailrace.errors import ConfigurationError, KafkaTrouble
from tailrace.kafka import BrokerUnavailable, NotAuthorized, UnknownTopic

FIRST, SECOND = ("t", 0), ("t", 1)


class Described(FakeKafka):
    """A cluster that also tells a topic's policy."""

    policy: str | KafkaTrouble = "delete"

    async def cleanup_policy(self, topic: str) -> str | KafkaTrouble:
        await asyncio.sleep(0)
        assert topic in self.ids
        return self.policy


async def found(kafka: Described, *levels: str) -> list[str]:
    """Give the sentences of these levels."""
    return [each.text async for each in check.kafka_findings(kafka) if each.level in levels]


def settings(**variables: str) -> dict[str, str]:
    given = {"KAFKA_TOPICS": "t", "JWT_SECRET": SECRET, **variables}
    return {f"TAILRACE_{name}": value for name, value in given.items()}


async def test_a_cluster_that_is_all_right() -> None:
    """Everything that was looked at is said."""
    expected = [
        Finding(OK, "cluster cluster answers, with 2 brokers"),
        Finding(OK, "topic t keeps what it was given until its retention ends"),
        Finding(OK, "topic t has 2 partitions"),
    ]
    assert expected == [each async for each in check.kafka_findings(Described(t=2))]


async def test_looking_costs_nothing() -> None:
    """What lies at the end is fetched, which needs the right to read, and no record."""
    kafka = Described(t=1)
    kafka.produce(FIRST, b"v")
    await found(kafka)
    assert ([{FIRST: 1}], [(0, 0)]) == (kafka.fetches, kafka.waits)


async def test_a_topic_that_is_missing_does_not_hide_the_next() -> None:
    """Each gets its sentence."""
    kafka = Described(a=1, b=1)
    kafka.topic_troubles["a"] = UnknownTopic("a")
    assert ["topic a does not exist"] == await found(kafka, ERROR)
    assert "topic b has 1 partitions" in await found(kafka, OK)


@pytest.mark.parametrize("where", ["troubles", "end_troubles"])
async def test_a_right_that_is_missing_is_named_by_partition(where: str) -> None:
    """Whether the end may not be asked for, or what lies there may not be read."""
    kafka = Described(t=2)
    getattr(kafka.logs[FIRST], where).append(NotAuthorized(*FIRST))
    assert [str(NotAuthorized(*FIRST))] == await found(kafka, ERROR)


async def test_a_partition_without_a_leader_is_named() -> None:
    """The others are looked at all the same."""
    kafka = Described(t=2)
    kafka.logs[FIRST].leader = None
    assert ["partition 0 of topic t has no leader"] == await found(kafka, ERROR)
    assert [{SECOND: 0}] == kafka.fetches


async def test_a_broker_that_is_down_does_not_hide_the_next() -> None:
    """Its partition is in trouble, and the other broker's is looked at."""
    kafka = Described(t=2)
    kafka.logs[SECOND].leader = 2
    kafka.down.add(1)
    assert [str(BrokerUnavailable("node 1", "it is down"))] == await found(kafka, ERROR)
    assert [{SECOND: 0}] == kafka.fetches


async def test_a_broker_too_old_for_topic_ids_is_a_warning() -> None:
    """It works; what is not noticed is said."""
    kafka = Described(t=1)
    kafka.ids["t"] = None
    (text,) = await found(kafka, WARNING)
    assert text.startswith("topic t: the brokers give no topic id")


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_a_compacted_topic_is_a_warning(policy: str) -> None:
    """Kafka itself removes what a client may want."""
    kafka = Described(t=1)
    kafka.policy = policy
    (text,) = await found(kafka, WARNING)
    assert text.startswith("topic t is compacted")


async def test_a_policy_that_may_not_be_seen_is_a_warning() -> None:
    """The service does not need that right."""
    kafka = Described(t=1)
    kafka.policy = NotAuthorized("t")
    assert [f"topic t: its cleanup.policy cannot be seen: {kafka.policy}"] == await found(kafka, WARNING)


async def test_a_policy_that_nobody_answers_is_a_warning() -> None:
    """As is one that no broker tells."""

    class Silent(Described):
        async def cleanup_policy(self, topic: str) -> str | KafkaTrouble:
            raise BrokerUnavailable(topic, "silent")

    assert 1 == len(await found(Silent(t=1), WARNING))


async def test_many_partitions_are_a_warning() -> None:
    """Ids become long, and proxies stop at 8 kB of header."""
    kafka = Described(t=1)
    places: list[Place] = [("t", partition) for partition in range(MANY_PARTITIONS + 1)]
    kafka.logs = {place: Log() for place in places}
    (text,) = await found(kafka, WARNING)
    assert text.startswith(f"{MANY_PARTITIONS + 1} partitions")


async def test_a_cluster_that_does_not_answer_is_an_error_beside_what_is_right() -> None:
    """Nobody listens on port 1: the key's finding stays."""
    environ = settings(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    first, last = await check.findings(load(environ, Path("/dev/null")))
    assert Finding(OK, "the verification key can be used") == first
    assert (ERROR, True) == (last.level, last.text.startswith("the broker 127.0.0.1:1 cannot be reached"))


async def test_a_key_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    """Nothing could be verified: there is no point in looking further."""
    file = tmp_path / "key.pem"
    file.write_text("no key")
    environ = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_PUBLIC_KEY_FILE": str(file)}
    with pytest.raises(ConfigurationError):
        await check.findings(load(environ, Path("/dev/null")))


async def test_a_real_client_is_asked_and_closed() -> None:
    """Over the embedded broker, which leaves no task behind."""
    before = asyncio.all_tasks()
    with EmbeddedBroker() as broker:
        broker.create_topic("t", 3)
        environ = settings(KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap)
        findings = await check.findings(load(environ, Path("/dev/null")))
    assert Finding(OK, "topic t has 3 partitions") in findings
    assert (before, []) == (asyncio.all_tasks(), [each for each in findings if each.level == ERROR])
