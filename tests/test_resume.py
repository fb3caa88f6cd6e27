"""Where a client asks to begin, and where it begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import EPOCH
from tailrace.errors import BadRequest
from tailrace.position import MalformedId, parse
from tailrace.resume import From, Start, Wish, is_ahead, is_strange, names_unknown, of_known, start_of, wish_of, within
from tailrace.tail import Tail

A, B, FOREIGN = EPOCH, "00c0ffee", "deadbeef"
ID = f"v1.{A}.5.6"
OTHER = f"v1.{A}.1.2"


def tail_of(*epochs: str | None, partitions: int = 2) -> Tail:
    """Make a tail of topics with these epochs (None: it does not exist yet), whose floors are 3."""
    tail = Tail([f"t{number}" for number in range(len(epochs))], 1 << 20)
    for number, epoch in enumerate(epochs):
        if epoch is not None:
            tail.learn(number, epoch, partitions)
            for partition in range(partitions):
                tail.begin(number, partition, 3)
    return tail


def start(text: str, tail: Tail) -> Start:
    """Begin with this id."""
    return start_of(Wish(parse(text), text), tail)


# What a request asks for.


@pytest.mark.parametrize(
    "header,query,expected",
    [
        (None, {}, Wish()),
        ("", {}, Wish()),
        (ID, {}, Wish(parse(ID), ID)),
        (ID, {"last_event_id": OTHER}, Wish(parse(ID), ID)),
        (ID, {"last_event_id": "nonsense"}, Wish(parse(ID), ID)),
        (None, {"last_event_id": OTHER}, Wish(parse(OTHER), OTHER)),
        (None, {"lastEventId": OTHER}, Wish(parse(OTHER), OTHER)),
        (None, {"last_event_id": ID, "lastEventId": OTHER}, Wish(parse(ID), ID)),
        (None, {"last_event_id": "", "lastEventId": OTHER}, Wish(parse(OTHER), OTHER)),
        ("", {"last_event_id": OTHER}, Wish(parse(OTHER), OTHER)),
        (None, {"last_event_id": ""}, Wish()),
        (None, {"from": "now"}, Wish()),
        (None, {"from": "tail"}, Wish(from_=From.TAIL)),
        (None, {"from": "earliest"}, Wish(from_=From.EARLIEST)),
        (None, {"last_event_id": ID, "from": "tail"}, Wish(parse(ID), ID, from_=From.TAIL)),
        (None, {"since": "0"}, Wish(since_ms=0)),
        (None, {"since": "7", "from": "earliest"}, Wish(since_ms=7, from_=From.EARLIEST)),
        (None, {"last_event_id": ID, "since": "7"}, Wish(parse(ID), ID)),
        (ID, {"since": "7"}, Wish(parse(ID), ID)),
        (None, {"token": "x", "other": "y"}, Wish()),
    ],
)
def test_header_before_query_before_since_before_from(
    header: str | None, query: dict[str, str], expected: Wish
) -> None:
    """The header is the browser's, and newer than the URL; an empty value is none."""
    assert expected == wish_of(header, query)


@pytest.mark.parametrize("header", ["nonsense", "v2.9f3a2c1d.1", "1700000000-0", "\udcff", "v1."])
def test_header_that_cannot_be_read_is_no_error(header: str) -> None:
    """The browser sends it by itself; a 400 would end that EventSource for good. It beats the query all the same."""
    assert wish_of(header, {"last_event_id": ID}) == Wish(None, header, unreadable=True)


def test_unreadable_header_is_quoted_in_part() -> None:
    """It is told back in the reset, and nobody fills the stream with it."""
    assert len(wish_of("x" * 9000, {}).text) == 100


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
def test_query_that_cannot_be_read_is_an_error(name: str) -> None:
    """A URL is written by somebody who can be told."""
    with pytest.raises(MalformedId, match=r"does not start with 'v1\.'"):
        wish_of(None, {name: "nonsense"})


