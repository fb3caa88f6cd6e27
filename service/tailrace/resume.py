"""An id, or where else a client asks to begin -> where to start, and what to tell it.

Pure: the tail's shape goes in, a `Start` comes out. Groups of an id are matched to topics by epoch, so an id from
another cluster, or from a topic that was deleted and made again, is recognised and never misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tailrace.errors import BadRequest
from tailrace.position import NO_TOPIC, EventId, MalformedId, parse
from tailrace.tail import Tail


class From(Enum):
    """Where to begin without an id."""

    NOW = "now"
    TAIL = "tail"
    EARLIEST = "earliest"


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a client asks to begin. An id beats ``from_``; ``unreadable`` is a header that holds no id of ours."""

    id: EventId | None = None
    text: str = ""
    """The id as it came: told back in `tailrace.reset`."""
    unreadable: bool = False
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
    """Read what a request asks for: the ``Last-Event-ID`` header, then ``last_event_id`` or its alias, then ``from``.

    The header wins, because on a reconnect the browser sends it beside the URL's stale query. One that cannot be read
    is not an error: the browser sends it by itself, and a 400 would end that EventSource for good.

    Raises:
        BadRequest: a query value is malformed; the message names it.
    """
    if "since" in query:
        raise BadRequest("'since' is not supported by this version; use 'last_event_id' or 'from'")
    from_ = _from(query)
    if last_event_id:
        try:
            return Wish(parse(last_event_id), last_event_id, from_=from_)
        except MalformedId:
            return Wish(None, last_event_id[:100], unreadable=True)
    if text := query.get("last_event_id") or query.get("lastEventId"):
        return Wish(parse(text), text, from_=from_)
    return Wish(from_=from_)


def _from(query: Mapping[str, str]) -> From:
    value = query.get("from", From.NOW.value)
    try:
        return From(value)
    except ValueError:
        raise BadRequest(f"'from' is {value[:40]!r}; expected 'now', 'tail' or 'earliest'") from None


def is_strange(wish: Wish, tail: Tail) -> bool:
    """Whether the id names a topic's incarnation that is not known here yet: a fresh identity may tell."""
    return wish.id is not None and any(_entries(wish.id, number, tail) is None for number in range(len(tail.topics)))


def start_of(wish: Wish, tail: Tail) -> Start:
    """Decide where a reader begins. An incarnation that stays unknown means a reset, at what the tail holds."""
    if wish.id is not None:
        return _resumed(wish.id, wish.text, tail)
    floors = tuple(_floors(tail, number) for number in range(len(tail.topics)))
    if wish.unreadable:
        return Start(floors, ("epoch",), requested=wish.text)
    if wish.from_ is From.NOW:
        return Start(None)
    incomplete = wish.from_ is From.EARLIEST and any(any(offsets) for offsets in floors)
    return Start(floors, ("bounded",) if incomplete else ())


def _resumed(id_: EventId, text: str, tail: Tail) -> Start:
    taken: list[tuple[int, ...]] = []
    resets: tuple[str, ...] = ()
    for number in range(len(tail.topics)):
        entries = _entries(id_, number, tail)
        if entries is None:
            entries, resets = _floors(tail, number), ("epoch",)
        taken.append(entries)
    return Start(tuple(taken), resets, resumed=True, requested=text, ended=id_.ended)


def _entries(id_: EventId, number: int, tail: Tail) -> tuple[int, ...] | None:
    """Give the id's entries for one topic; None when the id does not know this incarnation of it.

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


def _floors(tail: Tail, number: int) -> tuple[int, ...]:
    return tuple(tail.floor(number, partition) for partition in range(tail.partitions(number)))
