"""The real process tells Prometheus what really happened to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from confluent_kafka import Producer

from real.service import ServiceProcess
from real.transports import Ask, sse, websocket
from tailrace.dev import EmbeddedBroker
from tailrace.metrics import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

TOPIC = "t"


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker with the topic, in two partitions."""
    with EmbeddedBroker() as embedded:
        embedded.create_topic(TOPIC, 2)
        yield embedded


@pytest.fixture
def service(broker: EmbeddedBroker) -> Iterator[ServiceProcess]:
    """A service of which nobody has asked anything yet."""
    with ServiceProcess(broker.bootstrap, TOPIC) as process:
        yield process


def scrape(service: ServiceProcess) -> dict[str, float]:
    """Give every sample by its name and labels."""
    answer = httpx.get(f"{service.admin_url}/metrics", trust_env=False)
    assert (200, True) == (answer.status_code, answer.headers["content-type"].startswith("text/plain; version="))
    samples = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in samples}


def produce(broker: EmbeddedBroker, session: str | None, *values: str) -> None:
    """Produce to a session and wait until the broker has it."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce(TOPIC, value, key=session)
    assert producer.flush(30) == 0


def test_every_metric_is_told(service: ServiceProcess) -> None:
    """The whole table, once both partitions have answered, and nothing else under our prefix."""
    service.wait_until(lambda: 2 == sum(name.startswith("tailrace_kafka_lag_records") for name in scrape(service)))
    names = {name.partition("{")[0] for name in scrape(service) if name.startswith("tailrace_")}
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    assert names == {each.name + suffix for each in TABLE for suffix in suffixes.get(each.kind, ("",))}


async def test_what_happened_is_what_is_told(broker: EmbeddedBroker, service: ServiceProcess) -> None:
    """Two clients, three events, one record without a session, one refusal, and everybody leaves."""
    ask = Ask("s", service.token("s"))
    async with sse(service, ask) as first, websocket(service, ask) as second:
        assert {(await each.next()).name for each in (first, second)} == {"tailrace.ready"}
        open_now = scrape(service)
        await asyncio.to_thread(produce, broker, "s", "one", "two", "three")
        await asyncio.to_thread(produce, broker, None, "to nobody")
        for each in (first, second):
            assert ["one", "two", "three"] == [(await each.next()).data for _ in range(3)]
        service.wait_until(lambda: scrape(service)["tailrace_kafka_records_total"] >= 4)
    async with sse(service, Ask("s", "nonsense")) as refused:
        assert refused.status == 401
    service.wait_until(lambda: scrape(service)['tailrace_connections_ended_total{reason="client_left"}'] == 2)
    after = scrape(service)
    assert (1, 1, 0) == (
        open_now['tailrace_connections{transport="sse"}'],
        open_now['tailrace_connections{transport="websocket"}'],
        after['tailrace_connections{transport="sse"}'],
    )
    assert HAPPENED == {name: after[name] for name in HAPPENED}


HAPPENED = {
    "tailrace_ready": 1,
    "tailrace_draining": 0,
    "tailrace_kafka_healthy": 1,
    'tailrace_connections_opened_total{transport="sse"}': 1,
    'tailrace_delivered_events_total{transport="sse"}': 3,
    'tailrace_delivered_events_total{transport="websocket"}': 3,
    'tailrace_refusals_total{reason="invalid_token"}': 1,
    'tailrace_unaddressed_records_total{reason="no_session"}': 1,
    "tailrace_tail_events": 3,
    "tailrace_tail_sessions": 1,
    "tailrace_tail_appended_events_total": 3,
    "tailrace_readers_catching_up": 0,
    'tailrace_kafka_lag_records{partition="0",topic="t"}': 0,
    'tailrace_kafka_lag_records{partition="1",topic="t"}': 0,
    'tailrace_kafka_lag_seconds{partition="0",topic="t"}': 0,
}


def test_an_outage_is_told(service: ServiceProcess, broker: EmbeddedBroker) -> None:
    """The service stays ready, Kafka is not healthy, and both are told; after it all is well again."""
    broker.down(1)
    try:
        service.wait_until(lambda: scrape(service)["tailrace_kafka_healthy"] == 0)
        assert 1 == scrape(service)["tailrace_ready"]
    finally:
        broker.up(1)
    service.wait_until(lambda: scrape(service)["tailrace_kafka_healthy"] == 1)
    assert scrape(service)["tailrace_kafka_failures_total"] > 0
