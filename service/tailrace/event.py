"""A record, decoded.

Pure: takes Kafka's records as they come from `kafka` and gives events. Knows nothing of readers, connections or time,
nor how an event is written for a wire: that is `encoding`.

Everything said about a record *of a session* is an event: one that cannot be delivered is a *skipped* event, a
tombstone is the session's *end*. They have ids and are kept, read and evicted like any other.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, Protocol

from tailrace.errors import TailraceError
from tailrace.position import Position

MAX_SESSION_CHARACTERS = 256
MAX_TYPE_CHARACTERS = 256
RESERVED_TYPES = frozenset({"error", "open"})
"""EventSource's own events: a record's type must not be taken for them."""
RESERVED_PREFIX = "tailrace."

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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


class Unaddressed(TailraceError):
    """A record without a usable session; ``reason`` is a word for metrics and logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
        """Give what is `uncharged`; whoever asks takes the charge."""
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


def session_problem(name: str) -> str | None:
    """Say why ``name`` cannot be a session, or None. The same rule for record keys and for addresses."""
    if not 1 <= len(name) <= MAX_SESSION_CHARACTERS:
        return f"a session has 1 to {MAX_SESSION_CHARACTERS} characters"
    if _CONTROL.search(name):
        return "a session has no control characters"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "a session has no empty, '.' or '..' segments"
    if name.endswith("*"):  # a token could not name it alone
        return "a session does not end in '*', which in a token stands for every session that begins like this"
    return None


@lru_cache(maxsize=65536)  # sessions repeat record after record: one string for all their events, checked once
def _session(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Unaddressed("session_not_utf8") from None
    if name.endswith("*"):
        raise Unaddressed("session_ends_in_star")
    if session_problem(name) is not None:
        raise Unaddressed("session_illegal")
    return name


@lru_cache(maxsize=1024)
def _type(raw: bytes) -> str | None:
    """Decode a record's type; None when it cannot stand in an ``event:`` line."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    if len(text) > MAX_TYPE_CHARACTERS or _CONTROL.search(text):
        return None
    return f"record:{text}" if text in RESERVED_TYPES or text.startswith(RESERVED_PREFIX) else text


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

    def address(self, record: Record) -> bytes | None:
        """Give the name of the record's session as it came; None where it has none."""
        return record.key if self._session_header is None else dict(record.headers).get(self._session_header)

    def decode(self, record: Record, arrival: Arrival) -> Event:
        """Make an event of ``record``.

        Raises:
            Unaddressed: the record belongs to no session.
        """
        headers = dict(record.headers) if record.headers else _NO_HEADERS  # the last of duplicates wins
        session = record.key if self._session_header is None else headers.get(self._session_header)
        if session is None:
            raise Unaddressed("no_session")
        kind, type_, data = self._content(record.value, headers)
        event = Event(arrival, record.offset, record.timestamp, _session(session), kind, type_, data)
        if headers and self._trace_of is not None and (parent := headers.get("traceparent")):
            event.trace = self._trace_of(parent)
            event.size += 0 if event.trace is None else _TRACE_BYTES
        return event

    def _content(self, value: bytes | None, headers: Mapping[str, bytes | None]) -> tuple[Kind, str, bytes]:
        if value is None:
            # Where a header names the session, records may still be under way in another partition.
            return (END, "", b"") if self._session_header is None else (SKIPPED, "tombstone", b"")
        # `ce_type` is CloudEvents' in its Kafka binding.
        raw = (headers.get("event") or headers.get("ce_type")) if headers else None
        type_ = _type(raw) if raw else ""
        if type_ is None:
            return SKIPPED, "illegal_type", b""
        if len(value) > self._max_event_bytes:
            return SKIPPED, "too_large", b""
        if self._base64:
            return MESSAGE, type_, base64.b64encode(value)
        return (MESSAGE, type_, value) if value.isascii() or _is_utf8(value) else (SKIPPED, "not_text", b"")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
