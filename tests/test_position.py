"""Positions and their text: what is written is read back, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.errors import BadRequest
from tailrace.position import MAX_ID_BYTES, NO_TOPIC, EventId, MalformedId, Position, Vector, epoch_of, parse

A, B = "9f3a2c1d", "00c0ffee"
HUGE = 2**63 - 1

TOPICS = st.tuples(st.from_regex(r"[0-9a-f]{8}", fullmatch=True), st.lists(st.integers(0, HUGE), max_size=6).map(tuple))
NOT_YET = st.just((NO_TOPIC, ()))


@st.composite
def positions(draw: st.DrawFn) -> Position:
    """Draw a position of one to four topics, some of which may not exist yet."""
    topics = draw(st.lists(TOPICS | NOT_YET, min_size=1, max_size=4))
    return Position(tuple(epoch for epoch, _ in topics), tuple(offsets for _, offsets in topics))


@st.composite
def marked(draw: st.DrawFn) -> tuple[Position, tuple[int, int]]:
    """Draw a position and one of its partitions."""
    position = draw(positions().filter(lambda position: any(position.offsets)))
    places = [(topic, n) for topic, offsets in enumerate(position.offsets) for n in range(len(offsets))]
    return position, draw(st.sampled_from(places))


@given(positions(), st.booleans())
def test_text_is_read_back(position: Position, ended: bool) -> None:
    """Every position survives its text."""
    groups = tuple(zip(position.epochs, position.offsets, strict=True))
    assert EventId(groups, None, ended) == parse(position.text(ended=ended))


@given(marked(), st.booleans())
def test_mark_names_a_record_and_changes_no_entry(drawn: tuple[Position, tuple[int, int]], ended: bool) -> None:
    """With a mark the same entries are read, and which of them is the record's."""
    position, mark = drawn
    plain, read = parse(position.text()), parse(position.text(mark=mark, ended=ended))
    assert (plain.groups, mark, ended) == (read.groups, read.mark, read.ended)


@given(marked(), st.integers(0, HUGE))
def test_around_and_a_number_make_the_id(drawn: tuple[Position, tuple[int, int]], offset: int) -> None:
    """An event's id is a shared prefix, its own entry and a shared suffix."""
    position, mark = drawn
    before, after = position.around(*mark)
    assert position.advanced(*mark, offset).text(mark=mark).encode() == b"%b%d%b" % (before, offset, after)


@given(st.text(max_size=60) | st.text("v1.~-09afend\n ", max_size=60).map(lambda tail: "v1." + tail))
def test_hostile_text_is_malformed_or_read(text: str) -> None:
    """Whatever a client sends is an id or a `MalformedId`, and nothing else."""
    try:
        assert isinstance(parse(text), EventId)
    except MalformedId as error:
        assert error.detail.startswith("the event id ")  # noqa: PT017  either is right


@given(marked(), st.data())
def test_damaged_id_never_raises_anything_else(drawn: tuple[Position, tuple[int, int]], data: st.DataObject) -> None:
    """An id with one character put in, or taken out, is an id or a `MalformedId`."""
    text = drawn[0].text(mark=drawn[1])
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=1)) + text[at + data.draw(st.integers(0, 1)) :]
    try:
        assert isinstance(parse(damaged), EventId)
    except MalformedId as error:
        assert str(error)  # noqa: PT017  either is right


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "does not start with 'v1.'"),
        ("v2.9f3a2c1d.1", "does not start with 'v1.'"),
        (" v1.9f3a2c1d.1", "does not start with 'v1.'"),
        ("v1.", "has '' where an epoch"),
        ("v1..end", "has '' where an epoch"),
        ("v1.9F3A2C1D.1", "has '9F3A2C1D' where an epoch"),
        ("v1.9f3a2c1.1", "has '9f3a2c1' where an epoch"),
        ("v1.9f3a2c1d.1~", "has '' where an epoch"),
        ("v1.0.5", "has '0' where an epoch"),
        ("v1.9f3a2c1d.", "has '' where an offset"),
        ("v1.9f3a2c1d.01", "has '01' where an offset"),
        ("v1.9f3a2c1d.+1", r"has '\+1' where an offset"),
        ("v1.9f3a2c1d.--1", "has '--1' where an offset"),
        ("v1.9f3a2c1d.1_0", "has '1_0' where an offset"),
        ("v1.9f3a2c1d.1\n", r"has '1\\n' where an offset"),
        ("v1.9f3a2c1d.\u0663", "has '\u0663' where an offset"),
        ("v1.9f3a2c1d.9223372036854775808", "has '9223372036854775808' where an offset"),
        ("v1.9f3a2c1d.end.1", "has 'end' where an offset"),
        ("v1.9f3a2c1d.-1.-2", "marks more than one partition"),
        ("v1.9f3a2c1d.-1~00c0ffee.-2", "marks more than one partition"),
        ("v1." + "9" * MAX_ID_BYTES, f"is longer than {MAX_ID_BYTES} characters"),
    ],
)
def test_malformed_id_says_what_is_wrong(text: str, message: str) -> None:
    """The message says what stands where something else was expected."""
    with pytest.raises(MalformedId, match=message):
        parse(text)


