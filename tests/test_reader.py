"""One subscriber's place: what it is given, in which order, with which ids, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import BODY, EPOCH, Block, FakeOwner, FakeRecord, ListWire, append, attached, make_reader, make_tail
from tailrace.encoding import FORMATS, Framing
from tailrace.position import NO_TOPIC, Position, parse
from tailrace.reader import MAX_FLUSH_BYTES, Reader
from tailrace.tail import Tail
from tailrace.timers import Wheel

NEW_EPOCH = "00c0ffee"


class Client:
    """A reader with a wire, an owner and a loop whose next turn comes when the test says so."""

    def __init__(
        self,
        tail: Tail,
        taken: Sequence[Sequence[int]] | None = None,
        *,
        session: str = "s",
        resets: Sequence[str] = (),
        owner: FakeOwner | None = None,
    ) -> None:
        self.tail = tail
        self.owner = owner or FakeOwner()
        self.wheel = Wheel()
        self.wire = ListWire()
        self.soon: list[Callable[[], None]] = []
        self.reader = Reader(tail, session, taken, self.owner, self.wheel, resets)
        self.reader.attach(self.wire, BODY, self.soon.append)

    def turn(self) -> None:
        """Let the loop turn once."""
        due, self.soon[:] = list(self.soon), []
        for callback in due:
            callback()

    def heard(self) -> list[Block]:
        """Give what came since the last look."""
        blocks = Block.all(self.wire.text)
        self.wire.written.clear()
        return blocks

    def data(self) -> list[str]:
        """Give the data, or the names, of what came since the last look."""
        return [block.event or block.data for block in self.heard()]


def records(*offsets: int, key: bytes = b"s", size: int = 0) -> list[FakeRecord]:
    """Make records that say their offset, and are about ``size`` bytes long."""
    return [FakeRecord(offset, key, b"%d" % offset + b"." * size) for offset in offsets]


def tombstone(offset: int) -> FakeRecord:
    """Make the end of session ``s``."""
    return FakeRecord(offset, b"s", None)


def batch(tail: Tail, *batch_records: FakeRecord, partition: int = 0, topic: int = 0) -> None:
    """Append a batch and wake everybody."""
    append(tail, *batch_records, partition=partition, topic=topic)
    wake(tail)


def wake(tail: Tail) -> None:
    """Serve everybody."""
    for _ in tail.wake():
        pass


def evict_all(tail: Tail) -> None:
    """Empty the tail, and let it fill up again."""
    bound, tail.max_bytes = tail.max_bytes, 0
    tail.evict()
    tail.max_bytes = bound


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
    client = Client(tail)
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
    reader = Reader(tail, "s", None, FakeOwner(), Wheel())
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
    readers = [Reader(tail, "s", None, FakeOwner(), Wheel()) for _ in Framing]
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
    """What was evicted untaken is told as a reset; what is still held follows, and then it is live again."""
    tail = make_tail()
    client = Client(tail)
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


# Catching up.


def test_catching_up_has_ids_of_its_own() -> None:
    """Ids say what this client has taken: the other partition's entry stays until it is at the cut."""
    tail = make_tail(partitions=2)
    append(tail, *records(0, 1))
    append(tail, *records(0, 1), partition=1)
    client = Client(tail, [[1, 1]])
    client.reader.flush()
    assert [block.id for block in client.heard()] == [f"v1.{EPOCH}.-2.1", f"v1.{EPOCH}.2.-2", f"v1.{EPOCH}.2.2"]


def test_it_goes_live_once_and_says_so() -> None:
    """With the number of events that it took; from then on the shared bytes are its own too."""
    tail = make_tail()
    append(tail, *records(0, 1))
    client, live = Client(tail, [[0]]), Client(tail)
    client.reader.flush()
    caught_up = client.heard()[-1]
    batch(tail, *records(2))
    assert (caught_up.event, caught_up.data) == ("tailrace.live", f'{{"id":"v1.{EPOCH}.2","replayed":2}}')
    assert client.wire.written[0] is live.wire.written[0]


def test_with_nothing_due_it_is_live_at_once() -> None:
    """Whoever is at the cut hears that it has all there was."""
    client = Client(make_tail(), [[0]])
    client.reader.flush()
    assert (client.data(), client.reader.live) == (["tailrace.live"], True)


def test_what_it_has_is_not_due() -> None:
    """Offsets below its entry were given before, in whatever order they arrive here."""
    tail = make_tail(partitions=2)
    append(tail, *records(0, 1, 2))
    append(tail, *records(7), partition=1)
    client = Client(tail, [[2, 8]])
    client.reader.flush()
    assert client.data() == ["2", "tailrace.live"]


