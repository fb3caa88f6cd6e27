"""The only package that knows aiokafka: fetch, offsets and identity, as plain calls.

Built on aiokafka's connections, requests and record batches, not on its consumer: nothing here holds a position, an
assignment or a group, so nothing can be out of step with the tail. `consumer` and `replay` call it; every foreign
error is renamed at its border. It must not know sessions, events or clients::

    client       connections by purpose, `Kafka` itself
    group        `GroupCommits`: where reading stands, told to Kafka so that its tools show lag
    connection   the operator's settings, checked, and one connection to one broker
    exchange     questions and answers over a connection that was opened, one at a time
    metadata     the identity request, its answer, `Identity`
    unpacking    `Unpacking`: one partition's bytes -> a stretch; large batches in a thread, the oversized remembered
    fetch        the fetch request, `Stretch`
    fetch_wire   its bytes and those of the answer, in two versions
    batches      the bytes of one partition -> its batches, in order
    opening      one batch -> its records, within a bound of memory
    header       what a batch says about itself; its checksum
    legacy       the message formats of before Kafka 0.11
    counting     what the records of a batch will take, before they are made
    records      the records of a batch, one by one, where something is odd
    codecs       compressed bytes -> bytes, within a bound
    varint       numbers of one byte or more
    troubles     what can go wrong, each with its sentence for the operator
"""

from tailrace.kafka.client import EARLIEST, HIGH_WATERMARK, LATEST, Kafka
from tailrace.kafka.connection import KafkaConnection
from tailrace.kafka.fetch import Stretch
from tailrace.kafka.group import GroupCommits
from tailrace.kafka.metadata import Identity, TopicIdentity
from tailrace.kafka.opening import Limits
from tailrace.kafka.troubles import (
    AuthenticationFailed,
    BrokerError,
    BrokerUnavailable,
    ConfigurationHidden,
    CorruptBatch,
    NoMemory,
    NotAuthorized,
    NotLeader,
    OffsetOutOfRange,
    OversizedBatch,
    UnknownTopic,
)
from tailrace.kafka.unpacking import Unpacking

__all__ = [
    "EARLIEST",
    "HIGH_WATERMARK",
    "LATEST",
    "AuthenticationFailed",
    "BrokerError",
    "BrokerUnavailable",
    "ConfigurationHidden",
    "CorruptBatch",
    "GroupCommits",
    "Identity",
    "Kafka",
    "KafkaConnection",
    "Limits",
    "NoMemory",
    "NotAuthorized",
    "NotLeader",
    "OffsetOutOfRange",
    "OversizedBatch",
    "Stretch",
    "TopicIdentity",
    "UnknownTopic",
    "Unpacking",
]
