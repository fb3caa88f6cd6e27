"""The promise, over the real path: a real Kafka, the service's own process, foreign clients over every transport."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster
from real.clients import Client
from real.producing import Numbers, ask, fresh, heard, until_all
from real.service import SECRET, ServiceProcess, run
from real.transports import TRANSPORTS, Answer, Ask, sse, sse_h2, sse_h2_to_the_end, websocket, websocket_h2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from real.transports import Transport

pytestmark = pytest.mark.kafka

PARTITIONS = 3
MANY = 60
every_transport = pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS.keys())


@pytest.fixture(scope="module")
def topic(kafka: KafkaCluster) -> str:
    """The topic that the module's services read, in three partitions."""
    name = fresh("flow")
    kafka.create_topic(name, PARTITIONS)
    return name


@pytest.fixture(scope="module")
def service(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    """The service that most tests share."""
    with ServiceProcess(kafka.bootstrap, topic) as process:
        yield process


@pytest.fixture(scope="module")
def replica(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    """Another replica of `service`."""
    with ServiceProcess(kafka.bootstrap, topic) as process:
        yield process


@pytest.fixture
async def numbers(kafka: KafkaCluster, topic: str) -> AsyncIterator[Numbers]:
    """Producers to the module's topic."""
    async with Numbers(kafka, topic) as made:
        yield made


class TestDelivery:
    async def test_every_transport_has_everything(self, service: ServiceProcess, numbers: Numbers) -> None:
        """Every event reaches every client of its session, once, in order per partition, with one id for all."""
        sessions = [fresh("a"), fresh("b"), fresh("c")]
        async with AsyncExitStack() as stack:
            clients = {
                session: [
                    await stack.enter_async_context(Client([service], [transport], ask(service, session)))
                    for transport in TRANSPORTS.values()
                ]
                for session in sessions
            }
            await numbers.keep_saying(sessions, MANY)
            for session in sessions:
                await until_all(clients[session], numbers, session)
        for session in sessions:
            assert [clients[session][0].events] * 4 == [client.events for client in clients[session]]
            assert numbers.all_to(session) == heard(clients[session][0].events)

    async def test_over_tls(self, kafka: KafkaCluster, topic: str, numbers: Numbers, session: str) -> None:
        """Over TLS the same, with HTTP/2 chosen by ALPN."""
        with ServiceProcess(kafka.bootstrap, topic, tls=True) as service:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(Client([service], [transport], ask(service, session)))
                    for transport in TRANSPORTS.values()
                ]
                await numbers.say(session, MANY)
                await until_all(clients, numbers, session)
        assert [numbers.all_to(session)] * 4 == [heard(client.events) for client in clients]

    @every_transport
    async def test_type_and_text(
        self, kafka: KafkaCluster, topic: str, service: ServiceProcess, session: str, transport: Transport
    ) -> None:
        """A record's type, its line breaks and its letters come through."""
        producer = kafka.producer()
        async with transport(service, ask(service, session)) as answer:
            assert (await answer.next()).name == "tailrace.ready"
            producer.produce(topic, "Spüre\ndie »Flut«", key=session, headers=[("event", b"token")])
            producer.flush(30)
            event = await anext(item async for item in answer.items if item.name != "tailrace.position")
        assert (event.name, event.data) == ("token", "Spüre\ndie »Flut«")

    @every_transport
    async def test_a_quiet_session_moves_on(
        self, service: ServiceProcess, numbers: Numbers, session: str, transport: Transport
    ) -> None:
        """A client whose session is quiet is told a later id, while others are spoken to."""
        async with Client([service], [transport], ask(service, session)) as client:
            [ready] = client.controls("ready")
            await numbers.say(fresh("another"), MANY)
            await client.until(lambda: client.last_id != ready["id"])
            assert client.events == []
            assert client.items[-1].name == "tailrace.position"

    async def test_a_topic_made_after_the_start(self, kafka: KafkaCluster, session: str) -> None:
        """A topic that does not exist is waited for, not made; once it is there, its events come, each once."""
        topic = fresh("late")
        with ServiceProcess(kafka.bootstrap, topic) as service:
            async with Client([service], [sse], ask(service, session)) as client:
                before = client.last_id
                await asyncio.to_thread(kafka.create_topic, topic, PARTITIONS)
                async with Numbers(kafka, topic) as numbers:
                    await numbers.say(session, MANY)
                    await until_all([client], numbers, session)
            async with Client([service], [websocket], ask(service, session, before)) as late:
                await until_all([late], numbers, session)
        assert before == "v1.0"
        assert [numbers.all_to(session)] * 2 == [heard(client.events) for client in (client, late)]


class TestResume:
    @pytest.mark.parametrize(
        "transports",
        [
            *([transport] for transport in TRANSPORTS.values()),
            [sse, websocket_h2, sse_h2, websocket],
        ],
        ids=[*TRANSPORTS, "a transport each time"],
    )
    async def test_after_cuts(
        self, service: ServiceProcess, numbers: Numbers, session: str, transports: Sequence[Transport]
    ) -> None:
        """A client that is cut again and again amid events loses nothing and sees nothing twice."""
        async with Client([service], transports, ask(service, session)) as client:
            saying = asyncio.create_task(numbers.keep_saying([session], MANY))
            for cut in range(1, 9):
                await client.until_events(cut * 2 * MANY // 10)
                await client.cut()
            await saying
            await until_all([client], numbers, session)
        assert numbers.all_to(session) == heard(client.events)
        assert client.controls("reset") == []

    async def test_between_replicas(
        self, service: ServiceProcess, replica: ServiceProcess, numbers: Numbers, session: str
    ) -> None:
        """A client that meets another replica each time it comes back loses nothing and sees nothing twice."""
        async with Client([service, replica], [sse, websocket], ask(service, session)) as client:
            saying = asyncio.create_task(numbers.keep_saying([session, fresh("another")], MANY))
            for cut in range(1, 17):
                await client.until_events(cut * 2 * MANY // 20)
                await client.cut()
            await saying
            await until_all([client], numbers, session)
        assert numbers.all_to(session) == heard(client.events)
        assert client.controls("reset") == []

    @every_transport
    async def test_by_a_position_alone(
        self, service: ServiceProcess, numbers: Numbers, session: str, transport: Transport
    ) -> None:
        """The id that `ready` told, and one that came by itself, name the place as well as an event's does."""
        async with Client([service], [transport], ask(service, session)) as client:
            ready = client.last_id
            await numbers.say(fresh("another"), MANY)
            await client.until(lambda: client.last_id != ready)
            moved = client.last_id
            await numbers.say(session, MANY)
            await until_all([client], numbers, session)
        for last_id in (ready, moved):
            async with Client([service], [transport], ask(service, session, last_id)) as client:
                await until_all([client], numbers, session)
                assert numbers.all_to(session) == heard(client.events)
                assert [[live["replayed"]] for live in client.controls("live")] == [[2 * MANY]]

    @pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "SIGKILL"])
    async def test_over_restarts(
        self, kafka: KafkaCluster, topic: str, numbers: Numbers, session: str, crash: bool
    ) -> None:
        """The service is ended and started again under connected clients: complete, in order, nothing twice."""
        with ServiceProcess(kafka.bootstrap, topic) as service:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(Client([service], [transport], ask(service, session)))
                    for transport in TRANSPORTS.values()
                ]
                saying = asyncio.create_task(numbers.keep_saying([session], 2 * MANY))
                for part in (1, 2):
                    await clients[0].until_events(part * MANY)
                    await asyncio.to_thread(service.restart, crash=crash)
                await saying
                await until_all(clients, numbers, session)
        assert [numbers.all_to(session)] * 4 == [heard(client.events) for client in clients]
        assert [client.controls("reset") for client in clients] == [[]] * 4
        codes = {told["code"] for client in clients for told in client.controls("disconnect")}
        assert crash == (1001 not in codes)

    async def test_what_memory_has_let_go(self, kafka: KafkaCluster, topic: str, session: str) -> None:
        """A client that stayed away for longer than memory reaches gets all the same everything, and no reset."""
        producer, padding, count = kafka.producer(), "x" * 1000, 3000
        with ServiceProcess(kafka.bootstrap, topic, tail_max_bytes=2**20) as service:
            async with Client([service], [sse], ask(service, session)) as client:
                before = client.last_id
                for number in range(count):
                    producer.produce(topic, f"{number} {padding}", key=session)
                assert await asyncio.to_thread(producer.flush, 30) == 0
                await client.until(lambda: last_number(client) == count - 1)
            async with Client([service], [websocket], ask(service, session, before)) as late:
                await late.until(lambda: last_number(late) == count - 1)
        assert list(range(count)) == [int(event.data.split()[0]) for event in late.events]
        assert (late.controls("reset"), late.controls("live")[0]["replayed"]) == ([], count)

    async def test_where_kafka_was_away(self, kafka: KafkaCluster, topic: str, numbers: Numbers, session: str) -> None:
        """A broker that crashes disconnects no client; when it is back, delivery goes on from where it was."""
        if not kafka.ours:
            pytest.fail("TEST_KAFKA_BOOTSTRAP names a broker that this test may not kill: unset it")
        with ServiceProcess(kafka.bootstrap, topic) as service:
            async with Client([service], [sse], ask(service, session)) as client:
                await numbers.say(session, MANY)
                await until_all([client], numbers, session)
                kafka.kill()
                await asyncio.to_thread(service.wait_until, lambda: service.status() == "degraded")
                await asyncio.to_thread(kafka.start)
                await numbers.say(session, MANY)
                await until_all([client], numbers, session)
                await asyncio.to_thread(service.wait_until, lambda: service.status() == "ready")
        assert numbers.all_to(session) == heard(client.events)
        assert client.answers == [200]


