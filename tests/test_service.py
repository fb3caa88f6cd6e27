"""The composition root: what is made is joined up, and ends without a trace."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from asgi import EVENTS, SECRET, Exchange, bearer, raw_scope, scope
from builders import EPOCH, FakeRecord, append
from leaping import until
from tailrace.app import public_app
from tailrace.config import Settings, load
from tailrace.dev import MAX_WAIT_MS, EmbeddedBroker
from tailrace.errors import Draining
from tailrace.kafka import Limits
from tailrace.replay import Bounds
from tailrace.service import made, running
from tailrace.timers import Wheel
from tailrace.tracing import Tracing

VARIABLES = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_SECRET": SECRET}


def settings(**more: str) -> Settings:
    """Give the settings of a service that reads topic ``t``."""
    return load({**VARIABLES, **{f"TAILRACE_{name}": value for name, value in more.items()}}, Path("/dev/null"))


def _produce(bootstrap: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 2})
    producer.produce("t", value, key=b"s")
    producer.flush(10)


async def test_running_reads_kafka_and_leaves_nothing_behind() -> None:
    """The whole of it, over the embedded broker: a record becomes an event of a subscriber."""
    before = asyncio.all_tasks()
    with EmbeddedBroker() as broker:
        broker.create_topic("t", 1)
        environ = {**VARIABLES, "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}
        exchange = Exchange()
        async with running(load(environ, Path("/dev/null")), idle_wait_ms=MAX_WAIT_MS) as one:
            await until(lambda: not one.consumer.waiting)
            app = public_app(one)
            stream = asyncio.create_task(app(raw_scope(EVENTS, bearer()), exchange.receive, exchange.send))
            await exchange.until(lambda: "ready" in exchange.body)
            _produce(broker.bootstrap, b"from kafka")
            await exchange.until(lambda: "data: from kafka" in exchange.body)
            exchange.say({"type": "http.disconnect"})
            await stream
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize(
    "line",
    [
        "tailrace_ready 0.0",
        "tailrace_kafka_healthy 0.0",
        "tailrace_tail_events 0.0",
        "tailrace_tail_max_bytes 1.048576e+06",
        "tailrace_replay_readers 0.0",
        "tailrace_replay_passes 0.0",
    ],
)
async def test_metrics_show_the_service_as_it_is(line: str) -> None:
    """A gauge is read when it is scraped, and not when it was made."""
    service = made(settings(TAIL_MAX_BYTES="1MiB"), Wheel(), Tracing(), MAX_WAIT_MS)
    assert line in service.metrics.render()[0].decode().splitlines()


@pytest.mark.parametrize("stamp, expected", [(0, 7.0), (1, 7.0), (-1, 7.0), (4_000_000_000_000, 7.0), (None, 60.0)])
async def test_the_oldest_events_age(stamp: int | None, expected: float) -> None:
    """By its own timestamp, and since it came where that is no time."""
    service = made(settings(), Wheel(), Tracing(), MAX_WAIT_MS)
    service.tail.learn(0, EPOCH, 1)
    [event] = append(service.tail, FakeRecord(0, timestamp=int((time.time() - 60) * 1000) if stamp is None else stamp))
    event.arrival.at_ns = time.time_ns() - 7 * 10**9
    lines = dict(line.rsplit(" ", 1) for line in service.metrics.render()[0].decode().splitlines())
    assert float(lines["tailrace_tail_oldest_event_age_seconds"]) == pytest.approx(expected, abs=5)


async def test_live_reading_and_replay_share_what_they_know_of_batches() -> None:
    """One memory of those that are oversized, and one turn for those that are large; the bounds are the settings'."""
    service = made(settings(MAX_EVENT_BYTES="1000", MAX_BATCH_BYTES="2MiB"), Wheel(), Tracing(), MAX_WAIT_MS)
    live: Any = service.consumer._kafka
    replay: Any = service.replay._scanner._kafka
    assert live is not replay
    assert live._unpacking is replay._unpacking
    assert live._unpacking._limits == Limits(2 * 1024**2, 1000)


async def test_bounds_of_the_replay_are_the_settings() -> None:
    """What one resume may read is what readers go by."""
    given = {"REPLAY_MAX_PASSES": "2", "REPLAY_MAX_READERS": "3", "REPLAY_MAX_BYTES": "4KiB", "REPLAY_MAX_RECORDS": "5"}
    service = made(settings(**given), Wheel(), Tracing(), MAX_WAIT_MS)
    assert (service.replay._bounds, service.replay.max_records) == (Bounds(2, 3, 4096, 5), 5)


async def test_a_drain_lets_nobody_wait_for_kafka() -> None:
    """Whoever asks with an id that only Kafka can tell of is sent away, though it never answers."""
    service = made(settings(), Wheel(), Tracing(), MAX_WAIT_MS)
    service.consumer._was_warm = True
    given = scope(query="last_event_id=v1.00000000.4", headers=bearer())
    asking = asyncio.create_task(service.admission.admit(given))
    await asyncio.sleep(0)
    await service.drain()
    with pytest.raises(Draining):
        await asking


def test_defaults_of_the_replay_are_the_settings_own() -> None:
    """One number, in two places."""
    service = made(settings(), Wheel(), Tracing(), MAX_WAIT_MS)
    assert service.replay._bounds == Bounds()


async def test_the_group_is_committed_to_while_the_service_runs() -> None:
    """A group that is named has a task; it ends with the service, and leaves nothing, whether or not Kafka answers."""
    before = asyncio.all_tasks()
    async with running(settings(KAFKA_GROUP_ID="lag", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9")):
        assert len(asyncio.all_tasks() - before) >= 4
    assert before == asyncio.all_tasks()
