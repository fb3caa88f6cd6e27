"""An id, or where else a client asks to begin -> where to start, and what to tell it.

Pure: the tail's shape goes in, a `Start` comes out. Groups of an id are matched to topics by epoch, so an id from
another cluster, or from a topic that was deleted and made again, is recognised and never misread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from tailrace.errors import BadRequest
from tailrace.position import NO_TOPIC, EventId, MalformedId, parse
from tailrace.tail import Tail

Offsets = Sequence[Sequence[int]]
"""By topic and partition."""

MAX_MS_DIGITS = 15
"""Of Unix milliseconds: some thirty thousand years."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_UNENCODED_PLUS = re.compile(r" (?=\d\d:\d\d$)")
_KAFKA_BEGINS = datetime.fromtimestamp(0, UTC)


class From(Enum):
    """Where to begin without an id."""

    NOW = "now"
    TAIL = "tail"
    EARLIEST = "earliest"


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a client asks to begin. An id beats ``since_ms``, and that ``from_``; ``unreadable`` is a header that holds
    no id of ours."""

    id: EventId | None = None
    text: str = ""
    """The id as it came: told back in `tailrace.reset`."""
    unreadable: bool = False
    since_ms: int | None = None
    """Unix milliseconds."""
    from_: From = From.NOW


@dataclass(frozen=True, slots=True)
class Start:
    """Where a reader begins; ``taken`` None is live, at the cut. ``resets`` are reasons to be told before anything
    else.
    """

    taken: tuple[tuple[int, ...], ...] | None
    resets: tuple[str, ...] = ()
    resumed: bool = False
    """Whether an id was taken up."""
    requested: str = ""
    ended: bool = False
    """Whether the client was told that its session had ended."""


def wish_of(last_event_id: str | None, query: Mapping[str, str]) -> Wish:
    """Read what a request asks for: ``Last-Event-ID``, then ``last_event_id`` or its alias, then ``since``, ``from``.

    The header wins, because on a reconnect the browser sends it beside the URL's stale query. One that cannot be read
    is not an error: the browser sends it by itself, and a 400 would end that EventSource for good.

    Raises:
        BadRequest: a query value is malformed; the message names it.
    """
    from_, since_ms = _from(query), _since(query)
    if last_event_id:
        try:
            return Wish(parse(last_event_id), last_event_id, from_=from_)
        except MalformedId:
            return Wish(None, last_event_id[:100], unreadable=True)
    if text := query.get("last_event_id") or query.get("lastEventId"):
        return Wish(parse(text), text, from_=from_)
    return Wish(since_ms=since_ms, from_=from_)


def _from(query: Mapping[str, str]) -> From:
    value = query.get("from", From.NOW.value)
    try:
        return From(value)
    except ValueError:
        raise BadRequest(f"'from' is {value[:40]!r}; expected 'now', 'tail' or 'earliest'") from None


def _since(query: Mapping[str, str]) -> int | None:
    """Read Unix milliseconds, or a time by RFC 3339 section 5.6, rounded up to them: nothing older is asked for.

    A ``+`` that nobody encoded has become a space on its way.
    """
    if (value := query.get("since")) is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= MAX_MS_DIGITS:
        return int(value)
    text = _UNENCODED_PLUS.sub("+", value).upper()
    if _TIME.fullmatch(text):
        with suppress(ValueError):  # there is no such day
            return max(0, -((_KAFKA_BEGINS - datetime.fromisoformat(text)) // timedelta(milliseconds=1)))
    raise BadRequest(f"'since' is {value[:40]!r}; expected a time by RFC 3339, or Unix milliseconds")


def is_strange(wish: Wish, tail: Tail) -> bool:
    """Whether the id names a topic's incarnation that is not known here yet: a fresh identity may tell."""
    return wish.id is not None and any(_entries(wish.id, number, tail) is None for number in range(len(tail.topics)))


