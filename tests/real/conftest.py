"""Fixtures for the tests that need the real thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster

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