class TestWhereToBegin:
    @every_transport
    @pytest.mark.parametrize("begin, old", [("now", 0), ("tail", 1), ("earliest", 1), ("", 0)])
    async def test_from(
        self, service: ServiceProcess, numbers: Numbers, session: str, transport: Transport, begin: str, old: int
    ) -> None:
        """`now` is what comes from now on, and is the default; `tail` and `earliest` have what memory holds."""
        await numbers.say(session, 5)
        async with Client([service], [sse], ask(service, session, **{"from": "tail"})) as first:
            await until_all([first], numbers, session)
        query = {"from": begin} if begin else {}
        async with Client([service], [transport], ask(service, session, **query)) as client:
            await numbers.say(session, 5)
            await client.until_events(10 + 10 * old)
        assert {name: each[5 - 5 * old :] for name, each in numbers.all_to(session).items()} == heard(client.events)

    async def test_an_id_beats_from(self, service: ServiceProcess, numbers: Numbers, session: str) -> None:
        """A browser that reconnects sends its id beside the address's old query: the id counts."""
        async with Client([service], [sse], ask(service, session, **{"from": "tail"})) as client:
            await numbers.say(session, 5)
            await until_all([client], numbers, session)
            await client.cut()
            await numbers.say(session, 5)
            await until_all([client], numbers, session)
        assert numbers.all_to(session) == heard(client.events)


