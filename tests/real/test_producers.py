"""What a hostile or clumsy producer may do to the readers of its partition, with a real Kafka that takes all of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from attack import batches
from kafka_cluster import KafkaCluster
from raw_batches import MIB, batch, body, header
from real.clients import Client
from real.producing import ask, fresh
from real.raw import produced
from real.service import ServiceProcess
from real.transports import sse, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kafka

BOUND = 64 * MIB
"""Of one batch, by default."""


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("producers")
    kafka.create_topic(name, 1)
    return name


@pytest.fixture
def service(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    with ServiceProcess(kafka.bootstrap, topic) as process:
        yield process


def bomb(size: int) -> bytes:
    """A batch of some 32 bytes a mebibyte."""
    return batches.batch(batches.of_zeros(b"somebody", size), 1, codec=batches.ZSTD)


def say(session: str, *values: str) -> bytes:
    return batch([body(number, session.encode(), value.encode()) for number, value in enumerate(values)])


def words(client: Client) -> list[str]:
    return [event.data for event in client.events]


def reasons(client: Client, name: str = "reset") -> list[str]:
    return [told["reason"] for told in client.controls(name)]


def peak_bytes(service: ServiceProcess) -> int:
    """Give the most memory that the process has ever had."""
    status = Path(f"/proc/{service.pid}/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


async def test_a_header_name_that_is_not_utf8(kafka: KafkaCluster, topic: str, service: ServiceProcess) -> None:
    """It is delivered, and so are its neighbours in the batch, to whichever session; nobody is reset."""
    bodies = [body(0, b"v", b"first"), body(1, b"w", b"odd", [header(b"\xff\xfe", b"x")]), body(2, b"v", b"last")]
    async with (
        Client([service], [sse], ask(service, "v")) as neighbour,
        Client([service], [websocket], ask(service, "w")) as client,
    ):
        await produced(kafka.bootstrap, topic, batch(bodies))
        await neighbour.until_events(2)
        await client.until_events(1)
    assert (["first", "last"], ["odd"]) == (words(neighbour), words(client))
    assert [] == reasons(neighbour) + reasons(client)


@pytest.mark.parametrize("delta", [2**20, -1])
async def test_an_offset_that_is_not_its_own(
    kafka: KafkaCluster, topic: str, service: ServiceProcess, delta: int
) -> None:
    """Kafka does not look at it. Its reader is told that the record is malformed; ids go on as they are."""
    bodies = [body(0, b"v", b"first"), body(delta, b"w", b"odd"), body(2, b"v", b"last")]
    async with (
        Client([service], [sse], ask(service, "v")) as neighbour,
        Client([service], [websocket], ask(service, "w")) as client,
    ):
        await produced(kafka.bootstrap, topic, batch(bodies), say("v", "more"))
        await neighbour.until_events(3)
        await client.until(lambda: bool(client.controls("skipped")))
        async with Client([service], [websocket], ask(service, "v", neighbour.events[0].id)) as again:
            await again.until_events(2)
    assert (["first", "last", "more"], ["last", "more"]) == (words(neighbour), words(again))
    assert (["malformed"], []) == (reasons(client, "skipped"), reasons(neighbour) + reasons(again))


async def test_bombs(kafka: KafkaCluster, topic: str, service: ServiceProcess) -> None:
    """Each is told to the readers of its partition, once; memory stays bounded, and what is said meanwhile arrives.

    32 kB that stand for a gigabyte; and 20 records with a million headers each, which are only skipped.
    """
    headers = [header(b"", b"")] * 1_000_000
    before = psutil.Process(service.pid).memory_info().rss
    async with Client([service], [sse], ask(service, "v")) as client:
        await produced(kafka.bootstrap, topic, say("v", "one"), bomb(1000 * MIB), say("v", "two"))
        await client.until_events(2)
        await produced(
            kafka.bootstrap, topic, batch([body(n, b"v", b"", headers) for n in range(20)], codec=4), say("v", "three")
        )
        await client.until_events(3)
    assert (["one", "two", "three"], ["oversized"]) == (words(client), reasons(client))
    assert ["too_many_headers"] * 20 == reasons(client, "skipped")
    assert peak_bytes(service) - before < 2 * BOUND


async def test_bombs_again_and_again(kafka: KafkaCluster, topic: str, service: ServiceProcess) -> None:
    """Whoever reads from the beginning is told where they lie; they are logged once each."""
    for number in range(3):
        await produced(kafka.bootstrap, topic, say("v", str(number)), bomb(BOUND + 100))
    last = await produced(kafka.bootstrap, topic, say("v", "last"))
    await asyncio.to_thread(service.wait_until, lambda: service.log.count("for good") == 3)
    for _ in range(5):
        async with Client([service], [sse], ask(service, "v", **{"from": "earliest"})) as client:
            await client.until(lambda: "last" in words(client))
        assert (["0", "1", "2", "last"], ["oversized"] * 3) == (words(client), reasons(client))
    assert last == [6]
    assert 3 == service.log.count("for good")


async def test_a_large_batch_that_is_none_too_large(kafka: KafkaCluster, topic: str, service: ServiceProcess) -> None:
    """It is opened beside the loop, and keeps its place among the others."""
    bodies = [body(number, b"v", b"%d" % number + bytes(600_000)) for number in range(20)]
    small = batch([body(0, b"v", b"before")]), batch([body(0, b"v", b"behind")])
    async with Client([service], [sse], ask(service, "v")) as client:
        await produced(kafka.bootstrap, topic, small[0], batch(bodies, codec=4), small[1])
        await client.until(lambda: words(client)[-1:] == ["behind"])
    assert ["before", *map(str, range(20)), "behind"] == [word.rstrip("\0") for word in words(client)]
    assert [] == reasons(client)
