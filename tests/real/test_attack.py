"""The attacks' processes work together: a small attack on a real service is sent, counted and felt."""

from __future__ import annotations

import pytest

from attack.run import Options, run
from kafka_cluster import KafkaCluster

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def test_a_small_attack(kafka: KafkaCluster) -> None:
    """Two connections send all that they should; the victim misses nothing; a newcomer is admitted before and after."""
    found = run("untaken-http1", kafka, Options(times=0.05, seconds=1.0, addresses=1, service=None))
    assert (2, 1780) == (found.sent.connections, found.sent.requests)
    assert (False, 0, 0) == (found.died, found.lost, found.repeated)
    assert min(found.newcomers_before.admitted, found.newcomers.admitted, found.livez.count, found.during.count) > 0
