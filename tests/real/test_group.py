"""The operator's group on a real Kafka: what its tools show of it, and what is not disturbed by it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import PASSWORD, USER, KafkaCluster, produce
from real.producing import fresh
from real.service import ServiceProcess
from tailrace.kafka import GroupCommits, KafkaConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.kafka


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("lag")
    kafka.create_topic(name, 2)
    return name


@contextlib.asynccontextmanager
async def committing(connection: KafkaConnection, group: str, ends: dict[tuple[str, int], int]) -> AsyncIterator[None]:
    """Commit ``ends`` ten times a second until the end of the block."""
    task = asyncio.create_task(GroupCommits(connection, group, lambda: ends, every_seconds=0.1).run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            pass


async def test_the_tools_show_where_reading_stands(kafka: KafkaCluster, topic: str) -> None:
    """The committed offsets are what was told, and follow it; the group has no member."""
    group, ends = fresh("group"), {(topic, 0): 0, (topic, 1): 0}
    async with committing(KafkaConnection(bootstrap_servers=kafka.bootstrap), group, ends):
        for count in (3, 5):
            produce(kafka.producer(), topic, 1, [b"x"] * count)
            ends[topic, 1] += count
            await until(lambda: kafka.committed(group, ends) == ends)
        assert kafka.members(group) == []
    assert {(topic, 0): 0, (topic, 1): 8} == kafka.committed(group, ends)


async def test_a_missing_right_is_said_once(kafka: KafkaCluster, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without Read on the group nothing is committed, one line says what to grant; once granted it goes on."""
    if not kafka.ours:
        pytest.fail("this test needs a listener with TLS and SASL, which TEST_KAFKA_BOOTSTRAP may not have: unset it")
    caplog.set_level(logging.INFO, "tailrace")
    kafka.allow(topic, "READ")
    group, ends = fresh("group"), {(topic, 0): 0}
    connection = KafkaConnection(
        bootstrap_servers=kafka.secure_bootstrap,
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username=USER,
        sasl_password=PASSWORD,
        ssl_ca_file=kafka.ca_file,
    )
    refused = f"offsets are not committed for the group {group}: grant this user Read on the group"
    again = f"offsets are committed again for the group {group}"
    async with committing(connection, group, ends):
        await until(lambda: bool(caplog.messages))
        assert kafka.committed(group, ends) == {}
        kafka.allow(group, "READ", kind="GROUP")
        await until(lambda: again in caplog.messages)
    assert ends == kafka.committed(group, ends)
    assert (refused, 1) == (caplog.messages[0], caplog.messages.count(refused))


async def test_the_service_tells_it(kafka: KafkaCluster, topic: str) -> None:
    """With a group in its settings the service commits where each partition ends for it, and joins nothing."""
    group, ends = fresh("group"), {(topic, 0): 2, (topic, 1): 7}
    for (_, partition), end in ends.items():
        produce(kafka.producer(), topic, partition, [b"x"] * end, key=b"s")
    with ServiceProcess(kafka.bootstrap, topic, kafka_group_id=group) as service:
        await until(lambda: kafka.committed(group, ends) == ends)
        assert kafka.members(group) == []
        assert service.status() == "ready"
