"""What can go wrong with Kafka, each with one plain sentence for the operator.

Knows Kafka's error codes and aiokafka's names for them, nothing of connections or requests. A trouble is raised when
it concerns a broker, and handed over as a value when it concerns one topic or partition, so that one partition's
trouble never stops another's::

    KafkaTrouble
    ├── BrokerUnavailable      no answer
    ├── AuthenticationFailed   TLS or SASL said no
    ├── BrokerError            any other error code
    └── PlaceTrouble
        ├── NotLeader          ask for the identity, then another broker
        ├── UnknownTopic
        ├── OffsetOutOfRange
        ├── NotAuthorized
        │   └── ConfigurationHidden    it may be read all the same
        └── BatchTrouble       one batch, known by its header
            ├── CorruptBatch       cannot be read
            ├── OversizedBatch     takes more memory than it may: is not read
            └── NoMemory           could not be read just now; nothing is known about it
"""

from __future__ import annotations

from typing import ClassVar

from aiokafka.errors import for_code

from tailrace.errors import KafkaTrouble


class BrokerUnavailable(KafkaTrouble):
    """``broker`` (host:port, or a node id) gave no answer; ``reason`` says how."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"the broker {broker} cannot be reached: {reason}")
        self.broker, self.reason = broker, reason


class AuthenticationFailed(KafkaTrouble):
    """``broker`` does not take our credentials, or we do not take its certificate."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"authentication with the broker {broker} failed: {reason}")
        self.broker, self.reason = broker, reason


class BrokerError(KafkaTrouble):
    """An error that has no class of its own: Kafka's ``code`` and its ``name``, and ``where`` it happened."""

    def __init__(self, code: int, name: str, where: str) -> None:
        super().__init__(f"{where}: the broker answered with error {code} ({name})")
        self.code, self.name, self.where = code, name, where


class PlaceTrouble(KafkaTrouble):
    """A trouble of one topic, or of one ``partition`` of it (None: the topic as a whole)."""

    sentence: ClassVar[str]

    def __init__(self, topic: str, partition: int | None = None, **more: object) -> None:
        super().__init__(self.sentence.format(place=place(topic, partition), **more))
        self.topic, self.partition = topic, partition


class NotLeader(PlaceTrouble):
    sentence = "{place} is led by another broker, or by none at the moment"


class UnknownTopic(PlaceTrouble):
    sentence = "{place} does not exist"


class OffsetOutOfRange(PlaceTrouble):
    sentence = "{place} does not hold the offset that was asked for"


class NotAuthorized(PlaceTrouble):
    sentence = "{place} may not be read: grant this user Describe and Read on the topic"


class ConfigurationHidden(NotAuthorized):
    sentence = "{place} does not show its configuration: grant this user DescribeConfigs on it"


class BatchTrouble(PlaceTrouble):
    """A batch that gave no records: the offsets from ``first_offset`` up to, not including, ``next_offset``."""

    def __init__(self, topic: str, partition: int, first_offset: int, next_offset: int, reason: str) -> None:
        super().__init__(topic, partition, first=first_offset, next=next_offset, reason=reason)
        self.first_offset, self.next_offset = first_offset, next_offset


class CorruptBatch(BatchTrouble):
    """It cannot be read: that may pass, where the network or a broker's memory is to blame."""

    sentence = "{place}: the batch from offset {first} up to {next} cannot be read: {reason}"


class OversizedBatch(BatchTrouble):
    """It takes more memory than one batch may; that does not pass."""

    sentence = "{place}: the batch from offset {first} up to {next} is passed over: {reason}"


class NoMemory(BatchTrouble):
    """This process has too little memory: the batch is to be read again, and not to be passed over."""

    sentence = "{place}: the batch from offset {first} up to {next} has to wait: {reason}"


_CLASSES: dict[int, type[PlaceTrouble]] = {
    1: OffsetOutOfRange,
    3: UnknownTopic,
    5: NotLeader,  # LEADER_NOT_AVAILABLE
    6: NotLeader,  # NOT_LEADER_OR_FOLLOWER
    9: NotLeader,  # REPLICA_NOT_AVAILABLE
    29: NotAuthorized,
    56: NotLeader,  # KAFKA_STORAGE_ERROR: the leader lost its disk, another will be elected
    74: NotLeader,  # FENCED_LEADER_EPOCH
    75: NotLeader,  # UNKNOWN_LEADER_EPOCH
    78: NotLeader,  # OFFSET_NOT_AVAILABLE: elected just now, does not yet know how far it may show
    100: UnknownTopic,  # UNKNOWN_TOPIC_ID
}

AUTHENTICATION_CODES = frozenset({33, 34, 58})
"""UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED."""


def place(topic: str, partition: int | None) -> str:
    """Name a topic or a partition in an operator's sentence."""
    return f"topic {topic}" if partition is None else f"topic {topic}, partition {partition}"


def trouble_of(code: int, topic: str, partition: int | None = None) -> KafkaTrouble | None:
    """Name Kafka's error ``code`` for a topic or partition; None when it is 0, no error."""
    if code == 0:
        return None
    if found := _CLASSES.get(code):
        return found(topic, partition)
    return BrokerError(code, name_of(code), place(topic, partition))


def name_of(code: int) -> str:
    """aiokafka's name of an error code; it does not know the newest ones."""
    error = for_code(code)
    return str(error.__name__) if error.errno == code else "unknown"
