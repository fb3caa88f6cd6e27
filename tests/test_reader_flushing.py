"""One subscriber's place: what it is given, in which order, with which ids, and how it ends."""

from __future__ import annotations

import pytest

from builders import EPOCH, FakeOwner, FakeRecord, FakeReplays, append, attached, make_reader, make_tail
from reading import Client, batch, evict_all, records, tombstone, wake
from tailrace.encoding import FORMATS, Framing
from tailrace.position import Position
from tailrace.reader import MAX_FLUSH_BYTES, Reader
from tailrace.timers import Wheel

# The order of a flush.


def test_take_what_is_there_then_ask_for_the_end_then_rest() -> None:
    """A farewell in the middle of a history waits for all of it: a loss must never look like a goodbye."""
    tail = make_tail()
    append(tail, *records(0, 1, 2, size=MAX_FLUSH_BYTES))
    client = Client(tail, [[0]])
    client.reader.closing = True
    client.soon.append(client.reader.flush)
    seen = []
    for _ in range(4):
        client.turn()
        seen.append(([data[:1] for data in client.data()], client.owner.rests))
    assert seen == [(["0"], 0), (["1"], 0), (["2"], 0), (["t"], 1)]


def test_lagging_live_reader_is_not_dismissed() -> None:
    """Asked to leave while it lags, it is told why only after what it lacks, the reset included."""
    tail = make_tail()
    client = Client(tail, max_records=0)
    client.wire.open = False
    batch(tail, *records(0, 1))
    evict_all(tail)
    client.reader.closing = client.wire.open = True
    client.reader.flush()
    assert ([block.event for block in client.heard()], client.owner.rests) == (["tailrace.reset", "tailrace.live"], 1)


def test_reader_that_is_not_closing_rests() -> None:
    """With nothing due, and no farewell, nothing happens."""
    client = Client(make_tail())
    client.reader.flush()
    assert (client.wire.written, client.owner.rests, client.soon) == ([], 0, [])


def test_nothing_is_taken_while_the_wire_is_full() -> None:
    """What the wire does not take stays in the tail, and is taken when it is writable again."""
    tail = make_tail()
    client = Client(tail)
    client.wire.open = False
    batch(tail, *records(0, 1))
    before = (client.data(), client.reader.place)
    client.wire.open = True
    client.wire.on_writable()
    assert (before, client.data()) == (([], 0), ["0", "1"])


def test_farewell_waits_for_the_wire() -> None:
    """Not even the last word is written to a wire that is full."""
    client = Client(make_tail())
    client.wire.open, client.reader.closing = False, True
    client.reader.flush()
    before, client.wire.open = client.owner.rests, True
    client.wire.on_writable()
    assert (before, client.owner.rests) == (0, 1)


def test_reader_without_a_wire_waits_for_it() -> None:
    """Between admission and the first byte nothing is taken."""
    tail = make_tail()
    reader = Reader(tail, "s", None, FakeOwner(), Wheel(), FakeReplays())
    batch(tail, *records(0))
    reader.flush()
    reader.write(b"nowhere")
    assert (reader.place, reader.has_nothing_to_come()) == (0, False)