def test_partition_that_the_id_did_not_know_is_all_due() -> None:
    """Rule 4: a partition added later has entry 0."""
    tail = make_tail(partitions=2)
    append(tail, *records(0), partition=1)
    client = Client(tail, [[0]])
    client.reader.flush()
    assert client.data() == ["0", "tailrace.live"]


def test_slower_replica_is_waited_for() -> None:
    """Rule 3: live only when this replica has reached the vector; any batch may bring that, whosesoever it is."""
    tail = make_tail()
    client = Client(tail, [[3]])
    client.reader.flush()
    seen = [(client.reader.live, client.data())]
    for offset in range(3):
        batch(tail, *records(offset, key=b"other"))
        seen.append((client.reader.live, client.data()))
    assert seen == [(False, []), (False, []), (False, []), (True, ["tailrace.live"])]


def test_what_a_faster_replica_gave_is_not_repeated() -> None:
    """While the replica catches up with the reader, the session's own events are not due either."""
    tail = make_tail()
    client = Client(tail, [[3]])
    client.reader.flush()
    batch(tail, *records(0, 1, 2, 3))
    assert client.data() == ["3", "tailrace.live"]


def test_partition_that_this_replica_does_not_know_is_kept() -> None:
    """Rule 4: a longer vector waits until the replica knows as much, and is in every id meanwhile."""
    tail = make_tail()
    client = Client(tail, [[0, 5]])
    batch(tail, *records(0))
    before = (client.reader.live, client.heard()[0].id)
    tail.learn(0, EPOCH, 2)
    tail.advance(0, 1, 5)
    wake(tail)
    assert (before, client.reader.live) == ((False, f"v1.{EPOCH}.-1.5"), True)


def test_place_is_kept_between_takes() -> None:
    """What was looked at once is not looked at again, however long the reader takes."""
    tail = make_tail()
    append(tail, *records(0, 1))
    client = Client(tail, [[9]])
    client.reader.flush()
    assert (client.reader.place, client.reader.live) == (2, False)


def test_position_while_waiting_moves_with_the_replica() -> None:
    """What lies between an entry and the cut is not this session's; an entry ahead of the cut stays."""
    tail = make_tail(partitions=2)
    client = Client(tail, [[9, 0]])
    client.reader.flush()
    batch(tail, *records(0, 1, key=b"other"), partition=1)
    assert client.reader.position == Position((EPOCH,), ((9, 2),))


def test_topics_have_entries_of_their_own() -> None:
    """A vector covers all topics; one that does not exist yet has none."""
    tail = Tail(["t", "u"], 1 << 20)
    tail.learn(0, EPOCH, 1)
    client = Client(tail, [[0]])
    batch(tail, *records(0))
    assert [block.id for block in client.heard()] == [f"v1.{EPOCH}.-1~{NO_TOPIC}", f"v1.{EPOCH}.1~{NO_TOPIC}"]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30), st.data())
def test_resumed_anywhere_it_lacks_nothing(arrivals: list[tuple[int, bool]], data: st.DataObject) -> None:
    """From any vector within the log, exactly the session's events at or above it come, each partition in order."""
    tail = make_tail(partitions=3)
    for partition, ours in arrivals:
        append(tail, *records(tail.next_offset(0, partition), key=b"s" if ours else b"x"), partition=partition)
    ends = tail.position.offsets[0]
    taken = [data.draw(st.integers(0, end)) for end in ends]
    owed = [(e.arrival.partition, e.offset) for e in tail._events if e.session == "s"]
    client = Client(tail, [taken])
    client.reader.flush()
    marks = [parse(block.id or "") for block in client.heard()[:-1]]
    came = [(id_.mark[1], id_.groups[0][1][id_.mark[1]] - 1) for id_ in marks if id_.mark]
    assert came == [(partition, offset) for partition, offset in owed if offset >= taken[partition]]


# Resets.


def test_nothing_is_due_while_older_events_lie_below_the_floor() -> None:
    """Rule 2: however new an event is, what comes before it in its partition comes first."""
    tail = make_tail(partitions=2)
    append(tail, *records(0))
    evict_all(tail)
    [newer] = append(tail, *records(1))
    [other] = append(tail, *records(0), partition=1)
    reader = Client(tail, [[0, 0]]).reader
    assert (reader.below, reader.is_due(newer), reader.is_due(other)) == ([(0, 0)], False, True)


def test_what_is_evicted_between_two_turns_is_a_reset() -> None:
    """A slow history that the tail lets go is no crash and no silence."""
    tail = make_tail()
    append(tail, *records(0, 1, size=MAX_FLUSH_BYTES))
    client = Client(tail, [[0]])
    client.reader.flush()
    evict_all(tail)
    append(tail, *records(2))
    client.turn()
    assert [name[:14] for name in client.data()] == ["0" + "." * 13, "tailrace.reset", "2", "tailrace.live"]


