"""`tailrace.kafka` against a real Apache Kafka: what aiokafka's lower layers and the broker are relied upon for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient

from certificates import make_certificate
from kafka_cluster import PASSWORD, USER, KafkaCluster, free_ports, produce
from tailrace.kafka import (
    EARLIEST,
    HIGH_WATERMARK,
    LATEST,
    AuthenticationFailed,
    BrokerUnavailable,
    Kafka,
    KafkaConnection,
    NotAuthorized,
    NotLeader,
    OffsetOutOfRange,
    UnknownTopic,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tailrace.event import Record
    from tailrace.kafka import Stretch

pytestmark = pytest.mark.kafka

NODE = 1
_names = (f"real-{time.time_ns()}-{number}" for number in itertools.count())


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A fresh topic with one partition."""
    name = next(_names)
    kafka.create_topic(name)
    return name


@pytest.fixture
async def connect(kafka: KafkaCluster) -> AsyncIterator[Callable[..., Kafka]]:
    """Make clients for topics; all are closed at the end."""
    made: list[Kafka] = []

    def make(*topics: str, isolation_level: str = "read_committed", bootstrap: str = kafka.bootstrap) -> Kafka:
        connection = KafkaConnection(bootstrap_servers=bootstrap)
        made.append(Kafka(connection, topics, isolation_level=isolation_level))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def fetch(client: Kafka, topic: str, offset: int, *, wait_ms: int = 500) -> Stretch:
    """One fetch of one partition, from the leader that the identity names."""
    await client.identity()
    [stretch] = await client.fetch(NODE, {(topic, 0): offset}, max_wait_ms=wait_ms, min_bytes=1, max_bytes=1 << 20)
    return stretch


async def read(client: Kafka, topic: str, offset: int, until: int) -> list[Record]:
    """Fetch on until the next offset is ``until``."""
    records: list[Record] = []
    while offset < until:
        stretch = await fetch(client, topic, offset)
        assert stretch.trouble is None
        assert stretch.next_offset > offset
        records += stretch.records
        offset = stretch.next_offset
    return records


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_read(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka], codec: str
) -> None:
    """Records arrive whole whatever the producer compressed them with."""
    values = [f"{number} {'water ' * 50}".encode() for number in range(100)]
    produce(kafka.producer(compression_type=codec, linger_ms=20), topic, 0, values)
    records = await read(connect(topic), topic, 0, 100)
    assert [(number, value) for number, value in enumerate(values)] == [(each.offset, each.value) for each in records]


async def test_a_record_keeps_its_parts(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]) -> None:
    """Key, timestamp, headers (also doubled, also without a value) and a null value come through."""
    headers = [("event", b"tool"), ("event", b"progress"), ("none", None)]
    produce(kafka.producer(), topic, 0, [None], key=b"chat/ada", timestamp=1_700_000_000_123, headers=headers)
    [record] = await read(connect(topic), topic, 0, 1)
    assert (b"chat/ada", None, 1_700_000_000_123, headers) == (
        record.key,
        record.value,
        record.timestamp,
        list(record.headers),
    )


async def test_aborted_records_stay_unseen(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]) -> None:
    """Under read_committed an aborted transaction is invisible and the next offset lies past its marker."""
    producer = kafka.producer(transactional_id=topic)
    producer.init_transactions(20)
    for value, end in ((b"kept", "commit"), (b"dropped", "abort"), (b"kept too", "commit")):
        producer.begin_transaction()
        produce(producer, topic, 0, [value])
        getattr(producer, f"{end}_transaction")(20)
    stretch = await fetch(connect(topic), topic, 0)
    assert (
        [(each.offset, each.value) for each in stretch.records],
        stretch.next_offset,
    ) == ([(0, b"kept"), (4, b"kept too")], 6)
    uncommitted = await fetch(connect(topic, isolation_level="read_uncommitted"), topic, 0)
    assert [each.value for each in uncommitted.records] == [b"kept", b"dropped", b"kept too"]


