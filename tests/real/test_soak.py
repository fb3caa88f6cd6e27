"""The soak finds what it looks for: leaks that are planted into a real service, each named as what it is."""

from __future__ import annotations

import re

import pytest

from kafka_cluster import KafkaCluster
from soak.planting import LEAKS, MANY
from soak.run import Plan, soak

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

SIGNS = {
    "memory": r"memory allocated at \S+soak/planting.py:\d+ grew by \d{3} KiB",
    "tasks": f"tasks in _waiting_for_nothing: 0 before, {MANY} after",
    "timers": f"timers: 1 before, {MANY + 1} after",
    "files": r"open /dev/null: \d+ before, \d+ after",
    "references": r"objects tailrace\.subscription\.\S+: 0 before, \d+ after",
    "readers": r"readers in the tail: 0 before, \d+ after",
}


def test_every_leak_is_named(kafka: KafkaCluster) -> None:
    """Bytes, tasks, timers, files, references and readers that stay are found, whatever else is there."""
    report = soak(Plan(seed=7, seconds=6, clients=24, tls=False, plant=tuple(LEAKS)), kafka)
    assert SIGNS.keys() == LEAKS.keys()
    complaints = "\n".join(report.complaints)
    assert [] == [leak for leak, sign in SIGNS.items() if not re.search(sign, complaints)]