class TestDrain:
    async def test_streams_end_politely(self, kafka: KafkaCluster, topic: str, session: str) -> None:
        """SIGTERM: every stream is told where it stood and to come back; the process ends with 0 and no traceback."""
        with ServiceProcess(kafka.bootstrap, topic, drain_seconds=1) as service:
            async with AsyncExitStack() as stack:
                reading_on = {**TRANSPORTS, "sse-h2": sse_h2_to_the_end}
                answers = [await opened(stack, transport, service, session) for transport in reading_on.values()]
                service.signal(signal.SIGTERM)
                lasts = [(await answer.rest())[-1] for answer in answers]
            assert await asyncio.to_thread(service.ended) == 0
            assert "Traceback" not in service.log
        assert [(last.name, last.fields["code"], last.fields["reconnect"]) for last in lasts] == [
            ("tailrace.disconnect", 1001, True)
        ] * 4
        assert all(last.id.startswith("v1.") for last in lasts)
        assert [answer.close_code for answer in answers] == [None, None, 1001, 1001]

    async def test_without_kafka(self, kafka: KafkaCluster, topic: str, session: str) -> None:
        """A broker that is away holds up nothing: the streams end politely, and the process with 0."""
        if not kafka.ours:
            pytest.fail("TEST_KAFKA_BOOTSTRAP names a broker that this test may not kill: unset it")
        with ServiceProcess(kafka.bootstrap, topic, drain_seconds=1) as service:
            async with AsyncExitStack() as stack:
                answers = [await opened(stack, transport, service, session) for transport in (sse, websocket)]
                kafka.kill()
                await asyncio.to_thread(service.wait_until, lambda: service.status() == "degraded")
                service.signal(signal.SIGTERM)
                lasts = [(await answer.rest())[-1] for answer in answers]
            status = await asyncio.to_thread(service.ended)
            await asyncio.to_thread(kafka.start)
        assert [last.fields["code"] for last in lasts] == [1001, 1001]
        assert (status, "Traceback" in service.log) == (0, False)

    async def test_a_second_signal_ends_it_at_once(self, kafka: KafkaCluster, topic: str, session: str) -> None:
        """A second SIGTERM does not wait for the drain."""
        with ServiceProcess(kafka.bootstrap, topic, drain_seconds=3600) as service:
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    await opened(stack, sse, service, session)
                service.signal(signal.SIGTERM)
                await asyncio.to_thread(service.wait_until, lambda: service.health() == 503)
                service.signal(signal.SIGTERM)
                assert await asyncio.to_thread(service.ended) == 128 + signal.SIGTERM