def start_of(wish: Wish, tail: Tail, since: Offsets | None = None) -> Start:
    """Decide where a reader begins. An incarnation that stays unknown means a reset, at what the tail holds.

    ``since`` are the offsets of the first records that are not older than `Wish.since_ms`.
    """
    if wish.id is not None:
        return _resumed(wish.id, wish.text, tail)
    if wish.unreadable:
        return Start(_all_of(tail, tail.floor), ("epoch",), requested=wish.text)
    if since is not None:
        return Start(tuple(tuple(offsets) for offsets in since))
    match wish.from_:
        case From.NOW:
            return Start(None)
        case From.TAIL:
            return Start(_all_of(tail, tail.floor))
        case From.EARLIEST:
            return Start(_all_of(tail, tail.start))


def names_unknown(start: Start, tail: Tail) -> list[int]:
    """Return the topics, by number, of which ``start`` has entries for partitions that are not known here."""
    return [topic for topic, offsets in enumerate(start.taken or ()) if len(offsets) > tail.partitions(topic)]


def of_known(start: Start, tail: Tail) -> Start:
    """Cut off the entries of partitions that are not known here, once Kafka was asked: there are none."""
    taken = tuple(offsets[: tail.partitions(topic)] for topic, offsets in enumerate(start.taken or ()))
    return start if taken == start.taken else replace(start, taken=taken, resets=(*start.resets, "truncated"))


def is_ahead(start: Start, tail: Tail) -> bool:
    """Whether the reader would wait for this replica: it is the slower one, or the log was cut off meanwhile."""
    return any(entry > tail.next_offset(*place) for *place, entry in _entries_of(start))


def within(start: Start, tail: Tail, ends: Offsets) -> Start:
    """Cut a start back where it lies beyond the log's ``ends``, which are fresh high watermarks: there it was cut off.

    Where nothing is known of an end, there are fewer entries. Gives the same start where it is within.
    """
    taken = [list(offsets) for offsets in start.taken or ()]
    resets: tuple[str, ...] = ()
    for topic, partition, entry in _entries_of(start):
        if partition < len(ends[topic]) and entry > ends[topic][partition]:
            taken[topic][partition] = min(tail.next_offset(topic, partition), ends[topic][partition])
            resets += ("truncated",)
    return replace(start, taken=tuple(map(tuple, taken)), resets=start.resets + resets) if resets else start


def _entries_of(start: Start) -> Iterator[tuple[int, int, int]]:
    for topic, offsets in enumerate(start.taken or ()):
        for partition, entry in enumerate(offsets):
            yield topic, partition, entry


def _resumed(id_: EventId, text: str, tail: Tail) -> Start:
    taken: list[tuple[int, ...]] = []
    resets: tuple[str, ...] = ()
    for number in range(len(tail.topics)):
        entries = _entries(id_, number, tail)
        if entries is None:
            entries, resets = _of_topic(tail, number, tail.floor), ("epoch",)
        taken.append(_without_zeros(entries, tail.partitions(number)))
    return Start(tuple(taken), resets, resumed=True, requested=text, ended=id_.ended)


def _entries(id_: EventId, number: int, tail: Tail) -> tuple[int, ...] | None:
    """Return the id's entries for one topic; None when the id does not know this incarnation of it.

    A group ``0`` says that the topic did not exist yet, so all that it holds is later; which topic it means shows only
    where the id has as many groups as there are topics. A group of a topic that is not ours is ignored.
    """
    epoch = tail.epochs[number]
    if epoch != NO_TOPIC:
        for group, entries in id_.groups:
            if group == epoch:
                return entries
    if len(id_.groups) == len(tail.topics) and id_.groups[number][0] == NO_TOPIC:
        return ()
    return None


def _without_zeros(entries: tuple[int, ...], known: int) -> tuple[int, ...]:
    """Leave the zeros at the end out, as far as they stand for partitions that are not known: nothing says the same."""
    end = len(entries)
    while end > known and not entries[end - 1]:
        end -= 1
    return entries[:end]


def _of_topic(tail: Tail, number: int, of: Callable[[int, int], int]) -> tuple[int, ...]:
    return tuple(of(number, partition) for partition in range(tail.partitions(number)))


def _all_of(tail: Tail, of: Callable[[int, int], int]) -> tuple[tuple[int, ...], ...]:
    return tuple(_of_topic(tail, number, of) for number in range(len(tail.topics)))
