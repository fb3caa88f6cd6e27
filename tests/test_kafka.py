"""`tailrace.kafka` in process: batches from bytes, requests byte for byte, and a client of the embedded broker."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import ssl
import struct
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.api import RequestHeader_v2
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)
from aiokafka.record._crecords.cutil import crc32c_cython
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from confluent_kafka import Producer

from certificates import Certificate, make_certificate
from tailrace.dev import EmbeddedBroker
from tailrace.errors import ConfigurationError
from tailrace.kafka import (
    EARLIEST,
    LATEST,
    AuthenticationFailed,
    BrokerError,
    BrokerUnavailable,
    CorruptBatch,
    Identity,
    Kafka,
    KafkaConnection,
    NotAuthorized,
    NotLeader,
    OffsetOutOfRange,
    Stretch,
    TopicIdentity,
    UnknownTopic,
)
from tailrace.kafka.batches import Unreadable, read_batches
from tailrace.kafka.connection import Link
from tailrace.kafka.fetch import Fetch, stretch_of
from tailrace.kafka.fetch_wire import FetchAnswer, Question, Slice
from tailrace.kafka.metadata import Metadata, identity_of
from tailrace.kafka.troubles import trouble_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from tailrace.errors import KafkaTrouble
    from tailrace.event import Record

TRANSACTIONAL, CONTROL = 0x10, 0x20
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"


# Batches -----------------------------------------------------------------------------------------------------------


def batch(
    first: int, values: Sequence[bytes | None], *, key: bytes | None = b"s", producer: int = -1, attributes: int = 0
) -> bytes:
    """One batch of message format 2, beginning at the offset ``first``, its checksum right."""
    builder = DefaultRecordBatchBuilder(2, attributes & 7, attributes & TRANSACTIONAL, producer, 0, 0, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, 1000 + number, key, value, [])
    return patched(bytes(builder.build()), first=first, attributes=attributes)


def patched(
    data: bytes, *, first: int | None = None, attributes: int | None = None, last_delta: int | None = None
) -> bytes:
    """The same batch with other header fields, and the checksum that belongs to them."""
    raw = bytearray(data)
    if first is not None:
        struct.pack_into(">q", raw, 0, first)
    if attributes is not None:
        struct.pack_into(">h", raw, 21, attributes)
    if last_delta is not None:
        struct.pack_into(">i", raw, 23, last_delta)
    struct.pack_into(">I", raw, 17, crc32c_cython(bytes(raw[21:])))
    return bytes(raw)


def broken(data: bytes) -> bytes:
    """The same batch with one bit of its last byte changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


def resized(data: bytes) -> bytes:
    """The same bytes with the length that belongs to them."""
    return data[:8] + struct.pack(">i", len(data) - 12) + data[12:]


def seen(records: Sequence[Record]) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in records]


def test_batches_follow_each_other() -> None:
    """All records of all batches come in order, and the next offset is past the last."""
    found = read_batches(batch(5, [b"a", b"b"]) + batch(7, [None]), 5)
    assert (seen(found.records), found.next_offset, found.unreadable) == ([(5, b"a"), (6, b"b"), (7, None)], 8, None)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_codecs(codec: int) -> None:
    """None, gzip, snappy, lz4 and zstd."""
    found = read_batches(batch(0, [b"x" * 500] * 3, attributes=codec), 0)
    assert seen(found.records) == [(number, b"x" * 500) for number in range(3)]


def test_records_before_the_position_are_left_out() -> None:
    """A broker answers with the whole batch that holds the offset; what lies before it was not asked for."""
    found = read_batches(batch(5, [b"a", b"b", b"c"]), 6)
    assert (seen(found.records), found.next_offset) == ([(6, b"b"), (7, b"c")], 8)


def test_compacted_records_leave_gaps() -> None:
    """The next offset is what the header says, however many records compaction has taken."""
    found = read_batches(patched(batch(5, [b"a"]), last_delta=9) + batch(30, [b"b"]), 5)
    assert (seen(found.records), found.next_offset) == ([(5, b"a"), (30, b"b")], 31)


def test_an_emptied_batch_moves_the_position() -> None:
    """A batch of which compaction has left only the header is passed, or the same fetch would repeat for ever."""
    found = read_batches(patched(batch(5, []), last_delta=4), 5)
    assert (seen(found.records), found.next_offset, found.unreadable) == ([], 10, None)


def test_a_cut_last_batch_is_left_for_later() -> None:
    """The broker cuts an answer at its limit; what is there counts, the rest is fetched again."""
    found = read_batches(batch(0, [b"a"]) + batch(1, [b"b"])[:-5], 0)
    assert (seen(found.records), found.next_offset, found.unreadable) == ([(0, b"a")], 1, None)