@pytest.mark.parametrize("taken", [None, [[0]]], ids=["live", "catching-up"])
def test_flush_is_bounded_and_goes_on_in_the_next_turn(taken: list[list[int]] | None) -> None:
    """One reader writes about `MAX_FLUSH_BYTES` in a turn, in a single write; the rest comes in later turns."""
    tail = make_tail()
    client = Client(tail, taken)
    append(tail, *records(*range(40), size=MAX_FLUSH_BYTES // 8))
    wake(tail)
    writes = []
    while client.wire.written:
        writes.append((len(client.wire.written), len(client.wire.text) < MAX_FLUSH_BYTES * 1.25, len(client.data())))
        client.turn()
    assert ({write[:2] for write in writes}, [write[2] for write in writes][:5]) == ({(1, True)}, [8] * 5)


def test_writing_is_noted() -> None:
    """Heartbeats and stalls go by the last write, young ids by how far the tail has turned over since."""
    tail = make_tail()
    client = Client(tail)
    client.wheel.now = 7
    append(tail, *records(0, key=b"other"))
    client.reader.write(b"hello")
    before = (client.reader.wrote_at, client.reader.sent_at)
    client.wheel.now = 9
    batch(tail, *records(1))
    assert (before, (client.reader.wrote_at, client.reader.sent_at)) == ((7, 1), (9, 2))


def test_failure_is_the_owners() -> None:
    """The tail hands on what serving this reader raised."""
    client = Client(make_tail())
    trouble = LookupError("on purpose")
    client.reader.fail(trouble)
    assert client.owner.failures == [trouble]


def test_closed_reader_says_nothing_more() -> None:
    """Whatever is still scheduled for it, nothing follows the last word."""
    tail = make_tail()
    client = Client(tail)
    stays = Client(tail)
    client.reader.close()
    batch(tail, *records(0))
    evict_all(tail)
    batch(tail, *records(1))
    client.reader.flush()
    client.reader.write(b"late")
    assert (client.wire.written, stays.data()) == ([], ["0", "1"])


# Live.


def test_without_an_id_it_is_live_at_the_cut() -> None:
    """Rule 1: what lies before is not due, what comes is, and its position is the cut."""
    tail = make_tail()
    batch(tail, *records(0, 1))
    client = Client(tail)
    client.reader.flush()
    before = (client.reader.live, client.reader.position, client.data())
    batch(tail, *records(2))
    assert (before, client.data()) == ((True, Position((EPOCH,), ((2,),)), []), ["2"])


def test_live_readers_share_the_very_bytes() -> None:
    """An event is encoded once for all live readers of a framing: the same object."""
    tail = make_tail()
    one, other = Client(tail), Client(tail)
    batch(tail, *records(0))
    assert one.wire.written[0] is other.wire.written[0]


def test_each_framing_has_bytes_of_its_own() -> None:
    """Readers of other framings do not get in each other's way."""
    tail = make_tail()
    readers = [Reader(tail, "s", None, FakeOwner(), Wheel(), FakeReplays()) for _ in Framing]
    [event] = append(tail, *records(0))
    taken = [reader.take(FORMATS[framing], 1)[1] for reader, framing in zip(readers, Framing, strict=True)]
    assert taken == [event.body, event.chunks, event.frames]


def test_live_ids_are_the_events_own() -> None:
    """The cut of this replica after the event, in which a quiet partition moves on by itself."""
    tail = make_tail(partitions=2)
    client = Client(tail)
    batch(tail, *records(0, 1, key=b"other"), partition=1)
    batch(tail, *records(5, 6))
    assert [block.id for block in client.heard()] == [f"v1.{EPOCH}.-6.2", f"v1.{EPOCH}.-7.2"]


def test_position_at_rest_is_the_cut() -> None:
    """A quiet session's position moves on with the log."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(0, key=b"other"))
    assert client.reader.position == tail.position


def test_position_with_something_due_is_just_before_it() -> None:
    """What the client has not been given is in no id."""
    tail = make_tail(partitions=2)
    client = Client(tail)
    client.wire.open = False
    batch(tail, *records(3), partition=1)
    batch(tail, *records(8), partition=0)
    assert client.reader.position == Position((EPOCH,), ((0, 3),))


def test_overtaken_reader_resumes_just_before_what_it_lost() -> None:
    """What it may not have replayed is told as a reset; what is still held follows, and then it is live again."""
    tail = make_tail()
    client = Client(tail, max_records=0)
    client.wire.open = False
    append(tail, *records(0, 1, 2))
    tail.max_bytes = tail.bytes - 1
    tail.evict()
    before = (client.reader.live, client.reader.position)
    client.wire.open = True
    client.reader.flush()
    heard = client.heard()
    assert before == (False, Position((EPOCH,), ((0,),)))
    assert [block.event or block.data for block in heard] == ["tailrace.reset", "1", "2", "tailrace.live"]
    assert ("bounded" in heard[0].data, heard[0].id, client.reader.live) == (True, f"v1.{EPOCH}.1", True)


def test_reader_that_has_taken_everything_is_not_overtaken() -> None:
    """Eviction of what it has does not concern it."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(0, 1))
    evict_all(tail)
    batch(tail, *records(2))
    assert (client.data(), client.reader.live) == (["0", "1", "2"], True)


def test_overtaken_reader_asks_for_what_it_lost() -> None:
    """From just before the event that was evicted; it is handed that, and then takes what the tail holds."""
    tail = make_tail()
    client = Client(tail)
    client.wire.open = False
    lost, *_ = append(tail, *records(0, 1, 2))
    tail.max_bytes = tail.bytes - 1
    tail.evict()
    client.wire.open = True
    client.reader.flush()
    before = (client.replays.asked, client.data())
    client.find(lost)
    client.pass_ends(1)
    assert (before, client.data()) == (([((0, 0), 0)], []), ["0", "1", "2", "tailrace.live"])


def test_closing_reader_does_not_wait_for_a_replay() -> None:
    """What it lacks it gets when it comes back: its position says where that begins."""
    tail = make_tail()
    batch(tail, *records(0, 1))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.closing = True
    client.reader.flush()
    assert (client.owner.rests, client.reader.position.offsets) == (1, ((0,),))


def test_refusal_of_the_replay_comes_after_what_was_taken() -> None:
    """The farewell's id may only name what was written before it."""
    tail = make_tail(partitions=2)
    append(tail, *records(0))
    evict_all(tail)
    append(tail, *records(0), partition=1)
    heard: list[str] = []
    client = Client(tail, [[0, 0]])
    client.replays.is_full = True
    client.owner.on_end = lambda: heard.extend(client.data())
    client.reader.flush()
    assert (heard, client.owner.ends) == (["0"], ["come back later"])


def test_live_reader_has_left_the_replay() -> None:
    """Going live, or closing, it is handed nothing more."""
    client = Client(make_tail(), [[0]])
    client.reader.flush()
    before = list(client.replays.left)
    client.reader.close()
    assert (before, client.replays.left) == ([client.reader], [client.reader] * 2)


def test_live_reader_takes_nothing_from_a_scan() -> None:
    """Whatever a pass that has not heard yet still brings."""
    tail = make_tail()
    client = Client(tail)
    [event] = append(tail, *records(0))
    client.reader.served_by((0, 0), client.replays)
    client.reader.hand(client.replays, event)
    kept = client.reader.lying_bytes
    client.reader.left_by((0, 0), client.replays, 1)
    client.reader.flush()
    assert (kept, client.data()) == (0, ["0"])


# Ends.


def test_end_closes_a_live_reader() -> None:
    """A tombstone with nothing after it is the end; over and out, without a byte of its own here."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(0), tombstone(1))
    assert (client.data(), client.owner.rests, client.reader.ended) == (["0"], 1, True)


def test_lone_end_closes_too() -> None:
    """Also when it is all that the batch brought."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, tombstone(0))
    assert (client.wire.written, client.owner.rests) == ([], 1)


def test_end_with_something_after_it_is_no_end() -> None:
    """A session that was taken up again goes on."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, tombstone(0), *records(1))
    assert (client.data(), client.owner.rests, client.reader.closing) == (["1"], 0, False)


def test_end_behind_the_bound_of_a_flush_waits_for_its_turn() -> None:
    """A flush that stops short of an end does not end anything, nor does the next one where more follows."""
    tail = make_tail()
    client = Client(tail)
    big = records(0, size=MAX_FLUSH_BYTES - 300)
    batch(tail, *big, FakeRecord(1, b"s", b"x" * 300), tombstone(2), *records(3))
    before = client.owner.rests
    client.turn()
    assert (before, client.owner.rests, client.data()[-1]) == (0, 0, "3")


def test_end_in_the_history_is_passed_over() -> None:
    """Catching up, only an end with nothing later is an end."""
    tail = make_tail()
    append(tail, tombstone(0), *records(1))
    client = Client(tail, [[0]])
    client.reader.flush()
    assert (client.data(), client.owner.rests) == (["1", "tailrace.live"], 0)


def test_history_that_ends_ends_the_reader() -> None:
    """It has all there was, hears so, and then the end."""
    tail = make_tail()
    append(tail, *records(0), tombstone(1))
    client = Client(tail, [[0]])
    client.reader.flush()
    assert (client.data(), client.owner.rests) == (["0", "tailrace.live"], 1)


def test_end_on_a_slower_replica_waits_for_the_rest() -> None:
    """While another partition is not reached, something later may be there."""
    tail = make_tail(partitions=2)
    append(tail, tombstone(0))
    client = Client(tail, [[0, 1]])
    client.reader.flush()
    before = client.owner.rests
    batch(tail, *records(0, key=b"other"), partition=1)
    assert (before, client.owner.rests) == (0, 1)


# Whether anything is to come.


def test_live_with_nothing_due_has_nothing_to_come() -> None:
    """Until something is appended."""
    tail = make_tail()
    client = Client(tail)
    before = client.reader.has_nothing_to_come()
    append(tail, *records(0))
    assert (before, client.reader.has_nothing_to_come()) == (True, False)


@pytest.mark.parametrize(
    "taken,resets,expected",
    [
        pytest.param([[2]], [], True, id="at-the-cut"),
        pytest.param([[0]], [], False, id="an-event-is-due"),
        pytest.param([[1]], [], True, id="only-others-events-are-left"),
        pytest.param([[3]], [], False, id="the-replica-is-slower"),
        pytest.param([[2, 1]], [], False, id="the-replica-knows-fewer-partitions"),
        pytest.param([[2]], ["epoch"], False, id="a-reset-is-to-be-told"),
    ],
)
def test_who_would_be_live_with_nothing_due_has_nothing_to_come(
    taken: list[list[int]], resets: list[str], expected: bool
) -> None:
    """Asked before it reads: only then may it be told to stay away."""
    tail = make_tail()
    append(tail, *records(0), *records(1, key=b"other"))
    assert Client(tail, taken, resets=resets).reader.has_nothing_to_come() is expected


def test_who_is_below_the_floor_has_something_to_come() -> None:
    """A reset, at least."""
    tail = make_tail()
    append(tail, *records(0))
    evict_all(tail)
    assert not Client(tail, [[0]]).reader.has_nothing_to_come()


# What was accepted.


def test_owner_hears_what_the_wire_accepted() -> None:
    """Events and bytes of one write, and whether they were live."""
    tail = make_tail()
    reader = make_reader(tail)
    wire = attached(reader)
    append(tail, FakeRecord(0), FakeRecord(1))
    reader.flush()
    assert owner_of(reader).deliveries == [([0, 1], len(wire.written[0]), True)]


def test_history_is_told_apart() -> None:
    """How old an event was means nothing where a client was away."""
    tail = make_tail()
    append(tail, FakeRecord(0))
    reader = make_reader(tail, [[0]])
    wire = attached(reader)
    reader.flush()
    assert owner_of(reader).deliveries == [([0], len(wire.written[0]), False)]


def test_a_full_wire_accepts_when_it_is_below_its_mark() -> None:
    """A write that fills the wire counts only once it can be written to again."""
    tail = make_tail()
    reader = make_reader(tail)
    wire = attached(reader)
    wire.fills = True
    append(tail, FakeRecord(0))
    reader.flush()
    assert owner_of(reader).deliveries == []
    wire.open = True
    wire.on_writable()
    assert owner_of(reader).deliveries == [([0], len(wire.written[0]), True)]


def test_owner_hears_that_a_write_filled_the_wire() -> None:
    """From then on it counts whether the client takes anything; and never on a wire that had room."""
    tail = make_tail()
    reader = make_reader(tail)
    wire = attached(reader)
    counts = []
    for fills in (False, True):
        wire.fills = fills
        append(tail, FakeRecord(0))
        reader.flush()
        counts.append(owner_of(reader).full)
    assert counts == [0, 1]


def test_what_was_replayed_is_history() -> None:
    """What a scan brought counts as what it is, in the write that takes it."""
    tail = make_tail()
    [event] = append(tail, *records(0))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(event)
    client.reader.flush()
    assert [delivery[::2] for delivery in client.owner.deliveries] == [([0], False)]


def owner_of(reader: Reader) -> FakeOwner:
    """Give the owner that takes notes."""
    owner = reader._owner
    assert isinstance(owner, FakeOwner)
    return owner
