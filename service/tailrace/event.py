"""A record, decoded.

Pure: takes Kafka's records as they come from `kafka` and gives events. Knows nothing of readers, connections or time,
nor how an event is written for a wire: that is `encoding`.

Everything said about a record *of a session* is an event: one that cannot be delivered is a *skipped* event, a
tombstone is the session's *end*. They have ids and are kept, read and evicted like any other.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from tailrace.names import MAX_TYPE_BYTES, IllegalType, Names, type_of
from tailrace.position import Position
from tailrace.session import MAX_SESSION_BYTES, Unaddressed, session_of

MAX_HEADERS = 1000
"""Of one record that are looked at. Producers use some ten, tracing and CloudEvents included; a record of two megabytes
may have a million, each of which is three objects."""
SESSION_CACHE_BYTES = 16 * 1024**2
"""Some seventy thousand names of 20 characters."""
TYPE_CACHE_BYTES = 256 * 1024
"""A thousand types of 30 characters: producers use a handful."""


class Record(Protocol):
    """A Kafka record, as aiokafka's record layer gives it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Flawed(NamedTuple):
    """A record that was not read in full, and why: ``reason`` is a word for its readers and for metrics.

    ``key`` and ``headers`` are what was read. A key longer than `MAX_SESSION_BYTES` is cut somewhere behind them.
    """

    offset: int
    timestamp: int
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    reason: str
    value: bytes | None = None

    @property
    def is_malformed(self) -> bool:
        """Whether it breaks Kafka's format; a record that does not has only too much of something."""
        return self.reason == "malformed"


class Kind(Enum):
    """What a record became."""

    MESSAGE = "message"
    SKIPPED = "skipped"
    """It cannot be delivered; the event's ``type`` is the reason."""
    END = "end"
    """The session's tombstone."""


class Trace(NamedTuple):
    """The context of a sampled span (W3C Trace Context): the producer's, then that of the event's own span."""

    trace_id: int
    span_id: int


MESSAGE, SKIPPED, END = Kind.MESSAGE, Kind.SKIPPED, Kind.END
"""The same, without a look-up: that of an enum's member is a call in Python 3.11, and this is done per event."""


class Arrival:
    """What the events of one partition in one batch share: their origin, and the cut but for their own entry."""

    __slots__ = ("_affixes", "at_ns", "before", "partition", "topic", "topic_name", "uncharged")

    def __init__(self, before: Position, topic: int, topic_name: str, partition: int, at_ns: int = 0) -> None:
        self.at_ns = at_ns
        """When the batch arrived, in Unix nanoseconds."""
        self.before = before
        self.topic = topic
        self.topic_name = topic_name
        self.partition = partition
        self._affixes: tuple[bytes, bytes] | None = None
        self.uncharged = _ARRIVAL_BYTES + sum(64 + 8 * len(offsets) for offsets in before.offsets)
        """Bytes of memory that no event was charged with yet."""

    def id_of(self, offset: int) -> bytes:
        """Write the id of this partition's event at ``offset``: a shared prefix, a number and a shared suffix."""
        if self._affixes is None:
            self._affixes = self.before.around(self.topic, self.partition)
            self.uncharged += _AFFIXES_BYTES + len(self._affixes[0]) + len(self._affixes[1])
        return b"%b%d%b" % (self._affixes[0], offset + 1, self._affixes[1])

    def charge(self) -> int:
        """Return what is `uncharged`, and set it to 0: the caller charges it to an event."""
        uncharged, self.uncharged = self.uncharged, 0
        return uncharged


class Event:
    """A record, decoded. Lives in the tail until it is evicted; the three encodings are made when first needed."""

    __slots__ = (
        "arrival",
        "body",
        "chunks",
        "data",
        "frames",
        "kind",
        "offset",
        "session",
        "size",
        "timestamp_ms",
        "trace",
        "type",
    )

    def __init__(
        self, arrival: Arrival, offset: int, timestamp_ms: int, session: str, kind: Kind, type_: str, data: bytes
    ) -> None:
        self.arrival = arrival
        self.offset = offset
        self.timestamp_ms = timestamp_ms
        self.session = session
        self.kind = kind
        self.type = type_
        self.data = data
        self.body: bytes | None = None
        self.chunks: bytes | None = None
        self.frames: bytes | None = None
        self.trace: Trace | None = None
        self.size = _EVENT_BYTES + len(data) + (arrival.charge() if arrival.uncharged else 0)
        """Bytes of memory that the tail is charged with; grows with each encoding."""

    @property
    def id(self) -> bytes:
        """The cut of this replica just after the event arrived, as an id that names the event's own record."""
        return self.arrival.id_of(self.offset)

    @property
    def cut_before(self) -> Position:
        """The cut just before the event arrived."""
        arrival = self.arrival
        return arrival.before.advanced(arrival.topic, arrival.partition, self.offset)


