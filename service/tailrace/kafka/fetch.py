"""One fetch: the request for a few partitions of one broker, its answer, and the `Stretch` made of each partition.

Does no I/O and holds no position. Sent as version 11 (Kafka 2.3 and later, the embedded broker too) and packed by
hand: aiokafka's schemas cost 63 microseconds for 12 partitions, this a quarter of it, two hundred times a second.
`client` sends it; `batches` reads what each partition brought.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Schema

from tailrace.kafka.batches import read_batches
from tailrace.kafka.troubles import CorruptBatch, trouble_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BytesIO

    from tailrace.errors import KafkaTrouble
    from tailrace.event import Record


class Stretch(NamedTuple):
    """What one fetch gave for one partition.

    ``next_offset`` is where to go on: past markers, aborted and compacted records. ``log_start``, ``high_watermark``
    and ``last_stable`` are offsets, -1 where the broker does not say. With ``trouble`` set, the records are those
    before it, and ``next_offset`` does not pass it.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    next_offset: int
    log_start: int
    high_watermark: int
    last_stable: int
    trouble: KafkaTrouble | None


class Slice(NamedTuple):
    """One partition of a fetch answer, its batches still unread."""

    topic: str
    partition: int
    error_code: int
    high_watermark: int
    last_stable: int
    log_start: int
    aborted: list[tuple[int, int]]
    data: bytes


_HEAD = Struct(">hhih")
_FETCH = Struct(">iiiibiii")
_ASKED = Struct(">iiqqi")
_ANSWERED = Struct(">ihqqqi")
_ABORTED = Struct(">qq")
_COUNT = Struct(">i")
_SHORT = Struct(">h")


class FetchAnswer(Response):  # type: ignore[misc] # untyped base
    """Fetch response, version 11 (KIP-392)."""

    API_KEY = 1
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
        partition, code, high, stable, start, count = _ANSWERED.unpack_from(raw, at)
        aborted_at = at + _ANSWERED.size
        data_at = aborted_at + max(count, 0) * _ABORTED.size + 8  # preferred read replica, length of the records
        (size,) = _COUNT.unpack_from(raw, data_at - 4)
        end = data_at + max(size, 0)
        aborted = list(_ABORTED.iter_unpack(raw[aborted_at : data_at - 8])) if count > 0 else []
        return Slice(topic, partition, code, high, stable, start, aborted, raw[data_at:end]), end


class _Header(NamedTuple):
    """Request header, version 1, and response header, version 0, without a schema."""

    correlation_id: int
    client_id: str = ""

    def encode(self) -> bytes:
        name = self.client_id.encode()
        return _HEAD.pack(FetchAnswer.API_KEY, FetchAnswer.API_VERSION, self.correlation_id, len(name)) + name


class _FetchRequest(RequestStruct):  # type: ignore[misc] # untyped base
    API_KEY = FetchAnswer.API_KEY
    API_VERSION = FetchAnswer.API_VERSION
    RESPONSE_TYPE = FetchAnswer
    SCHEMA = Schema()

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def encode(self) -> bytes:
        return self._body

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        return _Header(correlation_id, client_id)

    def parse_response_header(self, data: BytesIO) -> _Header:
        return _Header(*_COUNT.unpack(data.read(_COUNT.size)))


class Fetch(Request[_FetchRequest]):  # type: ignore[misc] # untyped base
    """Ask for the batches at ``offsets``; ``partition_max_bytes`` bounds each partition, ``max_bytes`` all."""

    API_KEY = 1

    def __init__(
        self,
        offsets: Mapping[str, Sequence[tuple[int, int]]],
        *,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
        partition_max_bytes: int,
        isolation: int,
    ) -> None:
        # Replica -1 is a consumer; session 0 with epoch -1 asks without a fetch session (KIP-227).
        parts = [_FETCH.pack(-1, max_wait_ms, min_bytes, max_bytes, isolation, 0, -1, len(offsets))]
        for topic, partitions in offsets.items():
            name = topic.encode()
            parts += (_SHORT.pack(len(name)), name, _COUNT.pack(len(partitions)))
            parts += [_ASKED.pack(number, -1, offset, -1, partition_max_bytes) for number, offset in partitions]
        parts += (_COUNT.pack(0), _SHORT.pack(0))  # no forgotten topics, no rack
        self._body = b"".join(parts)

    def build(self, struct: type[_FetchRequest]) -> _FetchRequest:
        return struct(self._body)


def stretch_of(part: Slice, asked: int) -> Stretch:
    """Read one partition of an answer to a fetch from the offset ``asked``."""
    trouble = trouble_of(part.error_code, part.topic, part.partition)
    records: Sequence[Record] = ()
    next_offset = asked
    if trouble is None and part.data:
        records, next_offset, bad = read_batches(part.data, asked, part.aborted)
        if bad is not None:
            # The end of a damaged batch may be damaged too: never believe that it lies past the log's own end.
            end = max(min(bad.next_offset, part.high_watermark), next_offset + 1)
            trouble = CorruptBatch(part.topic, part.partition, bad.first_offset, end, bad.reason)
    ends = (part.log_start, part.high_watermark, part.last_stable)
    return Stretch(part.topic, part.partition, records, next_offset, *ends, trouble)