def test_below_the_floor_is_a_reset_with_the_new_position() -> None:
    """A client cut right after the reset is not reset again; what is held follows."""
    tail = make_tail()
    append(tail, *records(0, 1))
    evict_all(tail)
    append(tail, *records(2))
    client = Client(tail, [[0]])
    client.reader.flush()
    heard = client.heard()
    assert (heard[0].event, heard[0].data) == ("tailrace.reset", f'{{"id":"v1.{EPOCH}.2","reason":"bounded"}}')
    assert [block.event or block.data for block in heard[1:]] == ["2", "tailrace.live"]


def test_below_a_jump_the_reason_is_the_jumps() -> None:
    """Retention, and what could not be read, are told apart from a small memory."""
    tail = make_tail()
    tail.jump(0, 0, 50, "retention")
    client = Client(tail, [[7]])
    client.reader.flush()
    assert '"retention"' in client.heard()[0].data


def test_reasons_are_told_once_each() -> None:
    """Two partitions with one reason are one reset, two reasons are two; all before anything else."""
    tail = make_tail(partitions=3)
    tail.jump(0, 0, 50, "retention")
    tail.jump(0, 1, 50, "unreadable")
    tail.jump(0, 2, 50, "retention")
    append(tail, *records(50))
    client = Client(tail, [[0, 0, 0]], resets=["epoch"])
    client.reader.flush()
    heard = client.heard()
    assert [block.data.split('"')[7] for block in heard[:3]] == ["epoch", "retention", "unreadable"]
    assert ({block.id for block in heard[:3]}, len(heard)) == ({f"v1.{EPOCH}.50.50.50"}, 5)


def test_resets_known_before_are_told_with_the_own_position() -> None:
    """What `resume` found is told first, even when nothing lies below the floor."""
    client = Client(make_tail(), [[0]], resets=["epoch"])
    client.reader.flush()
    assert client.data() == ["tailrace.reset", "tailrace.live"]


def test_jump_under_a_live_reader_is_a_reset() -> None:
    """Rule 5: it leaves, finds that it was passed over, and goes on behind the jump."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(0))
    tail.jump(0, 0, 50, "unreadable")
    batch(tail, *records(50))
    assert client.data() == ["0", "tailrace.reset", "50", "tailrace.live"]


def test_jump_of_another_partition_keeps_what_is_due() -> None:
    """What was not taken yet of the other partitions still comes, once."""
    tail = make_tail(partitions=2)
    client = Client(tail)
    client.wire.open = False
    append(tail, *records(0), partition=0)
    append(tail, *records(5, 6), partition=1)
    tail.jump(0, 0, 50, "unreadable")
    client.wire.open = True
    wake(tail)
    assert client.data() == ["tailrace.reset", "5", "6", "tailrace.live"]


def test_log_that_lost_its_end_is_a_reset_and_nothing_new_is_left_out() -> None:
    """Offsets that come again hold other records: the reader goes back to where the log now ends."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(*range(10)))
    client.data()
    tail.jump(0, 0, 5, "truncated")
    wake(tail)
    batch(tail, *records(5, 6))
    heard = client.heard()
    assert ([block.event or block.data for block in heard], '"truncated"' in heard[0].data) == (
        ["tailrace.reset", "tailrace.live", "5", "6"],
        True,
    )


def test_log_that_lost_its_end_beyond_a_reader_concerns_it_only_below_the_floor() -> None:
    """Who had not come so far is told once, where the tail now begins."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    client = Client(tail, [[3]])
    tail.jump(0, 0, 5, "truncated")
    wake(tail)
    assert client.data() == ["tailrace.reset", "tailrace.live"]


def test_topic_made_again_is_a_reset_in_the_new_epoch() -> None:
    """Every id from then on is of the topic that now is; all that it holds comes."""
    tail = make_tail()
    client = Client(tail)
    batch(tail, *records(0, 1, 2))
    client.data()
    tail.learn(0, NEW_EPOCH, 1)
    wake(tail)
    batch(tail, *records(0))
    heard = client.heard()
    assert [block.id for block in heard] == [f"v1.{NEW_EPOCH}.0", f"v1.{NEW_EPOCH}.0", f"v1.{NEW_EPOCH}.-1"]
    assert ([block.event or block.data for block in heard], '"epoch"' in heard[0].data) == (
        ["tailrace.reset", "tailrace.live", "0"],
        True,
    )


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


def owner_of(reader: Reader) -> FakeOwner:
    """Give the owner that takes notes."""
    owner = reader._owner
    assert isinstance(owner, FakeOwner)
    return owner