async def test_an_open_transaction_holds_the_end(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """LATEST is the last stable offset under read_committed, the high watermark otherwise; one may ask for that."""
    produce(kafka.producer(), topic, 0, [b"before"])
    producer = kafka.producer(transactional_id=topic)
    producer.init_transactions(20)
    producer.begin_transaction()
    produce(producer, topic, 0, [b"open"])
    ends = []
    for isolation_level in ("read_committed", "read_uncommitted"):
        client = connect(topic, isolation_level=isolation_level)
        await client.identity()
        ends += [(await client.offsets(NODE, [(topic, 0)], when))[topic, 0] for when in (LATEST, HIGH_WATERMARK)]
    producer.abort_transaction(20)
    assert ends == [1, 2, 2, 2]


async def test_offsets_by_time(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]) -> None:
    """Earliest, latest, the first record at or after a time, and None where there is none."""
    for moment in (1000, 2000, 3000):
        produce(kafka.producer(), topic, 0, [b"x"], timestamp=moment)
    kafka.delete_records(topic, 0, before=1)
    client = connect(topic)
    await client.identity()
    found = [(await client.offsets(NODE, [(topic, 0)], when))[topic, 0] for when in (EARLIEST, LATEST, 2500, 9000)]
    assert found == [1, 3, 2, None]


async def test_offsets_of_a_missing_topic(connect: Callable[..., Kafka]) -> None:
    """A partition's trouble is a value in the answer, so that it does not hide the others."""
    client = connect("ghost")
    await client.identity()
    found = await client.offsets(NODE, [("ghost", 0)], LATEST)
    assert isinstance(found["ghost", 0], UnknownTopic | NotLeader)


async def test_identity(kafka: KafkaCluster, connect: Callable[..., Kafka]) -> None:
    """Cluster id, brokers, partitions with their leaders, and a topic id that a topic made again does not share."""
    name = next(_names)
    kafka.create_topic(name, 3)
    client = connect(name)
    first = await client.identity()
    assert (first.brokers, first.topics[name].leaders, first.topics[name].trouble) == ((NODE,), (NODE,) * 3, None)
    assert first.cluster_id
    kafka.create_partitions(name, 5)
    grown = await client.identity()
    assert (5, first.topics[name].id) == (len(grown.topics[name].leaders), grown.topics[name].id)
    kafka.delete_topic(name)
    kafka.create_topic(name, 3)
    again = await client.identity()
    assert first.topics[name].id not in (None, again.topics[name].id)


async def test_a_missing_topic_is_not_made(kafka: KafkaCluster, connect: Callable[..., Kafka]) -> None:
    """Asking for a topic reports that it is missing and never creates it."""
    name = next(_names)
    found = (await connect(name).identity()).topics[name]
    assert (found.leaders, found.id, isinstance(found.trouble, UnknownTopic)) == ((), None, True)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert name not in admin.list_topics(timeout=20).topics


@pytest.mark.parametrize("offset", [0, 99])
async def test_out_of_range(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka], offset: int) -> None:
    """Below the log's start and past its end the answer is a trouble, and the offset stays as asked."""
    produce(kafka.producer(), topic, 0, [b"a", b"b", b"c"])
    kafka.delete_records(topic, 0, before=2)
    stretch = await fetch(connect(topic), topic, offset)
    assert isinstance(stretch.trouble, OffsetOutOfRange)
    assert ([], offset) == (list(stretch.records), stretch.next_offset)