def test_control_batches_are_passed() -> None:
    """Markers are never records, but they take offsets."""
    found = read_batches(batch(0, [b""], key=COMMIT, producer=7, attributes=TRANSACTIONAL | CONTROL), 0)
    assert (seen(found.records), found.next_offset) == ([], 1)


def test_aborted_transactions_stay_behind() -> None:
    """From the named first offset until the marker the producer's batches are hidden, others are not."""
    data = (
        batch(0, [b"committed"], producer=7, attributes=TRANSACTIONAL)
        + batch(1, [b"aborted"], producer=7, attributes=TRANSACTIONAL)
        + batch(2, [b"another's"], producer=8, attributes=TRANSACTIONAL)
        + batch(3, [b"plain"], producer=7)
        + batch(4, [b""], key=ABORT, producer=7, attributes=TRANSACTIONAL | CONTROL)
        + batch(5, [b"later"], producer=7, attributes=TRANSACTIONAL)
    )
    found = read_batches(data, 0, [(7, 1)])
    assert [value for _, value in seen(found.records)] == [b"committed", b"another's", b"plain", b"later"]
    assert found.next_offset == 6


def test_reading_that_begins_at_the_end_of_an_aborted_transaction() -> None:
    """What its producer writes after the marker counts, also where the marker is the first thing that comes."""
    data = batch(5, [b""], key=ABORT, producer=7, attributes=TRANSACTIONAL | CONTROL)
    data += batch(6, [b"committed"], producer=7, attributes=TRANSACTIONAL)
    assert [(6, b"committed")] == seen(read_batches(data, 5, [(7, 3)]).records)


def test_an_aborted_end_moves_the_position() -> None:
    """An answer of nothing but aborted records still leads on."""
    found = read_batches(batch(3, [b"a", b"b"], producer=7, attributes=TRANSACTIONAL), 3, [(7, 3)])
    assert (seen(found.records), found.next_offset) == ([], 5)


BAD = batch(4, [b"x", b"y"])


@pytest.mark.parametrize(
    "bad, reason",
    [
        pytest.param(broken(BAD), "its checksum is wrong", id="checksum"),
        pytest.param(BAD[:-3], "its length is wrong", id="cut"),
        pytest.param(patched(BAD, attributes=7), "codec", id="unknown codec"),
        pytest.param(patched(BAD, attributes=4), "", id="another codec than it says"),
        pytest.param(patched(resized(BAD[:-1])), "", id="records that end too soon"),
        pytest.param(patched(resized(BAD + b"z")), "", id="records that end too late"),
    ],
)
def test_a_batch_that_cannot_be_read_is_known_by_its_header(bad: bytes, reason: str) -> None:
    """Nothing of it is read; its header says which offsets it held, and the position stays before it."""
    found = read_batches(bad, 4)
    assert found.unreadable is not None
    assert (found.records, found.next_offset, found.unreadable[:2]) == ([], 4, (4, 6))
    assert reason in found.unreadable.reason


def test_what_lies_before_a_bad_batch_is_kept() -> None:
    """One bad batch costs only itself."""
    found = read_batches(batch(0, [b"good"]) + broken(batch(1, [b"bad"])) + batch(2, [b"after"]), 0)
    assert (seen(found.records), found.next_offset) == ([(0, b"good")], 1)
    assert found.unreadable == Unreadable(1, 2, "its checksum is wrong")


@pytest.mark.parametrize("length", [-1, -(2**31), 0, 48, 2**31 - 1])
def test_a_damaged_length_ends_the_reading(length: int) -> None:
    """Whatever the length field says, reading ends, and the jump is at least one offset."""
    data = batch(4, [b"x"])
    found = read_batches(data[:8] + struct.pack(">i", length) + data[12:], 4)
    assert found.unreadable == Unreadable(4, 5, "its length is wrong")


def test_an_unknown_format_is_named() -> None:
    """A message format that does not exist yet is unreadable, in plain words."""
    data = batch(4, [b"x"])
    found = read_batches(data[:16] + b"\x09" + data[17:], 4)
    assert found.unreadable == Unreadable(4, 5, "message format 9 is unknown")


def test_a_jump_always_leads_on() -> None:
    """A bad batch below the position is jumped to behind the position, never back."""
    found = read_batches(broken(batch(4, [b"x"])), 9)
    assert found.unreadable == Unreadable(4, 10, "its checksum is wrong")


def test_old_message_formats_are_read() -> None:
    """Topics from before Kafka 0.11 hold messages of format 1."""
    builder = LegacyRecordBatchBuilder(1, 0, 1 << 16)
    builder.append(0, 1000, b"key", b"old")
    builder.append(1, 1001, b"key", b"older")
    found = read_batches(bytes(builder.build()), 0)
    assert (seen(found.records), found.next_offset, found.newest_ms) == ([(0, b"old"), (1, b"older")], 2, 1001)


