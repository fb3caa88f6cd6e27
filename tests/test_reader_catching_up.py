"""A reader that is not live: what is due, what it has to ask for, and what it is told of what cannot be had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import EPOCH, FakeRecord, append, make_tail
from reading import Client, batch, evict_all, records, wake
from tailrace.event import Event
from tailrace.position import NO_TOPIC, Position, parse
from tailrace.reader import MAX_FLUSH_BYTES, CatchingUp, Gap
from tailrace.tail import Tail
from tailrace.view import View

NEW_EPOCH = "00c0ffee"

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


def test_an_end_that_something_follows_does_not_count() -> None:
    """What was replayed is what was sent."""
    tail = make_tail()
    append(tail, FakeRecord(0), FakeRecord(1, value=None), FakeRecord(2))
    client = Client(tail, [[0]])
    client.reader.flush()
    assert f'{{"id":"v1.{EPOCH}.3","replayed":2}}' == client.heard()[-1].data


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
    """What lies between an entry and the cut is not this session's; an entry ahead of the cut stays. No batch of others
    does that, but whoever wants to know."""
    tail = make_tail(partitions=2)
    client = Client(tail, [[9, 0]])
    client.reader.flush()
    batch(tail, *records(0, 1, key=b"other"), partition=1)
    client.reader.flush()
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


def test_below_the_floor_nothing_in_memory_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session may have thousands of events there, and none is due yet: they are looked at once, and at the end."""
    looks: list[int] = []
    is_due = CatchingUp.is_due

    def looked_at(place: CatchingUp, event: Event) -> bool:
        looks.append(event.offset)
        return is_due(place, event)

    monkeypatch.setattr(CatchingUp, "is_due", looked_at)
    tail = make_tail()
    old = append(tail, *records(0, 1, 2))
    evict_all(tail)
    append(tail, *records(3, 4))
    client = Client(tail, [[0]])
    client.reader.flush()
    for event in old:
        client.find(event)
        client.reader.flush()
    client.pass_ends(3)
    assert (looks, client.data()) == ([3, 4, 3, 4], ["0", "1", "2", "3", "4", "tailrace.live"])


# Resets.


def test_nothing_is_due_while_older_events_lie_below_the_floor() -> None:
    """Rule 2: however new an event is, what comes before it in its partition comes first."""
    tail = make_tail(partitions=2)
    append(tail, *records(0))
    evict_all(tail)
    [newer] = append(tail, *records(1))
    [other] = append(tail, *records(0), partition=1)
    place = CatchingUp(tail, View("s"), [[0, 0]])
    assert (place.below, place.is_due(newer), place.is_due(other)) == ([((0, 0), 0)], False, True)


def test_what_is_evicted_between_two_turns_is_a_reset() -> None:
    """A slow history that the tail lets go, farther back than may be read again, is no crash and no silence."""
    tail = make_tail()
    append(tail, *records(0, 1, size=MAX_FLUSH_BYTES))
    client = Client(tail, [[0]], max_records=0)
    client.reader.flush()
    evict_all(tail)
    append(tail, *records(2))
    client.turn()
    assert [name[:14] for name in client.data()] == ["0" + "." * 13, "tailrace.reset", "2", "tailrace.live"]


def test_out_of_reach_is_a_reset_with_the_new_position() -> None:
    """A client cut right after the reset is not reset again; what is held follows."""
    tail = make_tail()
    append(tail, *records(0, 1))
    evict_all(tail)
    append(tail, *records(2))
    client = Client(tail, [[0]], max_records=0)
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
    assert (client.data(), client.replays.asked) == (["5", "6"], [((0, 0), 0)])


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


def test_log_that_lost_its_end_beyond_a_reader_is_no_loss_to_it() -> None:
    """Who had not come so far asks for what is left before it."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    client = Client(tail, [[3]])
    tail.jump(0, 0, 5, "truncated")
    wake(tail)
    assert (client.data(), client.replays.asked) == ([], [((0, 0), 3)])


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


def test_as_far_back_as_allowed_is_replayed() -> None:
    """A reader may be so many offsets below the floor; one that is farther behind goes on there, and is told."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    evict_all(tail)
    near, far = Client(tail, [[7]], max_records=3), Client(tail, [[6]], max_records=3)
    near.reader.flush()
    far.reader.flush()
    assert (near.data(), far.data(), near.replays.asked == far.replays.asked) == ([], ["tailrace.reset"], True)


def test_below_the_start_of_the_log_is_a_reset() -> None:
    """Nothing below it can be had from Kafka either; what it still has is replayed."""
    tail = make_tail()
    append(tail, *records(*range(10)))
    evict_all(tail)
    tail.note_start(0, 0, 4)
    client = Client(tail, [[1]])
    client.reader.flush()
    [block] = client.heard()
    assert ('"retention"' in block.data, block.id, client.replays.asked) == (True, f"v1.{EPOCH}.4", [((0, 0), 4)])


def test_log_that_begins_above_the_floor_takes_nothing_from_the_tail() -> None:
    """What Kafka has let go and the tail still holds is delivered."""
    tail = make_tail()
    append(tail, *records(0, 1))
    evict_all(tail)
    append(tail, *records(2, 3, 4))
    tail.note_start(0, 0, 4)
    client = Client(tail, [[0]])
    client.reader.flush()
    assert client.data() == ["tailrace.reset", "2", "3", "4", "tailrace.live"]