@pytest.mark.parametrize(
    "query,message",
    [
        ({"from": "yesterday"}, "'from' is 'yesterday'; expected 'now', 'tail' or 'earliest'"),
        ({"from": ""}, "'from' is ''; expected"),
        ({"from": "NOW"}, "'from' is 'NOW'; expected"),
        ({"from": "x" * 5000}, "'from' is 'x{40}'; expected"),
        ({"since": "yesterday"}, "'since' is 'yesterday'; expected a time by RFC 3339, or Unix milliseconds"),
        ({"since": ""}, "'since' is ''; expected"),
        ({"since": "-1"}, "'since' is '-1'; expected"),
        ({"since": "\u0661"}, "'since' is '\u0661'; expected"),
        ({"since": "1" * 16}, "'since' is '1{16}'; expected"),
        ({"since": "2026-01-01"}, "'since' is '2026-01-01'; expected"),
        ({"since": "2026-01-01T00:00:00"}, "'since' is '2026-01-01T00:00:00'; expected"),
        ({"since": "2026-01-01T00:00Z"}, "'since' is '2026-01-01T00:00Z'; expected"),
        ({"since": "2026-01-01T00:00:00Z0"}, "'since' is '2026-01-01T00:00:00Z0'; expected"),
        ({"since": "2026-02-30T00:00:00Z"}, "'since' is '2026-02-30T00:00:00Z'; expected"),
        ({"since": "2026-01-01T00:00:00+24:00"}, "'since' is '2026-01-01T00:00:00\\+24:00'; expected"),
        ({"since": "x" * 5000}, "'since' is 'x{40}'; expected"),
    ],
)
@pytest.mark.parametrize("header", [None, ID])
def test_malformed_query_is_named(header: str | None, query: dict[str, str], message: str) -> None:
    """Also beside a header that would win: the URL was wrong from the start."""
    with pytest.raises(BadRequest, match=message):
        wish_of(header, query)


@pytest.mark.parametrize(
    "value,expected",
    [
        ("1767225600000", 1767225600000),
        ("2026-01-01T00:00:00Z", 1767225600000),
        ("2026-01-01t00:00:00z", 1767225600000),
        ("2026-01-01T00:00:00.25Z", 1767225600250),
        ("2026-01-01T00:00:00.251Z", 1767225600251),
        ("2026-01-01T00:00:00.2501Z", 1767225600251),
        ("2026-01-01T00:00:00.250000000Z", 1767225600250),
        ("2026-01-01T01:30:00+01:30", 1767225600000),
        ("2026-01-01T01:30:00 01:30", 1767225600000),
        ("2025-12-31T23:00:00-01:00", 1767225600000),
        ("1969-12-31T23:59:59Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9" * 15, 999_999_999_999_999),
    ],
)
def test_since_is_a_time_of_rfc_3339_or_milliseconds(value: str, expected: int) -> None:
    """A ``+`` that nobody encoded has become a space; what lies before Kafka's time is its beginning."""
    assert expected == wish_of(None, {"since": value}).since_ms


# Without an id.


def test_now_is_live() -> None:
    """The default: what comes from now on."""
    assert start_of(Wish(), tail_of(A)) == Start(None)


def test_tail_is_what_memory_holds() -> None:
    """From the floors, and nobody promised more: no reset."""
    assert start_of(Wish(from_=From.TAIL), tail_of(A, B)) == Start(((3, 3), (3, 3)))


def test_earliest_is_where_the_log_begins() -> None:
    """As far as Kafka has told; what lies below memory comes from there, and nothing is missing."""
    tail = tail_of(A, B)
    tail.note_start(0, 1, 2)
    assert start_of(Wish(from_=From.EARLIEST), tail) == Start(((0, 2), (0, 0)))


def test_since_is_where_kafka_says_it_was() -> None:
    """Whatever else is asked for beside it."""
    assert start_of(Wish(since_ms=7, from_=From.EARLIEST), tail_of(A), [[1, 9]]) == Start(((1, 9),))


def test_unreadable_header_is_a_reset_at_what_is_held() -> None:
    """Another service's id, or another version's: reason `epoch`, and the text is told back."""
    wish = Wish(None, "1700000000-0", unreadable=True)
    assert start_of(wish, tail_of(A)) == Start(((3, 3),), ("epoch",), requested="1700000000-0")


# With an id.


def test_id_of_a_known_topic_is_taken_up() -> None:
    """Its entries are where the reader begins, whatever the floors."""
    assert start(ID, tail_of(A)) == Start(((5, 6),), resumed=True, requested=ID)