def test_nothing_is_nothing() -> None:
    """An empty answer leaves the position alone."""
    assert read_batches(b"", 5) == ([], 5, -1, None, 0)


def test_newest_of_all_that_was_passed() -> None:
    """Markers count, because they do where Kafka looks for a time; a batch that cannot be read does not."""
    old, older = batch(0, [b"a", b"b", b"c"]), batch(3, [b"d"])
    marker = batch(4, [b"", b"", b"", b"", b""], key=COMMIT, producer=7, attributes=TRANSACTIONAL | CONTROL)
    bad = broken(batch(9, [b"x"] * 9))
    passed = [read_batches(data, 0).newest_ms for data in (old, old + older, old + marker, old + bad, older + bad)]
    assert passed == [1002, 1002, 1004, 1002, 1000]


# Requests and answers ----------------------------------------------------------------------------------------------


ASKED = {"one": [(0, 5), (1, 6)], "zwölf": [(2, 7)] * 200}
IDS = {"one": "01" * 16, "zwölf": "f2" * 16}


def question(ids: Mapping[str, str]) -> Question:
    return Question(ASKED, ids, max_wait_ms=500, min_bytes=1, max_bytes=99, partition_max_bytes=9, isolation=1)


def test_fetch_is_packed_as_the_schema_says() -> None:
    """Our packing by hand gives the very bytes of aiokafka's Fetch v11."""
    topics = [(name, [(part, -1, offset, -1, 9) for part, offset in parts]) for name, parts in ASKED.items()]
    theirs = FetchRequest_v11(-1, 500, 1, 99, 1, 0, -1, topics, [], "")
    assert Fetch(question({})).prepare({1: (4, 17)}).encode() == theirs.encode()


UUID_BYTES = 16


class Raw(AbstractType[bytes]):  # type: ignore[misc] # untyped base
    """A topic's id, as it is."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: io.BytesIO) -> bytes:
        return data.read(UUID_BYTES)


TAGS = ("tags", TaggedFields)
REQUEST_13 = Schema(
    *[("replica_id", Int32), ("max_wait_ms", Int32), ("min_bytes", Int32), ("max_bytes", Int32)],
    *[("isolation_level", Int8), ("session_id", Int32), ("session_epoch", Int32)],
    (
        "topics",
        CompactArray(
            ("topic_id", Raw),
            (
                "partitions",
                CompactArray(
                    *[("partition", Int32), ("current_leader_epoch", Int32), ("fetch_offset", Int64)],
                    *[("last_fetched_epoch", Int32), ("log_start_offset", Int64), ("max_bytes", Int32), TAGS],
                ),
            ),
            TAGS,
        ),
    ),
    ("forgotten", CompactArray(("topic_id", Raw), ("partitions", CompactArray(Int32)), TAGS)),
    ("rack_id", CompactString("utf-8")),
    TAGS,
)
"""Fetch request, version 13, as Kafka's own FetchRequest.json has it."""
RESPONSE_13 = Schema(
    *[("throttle_time_ms", Int32), ("error_code", Int16), ("session_id", Int32)],
    (
        "responses",
        CompactArray(
            ("topic_id", Raw),
            (
                "partitions",
                CompactArray(
                    *[("partition", Int32), ("error_code", Int16), ("high_watermark", Int64)],
                    *[("last_stable_offset", Int64), ("log_start_offset", Int64)],
                    ("aborted", CompactArray(("producer_id", Int64), ("first_offset", Int64), TAGS)),
                    ("preferred_read_replica", Int32),
                    ("records", CompactBytes),
                    TAGS,
                ),
            ),
            TAGS,
        ),
    ),
    TAGS,
)
"""Fetch response, version 13, as Kafka's own FetchResponse.json has it."""


def test_fetch_by_id_is_packed_as_the_schema_says() -> None:
    """Our packing by hand gives the very bytes of the schema, where lengths need two bytes as well."""
    topics: list[Any] = [
        (bytes.fromhex(IDS[name]), [(part, -1, offset, -1, -1, 9, {}) for part, offset in parts], {})
        for name, parts in ASKED.items()
    ]
    ours = Fetch(question(IDS)).prepare({1: (4, 17)})
    assert ours.encode() == REQUEST_13.encode((-1, 500, 1, 99, 1, 0, -1, topics, [], "", {}))
    header = RequestHeader_v2(ours, correlation_id=7, client_id="tailrace")
    assert ours.build_request_header(7, "tailrace").encode() == header.encode()


