"""Fixtures for the tests that need the real thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster
from real.producing import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """One real broker for the whole session; a test that kills it starts it again."""
    cluster = KafkaCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def mortal(kafka: KafkaCluster) -> Iterator[KafkaCluster]:
    """The broker, where a test may kill it; runs again afterwards whatever became of it."""
    if not kafka.ours:
        pytest.fail("TEST_KAFKA_BOOTSTRAP names a broker that this test may not kill: unset it")
    yield kafka
    if not kafka.answers():
        kafka.start()


@pytest.fixture
def ours(kafka: KafkaCluster) -> KafkaCluster:
    """The broker, where a test may look into its files and stop it."""
    if not kafka.ours:
        pytest.fail("TEST_KAFKA_BOOTSTRAP names a broker whose log this test may not damage: unset it")
    return kafka


@pytest.fixture
def session() -> str:
    """A session of the test's own, with a slash in it."""
    return fresh("chat/ada")