def test_who_has_asked_is_not_sent_further_meanwhile() -> None:
    """Neither the log's start nor the floor moving on takes anything from a reader that a scan serves."""
    tail = make_tail()
    append(tail, *records(0, 1))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    tail.note_start(0, 0, 2)
    client.reader.flush()
    assert (client.data(), client.replays.asked) == ([], [((0, 0), 0)])


# Replays.


def test_what_was_handed_over_comes_before_what_the_tail_holds() -> None:
    """The partition is handed over when the scan has reached the floor, without gap or repetition."""
    tail = make_tail()
    old, _ = append(tail, *records(0), *records(1, key=b"other"))
    evict_all(tail)
    append(tail, *records(2))
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(old)
    client.reader.flush()
    before = client.data()
    client.pass_ends(2)
    assert (before, client.data()) == (["0"], ["2", "tailrace.live"])


def test_reader_that_has_reached_the_floor_does_not_wait_for_the_scan() -> None:
    """Its last event below the floor was the very last record there: the tail has the next."""
    tail = make_tail()
    old = append(tail, *records(0))
    evict_all(tail)
    append(tail, *records(1))
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(*old)
    client.reader.flush()
    assert (client.data(), client.replays.left) == (["0", "1", "tailrace.live"], [client.reader])


def test_ids_of_what_is_replayed_are_the_readers_own() -> None:
    """Rule 6: an id says what the client was given, however far the scan is."""
    tail = make_tail()
    old = append(tail, *records(0, 1, 2))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(*old[:2])
    client.replays.at = 2
    before = client.reader.position.offsets
    client.reader.flush()
    assert (before, [block.id for block in client.heard()]) == (((0,),), [f"v1.{EPOCH}.-1", f"v1.{EPOCH}.-2"])


def test_position_is_where_the_scan_is_once_nothing_waits() -> None:
    """A quiet session's history moves on with the scan, and what was looked at is not looked at again."""
    tail = make_tail()
    append(tail, *records(*range(9), key=b"other"))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.replays.at = 5
    assert client.reader.position.offsets == ((5,),)


def test_partitions_are_handed_over_one_by_one() -> None:
    """What the tail holds of one is due while another is still being scanned."""
    tail = make_tail(partitions=2)
    old = append(tail, *records(0))
    evict_all(tail)
    append(tail, *records(0), partition=1)
    client = Client(tail, [[0, 0]])
    client.reader.flush()
    before = client.data()
    client.find(*old)
    client.pass_ends(1)
    assert (before, client.data()) == (["0"], ["0", "tailrace.live"])


def test_floor_that_moved_on_meanwhile_is_asked_for_again() -> None:
    """Eviction has overtaken the scan: the reader asks from where the scan has ended."""
    tail = make_tail()
    append(tail, *records(0, key=b"other"))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    append(tail, *records(1, 2))
    evict_all(tail)
    client.pass_ends(1)
    assert (client.data(), client.replays.asked) == ([], [((0, 0), 0), ((0, 0), 1)])


def test_it_asks_again_only_when_everything_was_taken() -> None:
    """A reader that a scan has left goes on from where it was left, once what it was handed is written."""
    tail = make_tail()
    old = append(tail, *records(0, 1, 2))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.wire.open = False
    client.find(old[0])
    client.pass_ends(1)
    before = len(client.replays.asked)
    client.wire.open = True
    client.wire.on_writable()
    assert (before, client.replays.asked[1:], client.data()) == (1, [((0, 0), 1)], ["0"])


def test_gap_is_told_in_its_place() -> None:
    """After what was found before it, with the position behind it, and before what comes then."""
    tail = make_tail()
    old = append(tail, *records(0, 1, 2))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(old[0], Gap((0, 0), 2, "unreadable"), old[2])
    client.pass_ends(3)
    told = [(block.event or block.data, block.id) for block in client.heard()]
    assert told[:3] == [("0", f"v1.{EPOCH}.-1"), ("tailrace.reset", f"v1.{EPOCH}.2"), ("2", f"v1.{EPOCH}.-3")]


def test_full_flush_leaves_the_rest_for_the_next_turn() -> None:
    """What was handed over is bounded in one turn like everything else."""
    tail = make_tail()
    old = append(tail, *records(0, 1, size=MAX_FLUSH_BYTES))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(*old)
    client.reader.flush()
    seen = [len(client.data())]
    client.turn()
    assert (seen, len(client.data())) == ([1], 1)


def test_topic_made_again_drops_what_was_found_of_the_old() -> None:
    """The client hears `epoch`; neither what was handed over nor what the old scan still brings is sent."""
    tail = make_tail()
    old = append(tail, *records(0, 1))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(old[0])
    tail.learn(0, NEW_EPOCH, 1)
    wake(tail)
    client.find(old[1])
    client.pass_ends(2)
    assert (client.data(), client.reader.position.offsets) == (["tailrace.reset", "tailrace.live"], ((0,),))


def test_log_cut_off_under_a_scan_drops_what_is_no_more() -> None:
    """What was found before the cut is sent; what had been beyond it is not, and nobody had it, so no reset."""
    tail = make_tail()
    old = append(tail, *records(*range(4)))
    evict_all(tail)
    client = Client(tail, [[0]])
    client.reader.flush()
    client.find(*old[:3])
    client.replays.at = 3
    tail.jump(0, 0, 2, "truncated")
    wake(tail)
    client.find(old[3])
    assert (client.data(), client.reader.position.offsets) == (["0", "1", "tailrace.live"], ((2,),))
