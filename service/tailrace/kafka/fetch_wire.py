"""The bytes of a fetch and of its answer, in two versions, packed and read by hand.

Version 13 names topics by their ids (KIP-516): a broker never answers it with records of a topic that was made again
under the same name. Version 11 is for brokers before Kafka 3.1, and for the embedded one. aiokafka's schemas cost 63
microseconds for 12 partitions, this a quarter of it, two hundred times a second. Does no I/O; `fetch` decides which.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import Schema, TaggedFields

from tailrace.kafka.varint import MORE, unsigned, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BytesIO


class Slice(NamedTuple):
    """One partition of an answer, its batches still unread. ``topic`` is its name, or its id in hex if asked by id."""

    topic: str
    partition: int
    error_code: int
    high_watermark: int
    last_stable: int
    log_start: int
    aborted: list[tuple[int, int]]
    data: bytes


class Question(NamedTuple):
    """What is asked: ``offsets`` by topic and partition, ``ids`` in hex by topic."""

    offsets: Mapping[str, Sequence[tuple[int, int]]]
    ids: Mapping[str, str]
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    partition_max_bytes: int
    isolation: int


API_KEY = 1
_HEAD = Struct(">hhih")
_FETCH = Struct(">iiiibii")  # replica -1 is a consumer; session 0 with epoch -1 asks without a fetch session (KIP-227)
_ANSWERED = Struct(">ihqqq")
_ABORTED = Struct(">qq")
_COUNT = Struct(">i")
_SHORT = Struct(">h")
_NO_TAGS = b"\x00"
_EMPTY = b"\x01"
"""A compact array or string without anything in it: lengths are one more than they are."""


class Header(NamedTuple):
    """Request header and response header of one version, without a schema."""

    correlation_id: int
    client_id: str = ""
    version: int = 0
    tags: bytes = b""

    def encode(self) -> bytes:
        name = self.client_id.encode()
        return _HEAD.pack(API_KEY, self.version, self.correlation_id, len(name)) + name + self.tags


class FetchAnswer(Response):  # type: ignore[misc] # untyped base
    """Fetch response, version 11 (KIP-392)."""

    API_KEY = API_KEY
    API_VERSION = 11

    def __init__(self, error_code: int, slices: list[Slice]) -> None:
        super().__init__()
        self.error_code = error_code
        self.slices = slices

    @classmethod
    def decode(cls, data: BytesIO) -> FetchAnswer:
        """Read the answer; its first four bytes are how long the broker throttled us."""
        raw, at = data.getvalue(), data.tell()
        (error_code,) = _SHORT.unpack_from(raw, at + 4)
        (count,) = _COUNT.unpack_from(raw, at + 10)
        slices: list[Slice] = []
        at += 14
        for _ in range(count):
            (length,) = _SHORT.unpack_from(raw, at)
            topic = raw[at + 2 : at + 2 + length].decode()
            (partitions,) = _COUNT.unpack_from(raw, at + 2 + length)
            at += 6 + length
            for _ in range(partitions):
                found, at = cls._slice(raw, at, topic)
                slices.append(found)
        return cls(error_code, slices)

    @staticmethod
    def _slice(raw: bytes, at: int, topic: str) -> tuple[Slice, int]:
        partition, code, high, stable, start = _ANSWERED.unpack_from(raw, at)
        (count,) = _COUNT.unpack_from(raw, at + _ANSWERED.size)
        aborted_at = at + _ANSWERED.size + _COUNT.size
        data_at = aborted_at + max(count, 0) * _ABORTED.size + 8  # preferred read replica, length of the records
        (size,) = _COUNT.unpack_from(raw, data_at - 4)
        end = data_at + max(size, 0)
        aborted = list(_ABORTED.iter_unpack(raw[aborted_at : data_at - 8])) if count > 0 else []
        return Slice(topic, partition, code, high, stable, start, aborted, raw[data_at:end]), end


class FetchAnswerById(FetchAnswer):
    """Fetch response, version 13 (KIP-516), whose lengths are varints and whose structures end in tagged fields."""

    API_VERSION = 13

    @classmethod
    def decode(cls, data: BytesIO) -> FetchAnswer:
        raw, at = data.getvalue(), data.tell()
        (error_code,) = _SHORT.unpack_from(raw, at + 4)
        slices: list[Slice] = []
        topics, at = _length(raw, at + 10)
        for _ in range(topics):
            topic = raw[at : at + 16].hex()
            partitions, at = _length(raw, at + 16)
            for _ in range(partitions):
                found, at = cls._slice(raw, at, topic)
                slices.append(found)
            at = _past_tags(raw, at)
        return cls(error_code, slices)

    @staticmethod
    def _slice(raw: bytes, at: int, topic: str) -> tuple[Slice, int]:
        partition, code, high, stable, start = _ANSWERED.unpack_from(raw, at)
        aborted: list[tuple[int, int]] = []
        count, at = _length(raw, at + _ANSWERED.size)
        for _ in range(count):
            aborted.append(_ABORTED.unpack_from(raw, at))
            at = _past_tags(raw, at + _ABORTED.size)
        size, at = _length(raw, at + 4)  # past the preferred read replica
        end = at + size
        return Slice(topic, partition, code, high, stable, start, aborted, raw[at:end]), _past_tags(raw, end)


class FetchByName(RequestStruct):  # type: ignore[misc] # untyped base
    """Fetch request, version 11."""

    API_KEY = API_KEY
    API_VERSION = 11
    RESPONSE_TYPE = FetchAnswer
    SCHEMA = Schema()
    _asked: ClassVar = Struct(">iiqqi")

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def encode(self) -> bytes:
        parts = [_fetch(self._question), _COUNT.pack(len(self._question.offsets))]
        bound = self._question.partition_max_bytes
        for topic, partitions in self._question.offsets.items():
            name = topic.encode()
            parts += (_SHORT.pack(len(name)), name, _COUNT.pack(len(partitions)))
            parts += [self._asked.pack(number, -1, offset, -1, bound) for number, offset in partitions]
        parts += (_COUNT.pack(0), _SHORT.pack(0))  # no forgotten topics, no rack
        return b"".join(parts)

    def build_request_header(self, correlation_id: int, client_id: str) -> Header:
        return Header(correlation_id, client_id, self.API_VERSION)

    def parse_response_header(self, data: BytesIO) -> Header:
        return Header(*_COUNT.unpack(data.read(_COUNT.size)))


class FetchById(FetchByName):
    """Fetch request, version 13: all topics must have an id."""

    API_VERSION = 13
    RESPONSE_TYPE = FetchAnswerById
    _asked: ClassVar = Struct(">iiqiqi")

    def encode(self) -> bytes:
        question = self._question
        parts = [_fetch(question), written(len(question.offsets) + 1)]
        for topic, partitions in question.offsets.items():
            parts += (bytes.fromhex(question.ids[topic]), written(len(partitions) + 1))
            for number, offset in partitions:
                parts += (self._asked.pack(number, -1, offset, -1, -1, question.partition_max_bytes), _NO_TAGS)
            parts.append(_NO_TAGS)
        parts += (_EMPTY, _EMPTY, _NO_TAGS)  # no forgotten topics, no rack
        return b"".join(parts)

    def build_request_header(self, correlation_id: int, client_id: str) -> Header:
        return Header(correlation_id, client_id, self.API_VERSION, _NO_TAGS)

    def parse_response_header(self, data: BytesIO) -> Header:
        header = super().parse_response_header(data)
        TaggedFields.decode(data)
        return header


def _fetch(question: Question) -> bytes:
    return _FETCH.pack(-1, question.max_wait_ms, question.min_bytes, question.max_bytes, question.isolation, 0, -1)


def _length(raw: bytes, at: int) -> tuple[int, int]:
    """Return the length of what is compact, 0 for what is null, and the offset after it."""
    number, at = unsigned(raw, at) if raw[at] >= MORE else (raw[at], at + 1)
    return number - 1 if number else 0, at


def _past_tags(raw: bytes, at: int) -> int:
    """Return the offset after the tagged fields, of which none is for us; mostly there are none."""
    if not raw[at]:
        return at + 1
    count, at = unsigned(raw, at)
    for _ in range(count):
        _, at = unsigned(raw, at)
        size, at = unsigned(raw, at)
        at += size
    return at
