"""Clients that stop reading, over the real path: what becomes of them, and of those beside them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.test_metrics import scrape
from real.transports import sse
from subscriber import STALLS, Http1, Http2, Line, Stall, controls, last_id, numbers

if TYPE_CHECKING:
    from kafka_cluster import KafkaCluster

pytestmark = pytest.mark.kafka

COUNT = 2000
"""Events of a kilobyte: more than all buffers on the way to a client hold."""


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_stalled_clients_are_cut_and_resume(kafka: KafkaCluster, tls: bool) -> None:
    """Each way to stop ends in a cut, counted; who comes back has all the rest once; whoever reads is not delayed."""
    topic, session = fresh("slow"), fresh("s")
    kafka.create_topic(topic, 3)
    with ServiceProcess(kafka.bootstrap, topic, tls=tls, send_timeout_seconds=1, heartbeat_seconds=1) as service:
        async with Client([service], [sse], ask(service, session)) as healthy, AsyncExitStack() as stack:
            stalled = [await stall(stack, service, session, way) for way in STALLS.values()]
            producer = kafka.producer()
            for number in range(COUNT):
                producer.produce(topic, f"{number} {'x' * 1000}", key=session)
            assert await asyncio.to_thread(producer.flush, 30) == 0
            await healthy.until_events(COUNT)
            await asyncio.to_thread(service.wait_until, lambda: slow_clients(service) == len(STALLS))
            resumed = [await come_back(service, session, *one) for one in stalled]
    assert [list(range(COUNT))] * len(STALLS) == resumed
    assert ([int(event.data.split()[0]) for event in healthy.events], healthy.answers) == (list(range(COUNT)), [200])


def slow_clients(service: ServiceProcess) -> float:
    """Give how many were cut for being slow."""
    return scrape(service)["tailrace_slow_clients_total"]


async def connect(service: ServiceProcess, kind: str) -> Line:
    """Connect as a client of this kind does."""
    host, _, port = service.host_port.partition(":")
    alpn = "h2" if kind.endswith("h2") else "http/1.1"
    tls = service.certificate.client_context(alpn) if service.certificate else None
    return await Line.connect(kind, host, int(port), tls)


async def stall(
    stack: AsyncExitStack, service: ServiceProcess, session: str, way: Stall
) -> tuple[Stall, Line, Http1 | Http2]:
    """Subscribe a client, and let it stop reading."""
    line = await stack.enter_async_context(await connect(service, way.kind))
    subscriber = await line.subscribe(service.token(session), session)
    way.begin(line, subscriber)
    return way, line, subscriber


async def come_back(
    service: ServiceProcess, session: str, way: Stall, line: Line, subscriber: Http1 | Http2
) -> list[int]:
    """Let it read what there still is, without a farewell, and resume; give all that it has seen."""
    way.end(line, subscriber)
    with suppress(ConnectionError):
        await subscriber.until(lambda: subscriber.gone)
    assert (subscriber.ended, controls(subscriber)) == (False, ["ready"])
    async with await connect(service, way.kind) as again:
        resumed = await again.subscribe(service.token(session), session, last_id(subscriber))
        await resumed.until(lambda: numbers(resumed)[-1:] == [COUNT - 1])
        assert controls(resumed) == ["ready", "live"]
        return numbers(subscriber) + numbers(resumed)