@pytest.mark.parametrize(
    "ids, greatest, version", [(IDS, 17, 13), (IDS, 12, 11), ({"one": "01" * 16}, 17, 11), ({}, 17, 11)]
)
def test_topics_are_asked_for_by_id_where_that_can_be(ids: Mapping[str, str], greatest: int, version: int) -> None:
    """The broker has to know how, and the id of each of them has to be known."""
    assert Fetch(question(ids)).prepare({1: (4, greatest)}).API_VERSION == version


SOME = {1: UnsignedVarInt32.encode(200) + b"x" * 200, 200: UnsignedVarInt32.encode(0)}
"""Tagged fields, each with its size, which aiokafka does not write."""


@pytest.mark.parametrize("tags", [{}, SOME], ids=["none", "some"])
def test_a_fetch_answer_by_id_is_read_as_the_schema_says(tags: dict[int, bytes]) -> None:
    """Our reading by hand finds what the schema wrote; tagged fields, whatever they say, are passed over."""
    parts: list[Any] = [
        (0, 0, 9, 8, 1, [(7, 3, tags), (8, 4, tags)], -1, b"bytes" * 99, tags),
        (1, 6, -1, -1, -1, None, -1, None, tags),
    ]
    topics: list[Any] = [(bytes.fromhex(IDS["one"]), parts, tags), (bytes.fromhex(IDS["zwölf"]), [], tags)]
    frame = io.BytesIO(Int32.encode(7) + TaggedFields.encode(tags) + RESPONSE_13.encode((0, 70, 0, topics, tags)))
    asked = Fetch(question(IDS)).prepare({1: (4, 17)})
    assert asked.parse_response_header(frame).correlation_id == 7
    answer = asked.RESPONSE_TYPE.decode(frame)
    assert answer.error_code == 70
    assert answer.slices == [
        Slice(IDS["one"], 0, 0, 9, 8, 1, [(7, 3), (8, 4)], b"bytes" * 99),
        Slice(IDS["one"], 1, 6, -1, -1, -1, [], b""),
    ]


def test_a_fetch_answer_is_read_as_the_schema_says() -> None:
    """Our reading by hand finds what aiokafka's Fetch v11 wrote, wherever the answer begins in the frame."""
    parts = [(0, 0, 9, 8, 1, [(7, 3), (8, 4)], -1, b"bytes"), (1, 6, -1, -1, -1, None, -1, None)]
    raw = FetchResponse_v11(0, 70, 0, [("zwölf", parts), ("empty", [])]).encode()
    frame = io.BytesIO(b"head" + raw)
    frame.seek(4)
    answer = FetchAnswer.decode(frame)
    assert answer.error_code == 70
    assert answer.slices == [
        Slice("zwölf", 0, 0, 9, 8, 1, [(7, 3), (8, 4)], b"bytes"),
        Slice("zwölf", 1, 6, -1, -1, -1, [], b""),
    ]


def stretch_read(part: Slice, asked: int) -> Stretch:
    return stretch_of(part, read_batches(part.data, asked, part.aborted), "t")


def test_a_partitions_error_stays_in_its_stretch() -> None:
    """No records, and the offset as it was asked for."""
    stretch = stretch_read(Slice("t", 3, 6, -1, -1, -1, [], b""), 42)
    assert isinstance(stretch.trouble, NotLeader)
    assert (list(stretch.records), stretch.next_offset) == ([], 42)


def test_a_corrupt_batch_is_named_with_its_place() -> None:
    """The trouble carries the batch's offsets, and its sentence says where it lies."""
    stretch = stretch_read(Slice("t", 3, 0, 99, 99, 0, [], broken(batch(4, [b"x", b"y"]))), 4)
    assert isinstance(stretch.trouble, CorruptBatch)
    assert (stretch.trouble.first_offset, stretch.trouble.next_offset, stretch.next_offset) == (4, 6, 4)
    assert str(stretch.trouble) == (
        "topic t, partition 3: the batch from offset 4 up to 6 cannot be read: its checksum is wrong"
    )


def test_a_damaged_end_never_lies_past_the_log() -> None:
    """The header that says where a bad batch ends may be the damaged part."""
    data = broken(patched(batch(4, [b"x"]), last_delta=2**30))
    trouble = stretch_read(Slice("t", 0, 0, 50, 50, 0, [], data), 4).trouble
    assert isinstance(trouble, CorruptBatch)
    assert trouble.next_offset == 50