class TestCommands:
    def test_check(self, kafka: KafkaCluster, topic: str) -> None:
        """`tailrace check` says that all is well, and ends with 0."""
        done = run("check", kafka_bootstrap_servers=kafka.bootstrap, kafka_topics=topic, jwt_secret=SECRET)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"topic {topic} has 3 partitions" in done.stdout

    def test_check_finds_a_missing_topic(self, kafka: KafkaCluster, topic: str) -> None:
        """`tailrace check` names the topic that is missing, and ends with 1."""
        missing = fresh("missing")
        topics = f"{topic},{missing}"
        done = run("check", kafka_bootstrap_servers=kafka.bootstrap, kafka_topics=topics, jwt_secret=SECRET)
        [error] = [line for line in done.stdout.splitlines() if line.startswith("error")]
        assert (done.returncode, missing in error) == (1, True)

    async def test_token(self, service: ServiceProcess) -> None:
        """What `tailrace token` prints opens the sessions that it names."""
        done = await asyncio.to_thread(run, "token", "--session", "chat/*", jwt_secret=SECRET)
        async with sse(service, Ask("chat/7", done.stdout.strip())) as answer:
            assert (answer.status, (await answer.next()).name) == (200, "tailrace.ready")

    async def test_position(self, service: ServiceProcess, session: str) -> None:
        """`tailrace position` explains an id that a client was given."""
        async with Client([service], [sse], ask(service, session)) as client:
            done = await asyncio.to_thread(run, "position", client.last_id)
        assert (done.returncode, done.stdout.count("next offset")) == (0, PARTITIONS)


async def opened(stack: AsyncExitStack, transport: Transport, service: ServiceProcess, session: str) -> Answer:
    """Open a stream that is admitted."""
    answer = await stack.enter_async_context(transport(service, ask(service, session)))
    assert (await answer.next()).name == "tailrace.ready"
    return answer


def last_number(client: Client) -> int:
    """Give the number that the last event begins with; -1 without one."""
    return int(client.events[-1].data.split()[0]) if client.events else -1
