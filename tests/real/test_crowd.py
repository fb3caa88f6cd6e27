"""The crowd of checking clients against the real service: it finds nothing wrong, and would notice if it were."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from changes import settled
from crowd.asking import Dial, Endpoint, Transport
from crowd.client import Client
from crowd.history import History
from crowd.http1 import Http1
from crowd.http2 import Http2
from crowd.judge import Judge
from crowd.producing import Source, epoch_at
from kafka_cluster import KafkaCluster
from real.producing import fresh
from real.service import ServiceProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.kafka

SESSIONS = ["a", "b/c", "d"]
MANY = 60
SEED = 7


class Crowd:
    """One client for each session, transport and version of HTTP."""

    def __init__(self, service: ServiceProcess) -> None:
        host, _, port = service.host_port.partition(":")
        here = Endpoint(host, int(port), service.certificate)
        self.rng = random.Random(SEED)
        self._hearing: list[asyncio.Task[None]] = []
        self.http2 = Http2(lambda: here, self.rng, (1, 3))
        self.history = History()
        self.judge = Judge(self.history)
        dials: dict[str, Dial] = {"HTTP/1.1": Http1(lambda: here), "HTTP/2": self.http2}
        self.clients = [
            Client(
                self.judge.follow(f"{kind.value} over {version}", session),
                kind,
                dial,
                lambda: service.token("*"),
                self.rng,
                hurry=0.02,
            )
            for session in SESSIONS
            for kind in Transport
            for version, dial in dials.items()
        ]

    def speak_to(self, kafka: KafkaCluster, topic: str) -> None:
        """Speak from now on to this topic, as it now is."""
        epoch = epoch_at(kafka.bootstrap, topic)
        self.source = Source(self.history, kafka.bootstrap, topic, epoch, self.rng)
        self._hearing.append(asyncio.create_task(self.source.run()))

    async def until_all_are_there(self) -> None:
        """Wait until everybody is served."""
        await settled(lambda: all(client.connected for client in self.clients))

    async def until_complete(self) -> None:
        """Wait until everybody has everything, or something is wrong."""
        await self.source.settled()
        try:
            await settled(lambda: bool(self.judge.faults) or not self.judge.behind())
        except TimeoutError:
            raise TimeoutError("\n".join(self.judge.behind().values())) from None
        self.judge.settle()

    def leave(self) -> None:
        """Everybody goes."""
        for client in self.clients:
            client.leave()
        self.http2.close()
        for hearing in self._hearing:
            hearing.cancel()


@contextlib.asynccontextmanager
async def crowd(kafka: KafkaCluster, service: ServiceProcess, topic: str) -> AsyncIterator[Crowd]:
    """A crowd that is there, and a source that speaks to it."""
    everybody = Crowd(service)
    everybody.speak_to(kafka, topic)
    try:
        for client in everybody.clients:
            client.come()
        await everybody.until_all_are_there()
        yield everybody
    finally:
        everybody.leave()


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    name = fresh("crowd")
    kafka.create_topic(name, 3)
    return name


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_everything_through_all_disturbances(kafka: KafkaCluster, topic: str, tls: bool) -> None:
    """Over every transport, clients that leave, vanish, stall and come back are given everything, and no reset."""
    with ServiceProcess(kafka.bootstrap, topic, tls=tls) as service:
        async with crowd(kafka, service, topic) as they:
            for number in range(MANY):
                for session in SESSIONS:
                    they.source.say(session, 100 * number)
                if number % 5 == 0:
                    they.source.say_wrongly(SESSIONS[0])
                one = they.rng.choice(they.clients)
                ways: list[Callable[[float], None]] = [one.leave, one.vanish, one.stall]
                they.rng.choice(ways)(0.01)
                if number == MANY // 2:
                    they.http2.connections[0].vanish()
                await asyncio.sleep(0.01)
            await they.until_complete()
            they.judge.close()
    assert [] == [str(fault) for fault in they.judge.faults]
    assert (MANY * 3 + MANY // 5, 0, 0) == (they.source.said, they.source.failed, they.judge.resets)


async def test_the_end_of_a_session(kafka: KafkaCluster, topic: str) -> None:
    """Clients that are told the end have had everything before it, and stay away."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with crowd(kafka, service, topic) as they:
            for session in SESSIONS:
                they.source.say(session)
            await they.until_complete()
            for session in SESSIONS:
                they.source.end(session)
            await settled(lambda: all(client.final for client in they.clients))
            await they.until_complete()
            they.judge.close()
    assert ([], {"the session ended"}) == (they.judge.faults, {client.final for client in they.clients})


async def test_a_restart(kafka: KafkaCluster, topic: str) -> None:
    """The service is ended and started again under the crowd: everything, and no reset."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with crowd(kafka, service, topic) as they:
            for crash in (False, True):
                for session in SESSIONS:
                    they.source.say(session)
                await asyncio.to_thread(service.restart, crash=crash)
                await they.until_all_are_there()
            await they.until_complete()
            they.judge.close()
    assert ([], 0, 2 * 3 * 4) == (they.judge.faults, they.judge.resets, they.judge.events)


async def test_a_topic_made_again(kafka: KafkaCluster, topic: str) -> None:
    """Whoever is there, and whoever comes back, is told that the topic is another one, and has all of that."""
    with ServiceProcess(kafka.bootstrap, topic) as service:
        async with crowd(kafka, service, topic) as they:
            for session in SESSIONS:
                they.source.say(session)
            await they.until_complete()
            for client in they.clients[::2]:
                client.vanish(1000)
            they.history.remade(epoch_at(kafka.bootstrap, topic))
            await asyncio.to_thread(kafka.delete_topic, topic)
            await asyncio.to_thread(kafka.create_topic, topic, 2)
            they.speak_to(kafka, topic)
            for session in SESSIONS:
                they.source.say(session)
            await they.source.settled()
            for client in they.clients[::2]:
                client.come()
            await they.until_complete()
            they.judge.close()
    assert ([], 3 * 4, 2 * 3 * 4) == (they.judge.faults, they.judge.resets, they.judge.events)


async def test_a_memory_that_is_too_short(kafka: KafkaCluster, topic: str) -> None:
    """Where memory does not reach, Kafka does: clients that were away for long are given everything, and no reset."""
    with ServiceProcess(kafka.bootstrap, topic, tail_max_bytes=2**20) as service:
        async with crowd(kafka, service, topic) as they:
            for client in they.clients:
                client.vanish(1000)
            for number in range(3000):
                they.source.say(SESSIONS[number % 3], 1000)
            await they.source.settled()
            for client in they.clients:
                client.come()
            await they.until_complete()
            they.judge.close()
        assert service.metric("tailrace_replay_records_total") > 0
    assert ([], 0, 3000 * 4) == (they.judge.faults, they.judge.resets, they.judge.events)