@pytest.mark.parametrize(
    "text,epochs,taken",
    [
        pytest.param(f"v1.{A}.5", (A,), ((5,),), id="fewer-partitions-than-are-known"),
        pytest.param(f"v1.{A}", (A,), ((),), id="no-partitions"),
        pytest.param(f"v1.{A}.5.6.7", (A,), ((5, 6, 7),), id="more-partitions-than-are-known"),
        pytest.param(f"v1.{A}.-5.6", (A,), ((5, 6),), id="the-mark-means-nothing"),
        pytest.param(f"v1.{A}.5~{B}.6", (A, B), ((5,), (6,)), id="two-topics"),
        pytest.param(f"v1.{B}.6~{A}.5", (A, B), ((5,), (6,)), id="matched-by-epoch-not-by-place"),
        pytest.param(f"v1.{FOREIGN}.9~{A}.5", (A,), ((5,),), id="foreign-group-is-ignored"),
        pytest.param(f"v1.{A}.5~{FOREIGN}.9~{B}.6", (A, B), ((5,), (6,)), id="foreign-group-between"),
        pytest.param(f"v1.0~{B}.6", (A, B), ((), (6,)), id="a-topic-that-did-not-exist-yet"),
        pytest.param(f"v1.{A}.5~0", (A, B), ((5,), ()), id="the-other-did-not-exist-yet"),
        pytest.param(f"v1.{A}.5~0", (A, None), ((5,), ()), id="it-still-does-not-exist"),
        pytest.param("v1.0~0", (A, B), ((), ()), id="none-existed-yet"),
        pytest.param("v1.0", (None,), ((),), id="nothing-exists-yet"),
        pytest.param(f"v1.0~{A}.5", (A,), ((5,),), id="more-groups-than-topics"),
    ],
)
def test_groups_match_topics_by_epoch(
    text: str, epochs: tuple[str | None, ...], taken: tuple[tuple[int, ...], ...]
) -> None:
    """Missing entries are 0, further ones are kept, a topic that did not exist yet is all later."""
    tail = tail_of(*epochs)
    assert (start(text, tail), is_strange(Wish(parse(text)), tail)) == (
        Start(taken, resumed=True, requested=text),
        False,
    )


@pytest.mark.parametrize(
    "text,epochs,taken",
    [
        pytest.param(f"v1.{FOREIGN}.5.6", (A,), ((3, 3),), id="another-incarnation"),
        pytest.param(f"v1.{A}.5~{FOREIGN}.6", (A, B), ((5,), (3, 3)), id="one-of-two"),
        pytest.param(f"v1.{A}.5", (A, B), ((5,), (3, 3)), id="a-topic-without-a-group"),
        pytest.param("v1.0", (A, B), ((3, 3), (3, 3)), id="a-0-that-fits-no-place"),
        pytest.param(f"v1.{A}.5~0~0", (A, B), ((5,), (3, 3)), id="0-among-too-many-groups"),
        pytest.param(f"v1.{A}.5~{B}.6", (A, None), ((5,), ()), id="a-topic-that-is-unknown-here"),
        pytest.param(f"v1.0~{A}.5", (A, B), ((5,), (3, 3)), id="0-in-a-place-that-is-matched"),
    ],
)
def test_topic_that_the_id_does_not_know_is_a_reset(
    text: str, epochs: tuple[str | None, ...], taken: tuple[tuple[int, ...], ...]
) -> None:
    """It begins at what is held of that topic, the others go on; a fresh identity is worth asking for first."""
    tail = tail_of(*epochs)
    assert (start(text, tail), is_strange(Wish(parse(text)), tail)) == (
        Start(taken, ("epoch",), resumed=True, requested=text),
        True,
    )


def test_a_fresh_identity_may_know_the_id() -> None:
    """What was strange is taken up once the topic's new incarnation has been learnt."""
    tail = tail_of(A)
    wish = Wish(parse(f"v1.{B}.1"), "")
    before = is_strange(wish, tail)
    tail.learn(0, B, 1)
    assert (before, is_strange(wish, tail), start_of(wish, tail).taken) == (True, False, ((1,),))