async def test_one_partitions_trouble_is_its_own(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """A missing partition in the same fetch does not keep the others' records away."""
    produce(kafka.producer(), topic, 0, [b"here"])
    client = connect(topic)
    await client.identity()
    stretches = await client.fetch(
        NODE, {(topic, 7): 0, (topic, 0): 0}, max_wait_ms=500, min_bytes=1, max_bytes=1 << 20
    )
    found = {each.partition: each for each in stretches}
    assert [each.value for each in found[0].records] == [b"here"]
    assert isinstance(found[7].trouble, UnknownTopic | NotLeader)


async def test_a_topic_that_was_made_again_is_not_read_by_the_old_ones_id(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """Though it has outgrown the offset that is asked for; by name it would be read, and taken for the old one."""
    produce(kafka.producer(), topic, 0, [b"old", b"older"])
    client = connect(topic)
    ids = {topic: (await client.identity()).topics[topic].id or ""}
    bounds: dict[str, Any] = {"max_wait_ms": 500, "min_bytes": 1, "max_bytes": 1 << 20}
    [before] = await client.fetch(NODE, {(topic, 0): 1}, ids, **bounds)
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    produce(kafka.producer(), topic, 0, [b"new", b"newer"])
    [by_id] = await client.fetch(NODE, {(topic, 0): 1}, ids, **bounds)
    [by_name] = await client.fetch(NODE, {(topic, 0): 1}, **bounds)
    assert [[b"older"], [], [b"newer"]] == [[each.value for each in got.records] for got in (before, by_id, by_name)]
    assert isinstance(by_id.trouble, UnknownTopic)


async def test_ends_and_start_come_with_every_fetch(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """A stretch tells the log's start, the high watermark and the last stable offset."""
    produce(kafka.producer(), topic, 0, [b"a", b"b", b"c"])
    kafka.delete_records(topic, 0, before=1)
    stretch = await fetch(connect(topic), topic, 1)
    assert (stretch.log_start, stretch.high_watermark, stretch.last_stable) == (1, 3, 3)


async def test_a_batch_larger_than_the_limit_comes_whole(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """One batch beyond max_bytes is given all the same (KIP-74), so reading never sticks."""
    produce(kafka.producer(), topic, 0, [b"x" * 100_000])
    client = connect(topic)
    await client.identity()
    [stretch] = await client.fetch(NODE, {(topic, 0): 0}, max_wait_ms=500, min_bytes=1, max_bytes=1000)
    assert [len(each.value or b"") for each in stretch.records] == [100_000]


async def test_a_busy_partition_starves_no_other(kafka: KafkaCluster, connect: Callable[..., Kafka]) -> None:
    """Where an answer has room for one partition only, each has its turn."""
    name = next(_names)
    kafka.create_topic(name, 3)
    for partition in range(3):
        produce(kafka.producer(), name, partition, [b"x" * 5000])
    client = connect(name)
    await client.identity()
    asked = {(name, partition): 0 for partition in range(3)}
    served: set[int] = set()
    for _ in range(3):
        stretches = await client.fetch(NODE, asked, max_wait_ms=500, min_bytes=1, max_bytes=1000)
        served |= {each.partition for each in stretches if each.records}
    assert {0, 1, 2} == served


async def test_a_long_poll_holds_up_no_question(topic: str, connect: Callable[..., Kafka]) -> None:
    """Identity and offsets are answered while a fetch waits, for they have a connection of their own."""
    client = connect(topic)
    await client.identity()
    poll = asyncio.create_task(client.fetch(NODE, {(topic, 0): 0}, max_wait_ms=30_000, min_bytes=1, max_bytes=1 << 20))
    await client.identity()
    await client.offsets(NODE, [(topic, 0)], LATEST)
    assert not poll.done()
    await client.close()
    with pytest.raises(BrokerUnavailable):
        await poll


async def test_a_cancelled_fetch_holds_up_nothing(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """After a cancelled long poll the next fetch is answered at once, with its own answer."""
    client = connect(topic)
    await client.identity()
    poll = asyncio.create_task(
        client.fetch(NODE, {(topic, 0): 0}, max_wait_ms=60_000, min_bytes=1 << 20, max_bytes=1 << 20)
    )
    await client.identity()
    poll.cancel()
    await asyncio.wait({poll})
    produce(kafka.producer(), topic, 0, [b"next"])
    assert [each.value for each in (await fetch(client, topic, 0)).records] == [b"next"]


async def test_a_long_poll_ends_with_the_record(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]) -> None:
    """A waiting fetch is answered when a record comes, long before its time is up."""
    client = connect(topic)
    await client.identity()
    poll = asyncio.create_task(client.fetch(NODE, {(topic, 0): 0}, max_wait_ms=60_000, min_bytes=1, max_bytes=1 << 20))
    await asyncio.to_thread(produce, kafka.producer(), topic, 0, [b"now"])
    [stretch] = await asyncio.wait_for(poll, 30)
    assert [each.value for each in stretch.records] == [b"now"]


async def test_reading_goes_on_after_a_crash(kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]) -> None:
    """A killed broker is BrokerUnavailable, soon; when it is back the same client reads on from the next offset."""
    if not kafka.ours:
        pytest.fail("this test kills its broker and cannot use the one in TEST_KAFKA_BOOTSTRAP")
    produce(kafka.producer(), topic, 0, [b"before"])
    client = connect(topic)
    before = await fetch(client, topic, 0)
    kafka.kill()
    with pytest.raises(BrokerUnavailable):
        await client.fetch(NODE, {(topic, 0): 1}, max_wait_ms=500, min_bytes=1, max_bytes=1 << 20)
    with pytest.raises(BrokerUnavailable):
        await client.identity()
    kafka.start()
    produce(kafka.producer(), topic, 0, [b"after"])
    after = await read(client, topic, before.next_offset, 2)
    assert ([each.value for each in before.records], [each.value for each in after]) == ([b"before"], [b"after"])


async def test_a_dead_bootstrap_address_is_passed_over(
    kafka: KafkaCluster, topic: str, connect: Callable[..., Kafka]
) -> None:
    """The first address that answers is enough."""
    [nobody] = free_ports(1)
    client = connect(topic, bootstrap=f"127.0.0.1:{nobody},{kafka.bootstrap}")
    assert (await client.identity()).brokers == (NODE,)


async def test_close_leaves_nothing(topic: str, kafka: KafkaCluster) -> None:
    """After close no task is left, and the client says so when it is asked again."""
    tasks = asyncio.all_tasks()
    client = Kafka(KafkaConnection(bootstrap_servers=kafka.bootstrap), [topic], isolation_level="read_committed")
    await fetch(client, topic, 0, wait_ms=1)
    await client.close()
    assert tasks == asyncio.all_tasks()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await client.identity()


@contextlib.asynccontextmanager
async def closing(client: Kafka) -> AsyncIterator[Kafka]:
    try:
        yield client
    finally:
        await client.close()


async def until_shown(client: Kafka, topic: str) -> None:
    """Rights take a moment to reach the broker."""
    while (await client.identity()).topics[topic].trouble is not None:
        pass


def secure_client(kafka: KafkaCluster, topic: str, **changed: str) -> Kafka:
    """A client by TLS and SASL, as the operator would configure it."""
    if not kafka.ours:
        pytest.fail(
            "this test needs a listener with TLS and SASL, which the cluster in TEST_KAFKA_BOOTSTRAP may not have"
        )
    settings = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": USER,
        "sasl_password": PASSWORD,
        "ssl_ca_file": kafka.ca_file,
    }
    connection = KafkaConnection(bootstrap_servers=kafka.secure_bootstrap, **(settings | changed))
    return Kafka(connection, [topic], isolation_level="read_committed")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_tls_and_sasl(kafka: KafkaCluster, topic: str, mechanism: str) -> None:
    """Every mechanism that can be configured reads a record through TLS, and closes cleanly."""
    produce(kafka.producer(), topic, 0, [b"secret"])
    kafka.allow(topic, "READ")
    if mechanism != "PLAIN":
        kafka.add_scram(mechanism)
    client = secure_client(kafka, topic, sasl_mechanism=mechanism)
    async with closing(client):
        await until_shown(client, topic)
        assert [record.value for record in await read(client, topic, 0, 1)] == [b"secret"]


@pytest.mark.parametrize(
    "changed",
    [
        {"sasl_password": "wrong"},
        {"sasl_username": "nobody"},
        {"sasl_password": "wrong", "sasl_mechanism": "SCRAM-SHA-256"},
    ],
)
async def test_wrong_credentials(kafka: KafkaCluster, changed: dict[str, str]) -> None:
    """A user who is not let in is an authentication failure, whose sentence holds no password."""
    async with closing(secure_client(kafka, "any", **changed)) as client:
        with pytest.raises(AuthenticationFailed) as caught:
            await client.identity()
    assert "wrong" not in str(caught.value)


async def test_an_untrusted_certificate(kafka: KafkaCluster, tmp_path: Path) -> None:
    """A broker whose certificate our CA did not sign is an authentication failure."""
    stranger = str(make_certificate(tmp_path).cert_file)
    async with closing(secure_client(kafka, "any", ssl_ca_file=stranger)) as client:
        with pytest.raises(AuthenticationFailed, match="self-signed certificate"):
            await client.identity()


async def test_a_missing_right_is_told(kafka: KafkaCluster, topic: str) -> None:
    """Without Describe the topic is not authorized; with it alone, its records are not."""
    async with closing(secure_client(kafka, topic)) as client:
        hidden = (await client.identity()).topics[topic]
        kafka.allow(topic, "DESCRIBE")
        await until_shown(client, topic)
        unread = await fetch(client, topic, 0)
    assert [type(hidden.trouble), type(unread.trouble)] == [NotAuthorized, NotAuthorized]