def test_an_old_brokers_identity_has_no_topic_ids() -> None:
    """Metadata v5: leaders in the order of the partitions, no ids, and a missing topic with its trouble."""
    request = Metadata(["t", "ghost"]).prepare({3: (0, 5)})
    brokers = [(1, "a", 9092, None), (2, "b", 9092, None)]
    parts = [(0, 1, 2, [2], [2], []), (5, 0, -1, [1], [], [1])]
    answer = request.RESPONSE_TYPE(0, brokers, "cluster", 1, [(0, "t", False, parts), (3, "ghost", False, [])])
    found = identity_of(request.RESPONSE_TYPE.decode(answer.encode()))
    ghost = found.topics["ghost"]
    assert found.topics["t"] == TopicIdentity("t", None, (None, 2), None)
    assert found == Identity("cluster", (1, 2), {"t": found.topics["t"], "ghost": ghost})
    assert (ghost.leaders, isinstance(ghost.trouble, UnknownTopic)) == ((), True)


@pytest.mark.parametrize("newest, version", [(13, 12), (12, 12), (11, 11), (9, 5), (5, 5)])
def test_the_newest_common_metadata_version_is_asked(newest: int, version: int) -> None:
    """12 where the broker has it, 11 for Kafka 2.8 and 3.0, 5 before that; creation is never allowed."""
    request = Metadata(["t"]).prepare({3: (0, newest)})
    assert (request.API_VERSION, request.allow_auto_topic_creation) == (version, False)


@pytest.mark.parametrize(
    "code, kind, sentence",
    [
        (1, OffsetOutOfRange, "topic t, partition 0 does not hold the offset that was asked for"),
        (3, UnknownTopic, "topic t, partition 0 does not exist"),
        (6, NotLeader, "topic t, partition 0 is led by another broker, or by none at the moment"),
        (29, NotAuthorized, "topic t, partition 0 may not be read: grant this user Describe and Read on the topic"),
        (7, BrokerError, "topic t, partition 0: the broker answered with error 7 (RequestTimedOutError)"),
        (118, BrokerError, "topic t, partition 0: the broker answered with error 118 (unknown)"),
    ],
)
def test_error_codes_become_sentences(code: int, kind: type[KafkaTrouble], sentence: str) -> None:
    """Each code has its class, or is told by its number."""
    trouble = trouble_of(code, "t", 0)
    assert (type(trouble), str(trouble)) == (kind, sentence)


# Settings ----------------------------------------------------------------------------------------------------------


def test_bootstrap_addresses() -> None:
    """Hosts, ports, IPv6 in brackets, and Kafka's own port where none is given."""
    found = KafkaConnection(bootstrap_servers="one:1, [::1]:2,three").bootstrap
    assert found == [("one", 1), ("::1", 2), ("three", 9092)]


@pytest.mark.parametrize("servers", ["", "host:port", "a:1,,b:2", "host:0", "host:70000"])
def test_bootstrap_addresses_that_make_no_sense(servers: str) -> None:
    """The message names the variable."""
    with pytest.raises(ConfigurationError, match="TAILRACE_KAFKA_BOOTSTRAP_SERVERS"):
        KafkaConnection(bootstrap_servers=servers)


def test_all_connection_problems_are_told_at_once() -> None:
    """Every problem names its variable, and none of them a secret."""
    with pytest.raises(ConfigurationError) as caught:
        KafkaConnection(
            bootstrap_servers="", security_protocol="SASL_PLAIN", sasl_password="hush", ssl_key_file="key.pem"
        )
    names = [problem.split(":")[0].split(" ")[0] for problem in caught.value.problems]
    assert names == [
        "TAILRACE_KAFKA_BOOTSTRAP_SERVERS",
        "TAILRACE_KAFKA_SECURITY_PROTOCOL",
        "TAILRACE_KAFKA_SASL_MECHANISM",
        "TAILRACE_KAFKA_SASL_USERNAME",
        "TAILRACE_KAFKA_SSL_CERT_FILE",
    ]
    assert "hush" not in str(caught.value)


def test_sasl_settings_are_sent_only_with_sasl() -> None:
    """A password that stands in the environment is not handed to a plain connection."""
    plain = KafkaConnection(bootstrap_servers="a:1", sasl_mechanism="PLAIN", sasl_username="u", sasl_password="p")
    assert plain.options()["sasl_plain_password"] is None
    assert plain.options()["ssl_context"] is None


def test_sasl_settings_are_sent_with_sasl() -> None:
    """Mechanism, user and password as they were given."""
    given = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u", "sasl_password": ""}
    options = KafkaConnection(bootstrap_servers="a:1", security_protocol="SASL_PLAINTEXT", **given).options()
    assert list(given.values()) == [
        options[name] for name in ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    ]


@pytest.mark.parametrize("field", ["ssl_ca_file", "ssl_cert_file"])
def test_a_tls_file_that_cannot_be_used_is_named(field: str, tmp_path: Path) -> None:
    """At start, with the variable and the path."""
    path = tmp_path / "nothing.pem"
    connection = KafkaConnection(bootstrap_servers="a:1", security_protocol="SSL", **{field: str(path)})
    with pytest.raises(ConfigurationError, match=f"TAILRACE_KAFKA_{field.upper()}: {path} cannot be used: No such"):
        Kafka(connection, [], isolation_level="read_committed")


