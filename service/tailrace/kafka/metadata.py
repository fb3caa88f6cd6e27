"""Identity: which cluster answers, which brokers it has, and the ids, partitions and leaders of our topics.

Does no I/O. Asked as Metadata version 12 or 11 for the topic ids (KIP-516: a topic deleted and made again has another
one), and as version 5 from brokers before Kafka 2.8, which have none. A topic that is missing is reported, and never
made by the asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from tailrace.kafka.troubles import trouble_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BytesIO

    from tailrace.errors import KafkaTrouble

Address = tuple[str, int]
"""Host and port of a broker."""


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """A topic as a broker knows it now: ``id`` in hex (None: the broker is too old to say), and by partition the node
    id of its ``leaders`` (None: no leader now). With ``trouble`` set there are no leaders."""

    name: str
    id: str | None
    leaders: tuple[int | None, ...]
    trouble: KafkaTrouble | None


@dataclass(frozen=True, slots=True)
class Identity:
    """The cluster, its brokers' node ids and the topics asked for, all from one answer."""

    cluster_id: str
    brokers: tuple[int, ...]
    topics: Mapping[str, TopicIdentity]


class _Uuid(AbstractType[UUID]):  # type: ignore[misc] # untyped base
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_NO_ID = UUID(int=0)
_STRING, _TAGS, _NODES = CompactString("utf-8"), ("tags", TaggedFields), CompactArray(Int32)


class _Response12(Response):  # type: ignore[misc] # untyped base
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _STRING), ("port", Int32), ("rack", _STRING), _TAGS)),
        ("cluster_id", _STRING),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _STRING),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _NODES),
                        ("isr", _NODES),
                        ("offline_replicas", _NODES),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _Request12(RequestStruct):  # type: ignore[misc] # untyped base
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _Response12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _STRING), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        _TAGS,
    )


class _Response11(_Response12):
    API_VERSION = 11


class _Request11(_Request12):
    API_VERSION = 11
    RESPONSE_TYPE = _Response11


class Metadata(Request[MetadataRequest_v5 | _Request11 | _Request12]):  # type: ignore[misc] # untyped base
    """Ask for ``topics`` by name."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, struct: type[Any]) -> Any:
        if struct is MetadataRequest_v5:
            return struct(list(self._topics), False)
        return struct([(_NO_ID, name, {}) for name in self._topics], False, False, {})


def brokers_of(answer: Any) -> dict[int, Address]:
    """Where each broker, by node id, says that it listens."""
    return {row[0]: (row[1], row[2]) for row in answer.brokers}


def identity_of(answer: Any) -> Identity:
    """Read an answer to `Metadata`, of any version."""
    topics = [_topic_of(row, with_id=answer.API_VERSION > 5) for row in answer.topics]
    return Identity(answer.cluster_id or "", tuple(brokers_of(answer)), {topic.name: topic for topic in topics})


def _topic_of(row: tuple[Any, ...], *, with_id: bool) -> TopicIdentity:
    code, name = row[0], row[1]
    uuid = row[2] if with_id else _NO_ID
    partitions = sorted((part[1], part[2]) for part in row[4 if with_id else 3] or ())
    leaders = tuple(leader if leader >= 0 else None for _, leader in partitions)
    return TopicIdentity(name, uuid.hex if uuid != _NO_ID else None, leaders, trouble_of(code, name))