def test_malformed_id_is_a_bad_request() -> None:
    """A client that asks for such an id is answered 400."""
    assert issubclass(MalformedId, BadRequest)


def test_messages_quote_no_more_than_a_word() -> None:
    """A hostile id does not fill logs and answers."""
    with pytest.raises(MalformedId) as caught:
        parse("v1.9f3a2c1d." + "x" * 5000)
    assert len(caught.value.detail) < 100


def test_the_design_id() -> None:
    """The text of an event's id is what clients, logs and other replicas have always seen."""
    position = Position((A, B), ((1843, 1790, 2011), (7,)))
    assert position.text(mark=(0, 1), ended=True) == "v1.9f3a2c1d.1843.-1790.2011~00c0ffee.7.end"


def test_a_partition_added_later_has_entry_0() -> None:
    """What a partition holds that the position does not know is later, all of it."""
    position = Position((A,), ((5, 6),))
    assert [position.entry(0, 1), position.entry(0, 9)] == [6, 0]


def test_advanced_copies_and_fills_up() -> None:
    """One entry is set in a copy; partitions between are at 0, other topics stay."""
    position = Position((A, B), ((5,), (7,)))
    assert (position.advanced(0, 2, 9).offsets, position.offsets) == (((5, 0, 9), (7,)), ((5,), (7,)))


def test_epoch_is_pinned() -> None:
    """Another release, or another replica, names the same incarnation the same: SHA-256, NUL between, 8 digits."""
    assert epoch_of("cluster", "topic", "id") == "3f113364"


def test_each_part_of_the_identity_makes_another_epoch() -> None:
    """Another cluster, another name, a topic made again, and brokers without topic ids all differ."""
    names = [("c", "t", "i"), ("d", "t", "i"), ("c", "u", "i"), ("c", "t", "j"), ("c", "t", None), ("c", "ti", "")]
    assert len({epoch_of(*name) for name in names}) == len(names)


def test_a_vector_keeps_what_it_is_given() -> None:
    """Entries that are missing are 0, padding takes none away, and a topic may begin anew."""
    vector = Vector([[1]])
    vector.set(0, 2, 7)
    vector.pad([2, 1])
    assert vector.offsets == ((1, 0, 7), (0,))
    assert [vector.entry(0, 2), vector.entry(0, 9)] == [7, 0]
    assert list(vector) == [[1, 0, 7], [0]]
    vector.clear(0)
    assert list(vector) == [[], [0]]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 20), st.booleans()), max_size=20),
    st.lists(st.integers(0, 4), min_size=2, max_size=2),
)
def test_a_vector_writes_the_id_of_a_position(steps: list[tuple[int, int, int, bool]], counts: list[int]) -> None:
    """Whatever was set, padded or cleared before: what it keeps of the last id is never stale."""
    vector = Vector([[3], []])
    for topic, partition, offset, change in steps:
        vector.set(topic, partition, offset)
        epochs = (A, B) if change else (B, A)
        expected = Position(epochs, vector.offsets).text(mark=(topic, partition)).encode()
        assert [expected, expected] == [vector.id_at(epochs, topic, partition) for _ in range(2)]
        if change:
            vector.pad(counts)
        elif offset == 0:
            vector.clear(1 - topic)