def test_an_unknown_isolation_level_is_refused() -> None:
    """The message names the variable."""
    with pytest.raises(ConfigurationError, match="TAILRACE_KAFKA_ISOLATION_LEVEL"):
        Kafka(KafkaConnection(bootstrap_servers="a:1"), [], isolation_level="committed")


# A client of the embedded broker -------------------------------------------------------------------------------------


@pytest.fixture
def brokers() -> Iterator[EmbeddedBroker]:
    """Two embedded brokers and the topic ``rivers`` with two partitions, led by 1 and 2."""
    with EmbeddedBroker(2) as cluster:
        cluster.create_topic("rivers", 2, 2)
        for partition in range(2):
            cluster.set_leader("rivers", partition, partition + 1)
        yield cluster


@pytest.fixture
async def client(brokers: EmbeddedBroker) -> AsyncIterator[Kafka]:
    """A client that has asked for the identity once."""
    kafka = Kafka(KafkaConnection(bootstrap_servers=brokers.bootstrap), ["rivers"], isolation_level="read_committed")
    await kafka.identity()
    yield kafka
    await kafka.close()


def produce(brokers: EmbeddedBroker, partition: int, *values: bytes) -> None:
    """Send records and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": brokers.bootstrap, "linger.ms": 20, "log_level": 2})
    for value in values:
        producer.produce("rivers", value, partition=partition)
    assert producer.flush(10) == 0


async def test_the_embedded_broker_is_read(brokers: EmbeddedBroker, client: Kafka) -> None:
    """The same requests work against librdkafka's broker: each leader gives what it leads."""
    produce(brokers, 0, b"a", b"b")
    produce(brokers, 1, b"c")
    found = {}
    for node in (1, 2):
        asked = {("rivers", node - 1): 0}
        for each in await client.fetch(node, asked, max_wait_ms=10, min_bytes=1, max_bytes=1 << 20):
            found[each.partition] = (seen(each.records), each.next_offset, each.high_watermark)
    assert found == {0: ([(0, b"a"), (1, b"b")], 2, 2), 1: ([(0, b"c")], 1, 1)}


async def test_the_embedded_brokers_ends(brokers: EmbeddedBroker, client: Kafka) -> None:
    """Start and end are known, offsets by time are not."""
    produce(brokers, 0, b"a", b"b")
    brokers.delete_records("rivers", 0, 1)
    found = [(await client.offsets(1, [("rivers", 0)], when))["rivers", 0] for when in (EARLIEST, LATEST, 1)]
    assert found == [1, 2, None]


async def test_leaders_by_partition(brokers: EmbeddedBroker, client: Kafka) -> None:
    """The identity names each partition's leader, and None where there is none."""
    brokers.set_leader("rivers", 1, -1)
    identity = await client.identity()
    assert (sorted(identity.brokers), identity.topics["rivers"].leaders) == ([1, 2], (1, None))


async def test_the_wrong_broker_says_so(client: Kafka) -> None:
    """A fetch from a broker that does not lead is NotLeader, for that partition alone."""
    asked = {("rivers", 0): 0, ("rivers", 1): 0}
    found = await client.fetch(1, asked, max_wait_ms=10, min_bytes=1, max_bytes=1 << 20)
    assert {each.partition: type(each.trouble) for each in found} == {0: type(None), 1: NotLeader}


async def test_asking_makes_no_topic(brokers: EmbeddedBroker) -> None:
    """Even at a broker that makes topics for whoever asks, a missing one stays missing."""
    kafka = Kafka(KafkaConnection(bootstrap_servers=brokers.bootstrap), ["ghost"], isolation_level="read_committed")
    troubles = [(await kafka.identity()).topics["ghost"].trouble for _ in range(2)]
    await kafka.close()
    assert [type(each) for each in troubles] == [UnknownTopic, UnknownTopic]


async def test_an_unknown_node_is_unavailable(client: Kafka) -> None:
    """A node id that the last identity did not name cannot be asked."""
    with pytest.raises(BrokerUnavailable, match="node id 9"):
        await client.fetch(9, {("rivers", 0): 0}, max_wait_ms=10, min_bytes=1, max_bytes=1)


async def test_one_broker_down_leaves_the_other(brokers: EmbeddedBroker, client: Kafka) -> None:
    """The identity comes from whoever answers; only the broker that is down is unavailable, by its address, which those
    that are there no longer tell."""
    brokers.down(1)
    for reason in ("", "the cluster does not know it"):
        with pytest.raises(BrokerUnavailable, match=f"{brokers.bootstrap.split(',')[0]} cannot be reached: {reason}"):
            await client.fetch(1, {("rivers", 0): 0}, max_wait_ms=10, min_bytes=1, max_bytes=1 << 20)
        await client.identity()
    assert await client.fetch(2, {("rivers", 1): 0}, max_wait_ms=10, min_bytes=1, max_bytes=1 << 20)