BYTES_HEADER = 33
"""What a ``bytes`` object takes beside its bytes."""
_ARRIVAL_BYTES = 250
"""An `Arrival`, its `Position` with two tuples, and the partition's next offset."""
_AFFIXES_BYTES = 56 + 2 * BYTES_HEADER
_EVENT_BYTES = sys.getsizeof(Event.__new__(Event)) + BYTES_HEADER + 3 * 32 + 2 * 8
"""The object · its value's header · offset, time stamp and size · a place in the tail and one in its view."""
_TRACE_BYTES = 150
"""A `Trace` with its two numbers."""


_NO_HEADERS: dict[str, bytes | None] = {}


class Decoder:
    """Makes events of records. Lives as long as the service; holds settings only.

    ``session_header`` is the header that names the session, None for the record's key. ``encoding`` is ``text`` or
    ``base64``. ``trace_of`` reads a ``traceparent`` header, None where it is not sampled; without it none is read.
    """

    def __init__(
        self,
        *,
        session_header: str | None,
        encoding: str,
        max_event_bytes: int,
        trace_of: Callable[[bytes], Trace | None] | None = None,
    ) -> None:
        self._session_header = session_header
        self._base64 = encoding == "base64"
        self._max_event_bytes = max_event_bytes
        self._trace_of = trace_of
        self._sessions = Names(session_of, SESSION_CACHE_BYTES)
        self._types = Names(type_of, TYPE_CACHE_BYTES)

    def address(self, record: Record) -> bytes | None:
        """Return the name of the record's session as it came; None where it has none."""
        return record.key if self._session_header is None else _by_name(record.headers).get(self._session_header)

    def decode(self, record: Record, arrival: Arrival) -> Event:
        """Make an event of ``record``.

        Raises:
            Unaddressed: the record belongs to no session.
        """
        headers = _by_name(record.headers) if record.headers else _NO_HEADERS
        raw = record.key if self._session_header is None else headers.get(self._session_header)
        if raw is None:
            if isinstance(record, Flawed) and record.is_malformed:
                raise Unaddressed("malformed")
            raise Unaddressed("no_session")
        session = (len(raw) <= MAX_SESSION_BYTES and self._sessions.get(raw)) or self._sessions.learn(raw)
        kind, type_, data = self._content(record, headers)
        event = Event(arrival, record.offset, record.timestamp, session, kind, type_, data)
        if self._sessions.uncharged or self._types.uncharged:
            event.size += self._sessions.charge() + self._types.charge()
        if headers and self._trace_of is not None and (parent := headers.get("traceparent")):
            event.trace = self._trace_of(parent)
            event.size += 0 if event.trace is None else _TRACE_BYTES
        return event

    def _content(self, record: Record, headers: Mapping[str, bytes | None]) -> tuple[Kind, str, bytes]:
        if headers and len(record.headers) > MAX_HEADERS:
            return SKIPPED, "too_many_headers", b""
        value = record.value
        if value is None:
            return self._without_value(record)
        if len(value) > self._max_event_bytes:
            return SKIPPED, "too_large", b""
        if (type_ := self._type(headers) if headers else "") is None:
            return SKIPPED, "illegal_type", b""
        if self._base64:
            return MESSAGE, type_, base64.b64encode(value)
        return (MESSAGE, type_, value) if value.isascii() or _is_utf8(value) else (SKIPPED, "not_text", b"")

    def _without_value(self, record: Record) -> tuple[Kind, str, bytes]:
        if isinstance(record, Flawed):
            return SKIPPED, record.reason, b""
        # Where a header names the session, records may still be under way in another partition.
        return (END, "", b"") if self._session_header is None else (SKIPPED, "tombstone", b"")

    def _type(self, headers: Mapping[str, bytes | None]) -> str | None:
        """Return the event's type; None where it cannot stand in an ``event:`` line."""
        raw = headers.get("event") or headers.get("ce_type")  # which is CloudEvents' in its Kafka binding
        if not raw:
            return ""
        try:
            return (len(raw) <= MAX_TYPE_BYTES and self._types.get(raw)) or self._types.learn(raw)
        except IllegalType:
            return None


def _by_name(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, bytes | None]:
    """Return the first `MAX_HEADERS` by their names; the last of duplicates wins."""
    return dict(headers if len(headers) <= MAX_HEADERS else headers[:MAX_HEADERS])


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
