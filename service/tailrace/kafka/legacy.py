"""The message formats of before Kafka 0.11, 0 and 1: one message, or a compressed one that holds the others.

Pure. Source: Kafka's own ``LegacyRecord``, and KIP-31 and KIP-32 for what offsets and timestamps of held messages mean.
"""

from __future__ import annotations

import zlib
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from tailrace.event import Flawed
from tailrace.kafka.codecs import Damage
from tailrace.kafka.records import RECORD_BYTES, Plain
from tailrace.session import MAX_SESSION_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailrace.event import Record

_HEAD = Struct(">qiIbb")
"""Offset, length of what follows, checksum of what follows it, format, attributes."""
_TIME, _SIZE = Struct(">q"), Struct(">i")
_CHECKED_FROM = 16
_BEFORE_LENGTH_COUNTS = 12
_CODEC = 0x07
_LOG_APPEND_TIME = 0x08
_NO_HEADERS: list[tuple[str, bytes | None]] = []


class Message(NamedTuple):
    """One message; ``key`` and ``value`` are still where they were, None where they are null."""

    offset: int
    codec: int
    log_append: bool
    timestamp: int
    key: memoryview | None
    value: memoryview | None


def checksum(frame: memoryview) -> int:
    """Return the checksum that the message should say it has."""
    return zlib.crc32(frame[_CHECKED_FROM:])


def message_of(frame: memoryview) -> Message:
    """Read the message that fills ``frame``. Raises `Damage` where its lengths do not add up."""
    offset, _, _, magic, attributes = _HEAD.unpack_from(frame)
    at, timestamp = _HEAD.size, -1
    if magic == 1:
        timestamp = _TIME.unpack_from(frame, at)[0] if len(frame) >= at + _TIME.size else -1
        at += _TIME.size
    key, at = _part(frame, at)
    value, at = _part(frame, at)
    if at != len(frame) or magic not in {0, 1}:
        raise Damage("its parts do not add up")
    return Message(offset, attributes & _CODEC, bool(attributes & _LOG_APPEND_TIME), timestamp, key, value)


def _part(frame: memoryview, at: int) -> tuple[memoryview | None, int]:
    begin = at + _SIZE.size
    size = _SIZE.unpack_from(frame, at)[0] if begin <= len(frame) else 0
    if begin + size > len(frame) or size < -1:
        raise Damage("a part of it has a wrong length")
    return (None, begin) if size < 0 else (frame[begin : begin + size], begin + size)


class Alone:
    """A message that holds no others, read in the way of `Held`."""

    def __init__(self, message: Message, max_value_bytes: int) -> None:
        self._record = record_of(message, max_value_bytes)
        self.kept = RECORD_BYTES + len(self._record.key or b"") + len(self._record.value or b"")

    def __iter__(self) -> Iterator[Record]:
        """Return the one record."""
        yield self._record


class Held:
    """The messages that another holds, unpacked in ``raw``; ``holder`` is that one.

    ``kept`` grows by what each takes once it is read, in bytes.
    """

    def __init__(self, raw: memoryview, holder: Message, magic: int, max_value_bytes: int) -> None:
        self._raw = raw
        self._holder = holder
        self._relative = magic > 0
        self._max_value_bytes = max_value_bytes
        self.kept = 0

    def __iter__(self) -> Iterator[Record]:
        """Return record after record."""
        base, previous = 0, -1
        if self._relative:  # the holder has the offset of its last one (KIP-31)
            for last in deque(_frames(self._raw), maxlen=1):
                base = self._holder.offset - _HEAD.unpack_from(last)[0]
        for frame in _frames(self._raw):
            self.kept += RECORD_BYTES
            record = self._record(frame, base)
            if not previous < record.offset <= self._holder.offset:
                record = Flawed(previous, record.timestamp, None, (), "malformed")
            previous = record.offset
            yield record

    def _record(self, frame: memoryview, base: int) -> Record:
        holder = self._holder
        try:
            message = message_of(frame)
        except Damage:
            return Flawed(base + _HEAD.unpack_from(frame)[0], holder.timestamp, None, (), "malformed")
        timestamp = holder.timestamp if holder.log_append else message.timestamp
        message = message._replace(offset=base + message.offset, timestamp=timestamp)
        record = record_of(message, self._max_value_bytes)
        self.kept += len(record.key or b"") + len(record.value or b"")
        return record


def record_of(message: Message, max_value_bytes: int) -> Record:
    """Make a record; one that should hold no others, and says it does, cannot be read."""
    key = None if message.key is None else bytes(message.key[: MAX_SESSION_BYTES + 1])
    if message.codec:
        return Flawed(message.offset, message.timestamp, key, (), "malformed")
    if message.value is not None and len(message.value) > max_value_bytes:
        return Flawed(message.offset, message.timestamp, key, (), "too_large")
    value = None if message.value is None else bytes(message.value)
    return Plain(message.offset, message.timestamp, key, value, _NO_HEADERS)


def _frames(raw: memoryview) -> Iterator[memoryview]:
    at, end = 0, len(raw)
    while at < end:
        length = _SIZE.unpack_from(raw, at + 8)[0] if at + _HEAD.size <= end else -1
        if not _HEAD.size - _BEFORE_LENGTH_COUNTS <= length <= end - at - _BEFORE_LENGTH_COUNTS:
            raise Damage("a message that it holds has a wrong length")
        yield raw[at : at + _BEFORE_LENGTH_COUNTS + length]
        at += _BEFORE_LENGTH_COUNTS + length