async def test_an_outage_is_two_lines(brokers: EmbeddedBroker, client: Kafka, caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts: one line when a broker goes, one when it is back, and none of aiokafka's."""
    caplog.set_level(logging.INFO)
    for turn in (brokers.down, brokers.up):
        turn(1)
        for _ in range(3):
            await asyncio.gather(client.offsets(1, [("rivers", 0)], LATEST), return_exceptions=True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert {record.name for record in caplog.records} == {"tailrace.kafka"}


async def test_bootstrap_is_asked_again(brokers: EmbeddedBroker) -> None:
    """When no known broker answers, the bootstrap addresses are the way back."""
    with EmbeddedBroker() as other:
        servers = f"{brokers.bootstrap},{other.bootstrap}"
        kafka = Kafka(KafkaConnection(bootstrap_servers=servers), ["rivers"], isolation_level="read_committed")
        await kafka.identity()
        brokers.down(1)
        brokers.down(2)
        moved = await kafka.identity()
        await kafka.close()
    assert moved.brokers == (1,)


# Peers that are no brokers --------------------------------------------------------------------------------------------


@pytest.fixture
async def silent() -> AsyncIterator[tuple[str, int]]:
    """A server that takes connections and never says a word."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def closing(servers: str) -> AsyncIterator[Kafka]:
    """A client that is closed at the end."""
    kafka = Kafka(KafkaConnection(bootstrap_servers=servers), [], isolation_level="read_committed")
    yield kafka
    await kafka.close()


def link_to(address: tuple[str, int], reports: list[KafkaTrouble | None], **settings: str) -> Link:
    connection = KafkaConnection(bootstrap_servers="{}:{}".format(*address), **settings)
    return Link(address, connection.options(), lambda _, trouble: reports.append(trouble), set())


async def test_a_silent_peer_is_given_up(silent: tuple[str, int]) -> None:
    """The time that the caller gives bounds it all, and the trouble is reported."""
    reports: list[KafkaTrouble | None] = []
    link = link_to(silent, reports)
    with pytest.raises(BrokerUnavailable, match=r"no answer within 0\.05 s"):
        await link.ask(Metadata([]), 0.05)
    assert [type(each) for each in reports] == [BrokerUnavailable]


class CertificateWanted:
    """A TLS server that asks for a certificate; where none comes it says so, and waits for the client to go."""

    def __init__(self, certificate: Certificate) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.cert_file, certificate.key_file)
        self._context.load_verify_locations(certificate.cert_file)
        self._context.verify_mode = ssl.CERT_REQUIRED

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Shake hands as far as it goes."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self._context.wrap_bio(incoming, outgoing, server_side=True)
        refused = False
        while not refused:
            incoming.write(await reader.read(1 << 16))
            try:
                server.do_handshake()
            except ssl.SSLError as error:
                refused = not isinstance(error, ssl.SSLWantReadError)
            writer.write(outgoing.read())
        await reader.read()
        writer.close()


async def test_a_broker_that_wants_a_certificate(tmp_path: Path) -> None:
    """A TLS peer that refuses us is an authentication failure, in its own word, though it says so only afterwards."""
    certificate = make_certificate(tmp_path)
    settings = {"security_protocol": "SSL", "ssl_ca_file": str(certificate.cert_file)}
    async with await asyncio.start_server(CertificateWanted(certificate).serve, "127.0.0.1", 0) as server:
        link = link_to(server.sockets[0].getsockname(), [], **settings)
        with pytest.raises(AuthenticationFailed, match="CERTIFICATE_REQUIRED"):
            await link.ask(Metadata([]), 5)


class Rude:
    """A server that hangs up on whoever speaks, once it has listened to so many requests."""

    def __init__(self, patience: int) -> None:
        self._answers = iter([ScriptedBroker().answers[each] for each in (18, 3)][:patience])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer as long as there is patience, then hang up."""
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            request = await reader.readexactly(size)
            body = next(self._answers, None)
            if body is None:
                break
            answer = request[4:8] + body
            writer.write(struct.pack(">i", len(answer)) + answer)
        writer.close()


@pytest.mark.parametrize("patience, hint", [(0, True), (1, True), (2, False)])
async def test_a_broker_that_hangs_up(patience: int, hint: bool) -> None:
    """Before its first answer, that is what a wrong security protocol looks like, and is said; later it is not."""
    reports: list[KafkaTrouble | None] = []
    async with await asyncio.start_server(Rude(patience).serve, "127.0.0.1", 0) as server:
        link = link_to(server.sockets[0].getsockname(), reports)
        for _ in range(patience // 2):
            await link.ask(Metadata([]), 5)
        with pytest.raises(BrokerUnavailable) as caught:
            await link.ask(Metadata([]), 5)
    assert hint == ("TAILRACE_KAFKA_SECURITY_PROTOCOL" in str(caught.value))


class ScriptedBroker:
    """A broker that gives the same answer to every Metadata and the same to every Fetch request."""

    def __init__(self, *brokers: tuple[int, str, int, str], fetch: bytes = b"") -> None:
        self.answers = {
            3: MetadataResponse_v5(0, brokers, "scripted", 1, []).encode(),
            1: fetch,
            18: ApiVersionResponse_v0(0, [(3, 0, 5), (1, 11, 11)]).encode(),
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client leaves."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                answer = request[4:8] + self.answers[struct.unpack_from(">h", request)[0]]
                writer.write(struct.pack(">i", len(answer)) + answer)
        writer.close()


async def test_a_broker_that_knows_no_brokers_is_passed_over() -> None:
    """One that is just starting has nothing to tell yet: the next is asked, and if there is none, that is said."""
    async with (
        await asyncio.start_server(ScriptedBroker().serve, "127.0.0.1", 0) as starting,
        await asyncio.start_server(ScriptedBroker((1, "a", 9092, "")).serve, "127.0.0.1", 0) as ready,
    ):
        alone, servers = (
            ",".join(f"127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in some)
            for some in ([starting], [starting, ready])
        )
        async with closing(servers) as client:
            assert (await client.identity()).brokers == (1,)
        async with closing(alone) as client:
            with pytest.raises(BrokerUnavailable, match="knows no brokers yet"):
                await client.identity()


async def test_a_refused_fetch_is_an_error_of_the_broker() -> None:
    """An error of the answer as a whole has no partition to belong to."""
    broker = ScriptedBroker(fetch=FetchResponse_v11(0, 71, 0, []).encode())
    async with await asyncio.start_server(broker.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        broker.answers[3] = MetadataResponse_v5(0, [(1, "127.0.0.1", port, "")], "scripted", 1, []).encode()
        async with closing(f"127.0.0.1:{port}") as client:
            await client.identity()
            with pytest.raises(BrokerError, match=r"fetch from node 1: .* error 71 \(InvalidFetchSessionEpoch\)"):
                await client.fetch(1, {("t", 0): 0}, max_wait_ms=1, min_bytes=1, max_bytes=1)


async def test_a_closed_client_says_so() -> None:
    """Closing a client that never connected is nothing, and asking it afterwards is told."""
    async with closing("127.0.0.1:1") as client:
        await client.close()
        with pytest.raises(BrokerUnavailable, match="the client is closed"):
            await client.identity()


async def test_waiting_for_a_turn_is_bounded_too(silent: tuple[str, int]) -> None:
    """Behind a request that hangs, another waits no longer than it may, and leaves the first alone."""
    link = link_to(silent, [])
    first = asyncio.create_task(link.ask(Metadata([]), 60))
    await asyncio.sleep(0)
    with pytest.raises(BrokerUnavailable):
        await link.ask(Metadata([]), 0.01)
    assert not first.done()
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()


async def test_an_untrusted_certificate_is_an_authentication_failure(tmp_path: Path) -> None:
    """A peer whose certificate we do not trust is named so, not as a broker that is down."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    files = make_certificate(tmp_path)
    context.load_cert_chain(files.cert_file, files.key_file)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as server:
        link = link_to(server.sockets[0].getsockname(), [], security_protocol="SSL")
        with pytest.raises(AuthenticationFailed, match="self-signed certificate"):
            await link.ask(Metadata([]), 10)


async def test_a_link_closed_while_it_connects_stays_closed(brokers: EmbeddedBroker) -> None:
    """Whoever was asking is told, and the connection that was under way is not kept."""
    link = link_to(KafkaConnection(bootstrap_servers=brokers.bootstrap).bootstrap[0], [])
    asking = asyncio.create_task(link.ask(Metadata([]), 10))
    await asyncio.sleep(0)
    link.close()
    with pytest.raises(BrokerUnavailable, match="the client is closed"):
        await asking


async def test_a_broker_that_is_too_old_is_told(brokers: EmbeddedBroker) -> None:
    """A broker without any version that we speak is no outage but a trouble with its reason."""

    class Ancient(Metadata):
        API_KEY = 999

    link = link_to(KafkaConnection(bootstrap_servers=brokers.bootstrap).bootstrap[0], [])
    with pytest.raises(BrokerError, match="must be Kafka 2"):
        await link.ask(Ancient([]), 10)
    link.close()