def test_without_an_id_nothing_is_strange() -> None:
    """There is nothing to ask for."""
    assert not is_strange(Wish(None, "x", unreadable=True), tail_of(A))


def test_id_that_closed_its_session_says_so() -> None:
    """Whether the client should stay away is decided by what has come since."""
    assert start(ID + ".end", tail_of(A)) == Start(((5, 6),), resumed=True, requested=ID + ".end", ended=True)


def test_an_id_beats_from() -> None:
    """A client that was here before goes on where it was."""
    assert start_of(Wish(parse(ID), ID, from_=From.EARLIEST), tail_of(A)).taken == ((5, 6),)


# Beyond this replica, and beyond the log.


@pytest.mark.parametrize(
    "taken,expected",
    [
        pytest.param(None, False, id="live"),
        pytest.param(((3, 3),), False, id="at-the-cut"),
        pytest.param(((3, 4),), True, id="one-entry-is-further"),
        pytest.param(((3, 3, 1),), True, id="a-partition-that-is-unknown-here"),
        pytest.param(((3, 3, 0),), False, id="of-which-it-has-nothing"),
        pytest.param(((3,),), False, id="fewer-partitions"),
    ],
)
def test_who_is_ahead_of_this_replica(taken: tuple[tuple[int, ...], ...] | None, expected: bool) -> None:
    """A faster replica has served it, or the log lost its end."""
    assert is_ahead(Start(taken), tail_of(A)) is expected


@pytest.mark.parametrize(
    "taken,ends,expected",
    [
        pytest.param((5, 6), [5, 6], Start(((5, 6),)), id="the-replica-is-slower"),
        pytest.param((5, 6), [9, 5], Start(((5, 3),), ("truncated",)), id="cut-off-beyond-the-replica"),
        pytest.param((5, 6), [2, 1], Start(((2, 1),), ("truncated",) * 2), id="cut-off-before-it"),
        pytest.param((5, 6), [5], Start(((5, 6),)), id="an-end-is-not-known"),
        pytest.param((5, 6), [], Start(((5, 6),)), id="no-end-is-known"),
        pytest.param((3,), [3, 3], Start(((3,),)), id="fewer-partitions"),
    ],
)
def test_start_lies_within_the_log(taken: tuple[int, ...], ends: list[int], expected: Start) -> None:
    """Beyond a fresh high watermark the log was cut off: it goes on where this replica is, or at the end, and is told.
    What else was known of the start is kept."""
    given = replace(expected, taken=(taken,), resets=("epoch",), requested=ID)
    assert within(given, tail_of(A), [ends]) == replace(given, taken=expected.taken, resets=("epoch", *expected.resets))


def test_who_is_live_is_not_beyond_the_log() -> None:
    """It begins at the cut."""
    assert within(Start(None), tail_of(A), [[1, 1]]) == Start(None)


# Partitions that this replica does not know.


@pytest.mark.parametrize(
    "entries, expected",
    [("5.6", ()), ("5.6.0.0", ()), ("5.6.1", (0,)), ("5.6.0.1", (0,)), ("5", ()), ("5.6.1.0", (0,))],
)
def test_entries_of_unknown_partitions(entries: str, expected: tuple[int, ...]) -> None:
    """Kafka has to be asked about them, unless they say what nothing would say as well: all that is there is later."""
    tail = tail_of(A)
    begin = start(f"v1.{A}.{entries}", tail)
    assert tuple(names_unknown(begin, tail)) == expected


def test_entries_of_partitions_that_do_not_exist_are_cut_off_and_told() -> None:
    """Once, however many they are; the others stay."""
    tail = tail_of(A, B)
    begin = start(f"v1.{A}.5.6" + ".1" * 1000 + f"~{B}.7.8.9", tail)
    cut = of_known(begin, tail)
    assert (cut.taken, cut.resets, cut.resumed) == (((5, 6), (7, 8)), ("truncated",), True)
    assert of_known(cut, tail) is cut


def test_groups_of_other_topics_are_not_kept() -> None:
    """However many an id has."""
    begin = start(f"v1.{A}.5.6" + f"~{FOREIGN}.1.2.3" * 100, tail_of(A))
    assert begin.taken == ((5, 6),)
