"""One pass, without Kafka: whom it serves, with what, and when it is over."""

from __future__ import annotations

from builders import DECODER, EPOCH, FakeOwner, FakeRecord, append, make_tail
from reading import Client, evict_all, records
from tailrace.event import Decoder
from tailrace.kafka import Stretch
from tailrace.reader import Reader
from tailrace.replay import Pass
from tailrace.replay.passing import CHARGE_RECORDS, STRETCH_RECORDS, Shared
from tailrace.tail import Tail

MAX_BYTES = 1 << 20


def tail_from(floor: int) -> Tail:
    """Make a tail whose floor is there."""
    tail = make_tail()
    append(tail, *records(*range(floor), key=b"other"))
    evict_all(tail)
    return tail


def stretch(*of: FakeRecord, next_offset: int | None = None) -> Stretch:
    """Make what a fetch brings."""
    end = of[-1].offset + 1 if next_offset is None else next_offset
    return Stretch("t", 0, of, end, 0, 1 << 20, 1 << 20, None)


class Here:
    """A pass of one partition, and who has left it."""

    def __init__(self, floor: int = 10, max_bytes: int = MAX_BYTES, decoder: Decoder = DECODER) -> None:
        self.tail = tail_from(floor)
        self.left: list[Reader] = []
        shared = Shared((0, 0), 1, "")
        self.one = Pass(self.tail, decoder, shared, lambda: max_bytes, lambda reader, _: self.left.append(reader))

    def joined(self, offset: int, session: str = "s") -> Client:
        """Let somebody join who lacks everything from ``offset`` on."""
        client = Client(self.tail, [[offset]], session=session)
        self.one.join(client.reader, offset)
        return client

    def take(self, *of: FakeRecord, next_offset: int | None = None) -> set[Reader]:
        """Hand over what a fetch brings, and serve the readers concerned."""
        concerned = set(self.one.take(stretch(*of, next_offset=next_offset)))
        for reader in concerned:
            reader.flush()
        return concerned


def test_each_gets_their_session_from_their_offset_on() -> None:
    """Readers of one session need not begin at the same place."""
    here = Here()
    first, later, other = here.joined(0), here.joined(2), here.joined(0, "x")
    concerned = here.take(*records(0, 1, 2), *records(3, key=b"x"))
    assert [each.data() for each in (first, later, other)] == [["0", "1", "2"], ["2"], ["3"]]
    assert concerned == {first.reader, later.reader, other.reader}


def test_nobody_is_concerned_by_what_others_read() -> None:
    """A record of nobody who waits, or of no session, is looked at and left."""
    here = Here()
    here.joined(0)
    concerned = here.take(*records(0, key=b"x"), FakeRecord(1, None))
    assert (concerned, here.one.at) == (set(), 2)


def test_it_begins_at_the_lowest_offset_asked_for() -> None:
    """Before it has begun anybody may join, from anywhere."""
    here = Here()
    begins = []
    for offset in (5, 3, 7):
        here.joined(offset)
        begins.append(here.one.at)
    assert (begins, len(here.one)) == ([5, 3, 3], 3)


def test_it_begins_where_those_are_who_are_left() -> None:
    """Whoever asked for more and left does not count, when nobody else was there."""
    here = Here()
    here.one.leave(here.joined(1).reader)
    here.joined(6)
    assert (here.one.at, len(here.left)) == (6, 1)


def test_it_is_over_when_nobody_is_left() -> None:
    """Nothing is read for those who have gone; leaving twice is harmless."""
    here = Here()
    client = here.joined(0)
    before = here.one.is_over()
    here.one.leave(client.reader)
    here.one.leave(client.reader)
    assert (before, here.one.is_over(), here.left) == (False, True, [client.reader])


def test_it_is_over_when_the_topic_was_made_again() -> None:
    """What it would read is not what was asked for."""
    here = Here()
    here.joined(0)
    before = here.one.is_over()
    here.tail.learn(0, "00c0ffee", 1)
    assert (before, here.one.is_over(), here.one.epoch) == (False, True, EPOCH)


def test_nothing_is_handed_over_from_the_floor_on() -> None:
    """The tail has it: otherwise it came twice."""
    here = Here(floor=2)
    client = here.joined(0)
    here.take(*records(0, 1, 2, 3))
    assert (client.data(), here.one.at, here.one.is_over()) == (["0", "1", "tailrace.live"], 2, True)


def test_the_floor_is_reached_for_good() -> None:
    """It moves on before anybody asks: the readers go on in the tail, so the pass must not."""
    here = Here(floor=2)
    here.joined(0)
    here.one.take(stretch(*records(0, 1)))
    append(here.tail, *records(2, 3))
    evict_all(here.tail)
    assert (here.one.floor, here.one.is_over()) == (4, True)


def test_it_goes_on_into_the_oldest_of_the_tail() -> None:
    """The floor may move on before its readers are woken; what they took from the tail comes no second time."""
    here = Here(floor=2)
    append(here.tail, *records(*range(2, 18)))
    client = here.joined(0)
    here.take(*records(0, 1, 2))
    from_both, before = client.data(), here.one.is_over()
    here.take(*records(3, 4))
    assert (from_both[:3], len(from_both), before) == (["0", "1", "2"], 19, False)
    assert (client.data(), here.one.at, here.one.is_over()) == ([], 4, True)


def test_damage_above_the_floor_ends_it() -> None:
    """The tail had read that record before it was damaged."""
    here = Here(floor=2)
    append(here.tail, *records(*range(2, 18)))
    client = here.joined(0)
    here.take(*records(0, 1, 2))
    told = here.one.skip(4, "unreadable")
    assert (told, here.one.at, here.one.is_over(), len(client.data())) == ([], 3, True, 19)


def test_empty_stretches_move_it_on() -> None:
    """Records that were compacted away, or aborted, are passed over."""
    here = Here()
    client = here.joined(0)
    here.take(next_offset=7)
    assert (here.one.at, client.reader.position.offsets) == (7, ((7,),))


def test_it_never_goes_back() -> None:
    """Whatever an answer says."""
    here = Here()
    here.joined(5)
    here.take(next_offset=3)
    assert here.one.at == 5


def test_who_leaves_too_much_lying_is_let_go() -> None:
    """When there is more for it; it is served on when it has taken everything and asks again, and others meanwhile."""
    here = Here(max_bytes=1)
    slow, other = here.joined(0), here.joined(0, "x")
    slow.wire.open = False
    here.take(*records(0, 1), *records(2, key=b"x"))
    before = list(here.left)
    here.take(*records(3, key=b"x"), *records(4, 5))
    slow.wire.open = True
    slow.reader.flush()
    assert (before, here.left, slow.replays.asked) == ([], [slow.reader], [((0, 0), 4)])
    assert (slow.data(), other.data()) == (["0", "1"], ["2", "3"])


def test_who_takes_in_time_is_kept() -> None:
    """The bound is on what lies, not on what was read."""
    here = Here(max_bytes=2000)
    client = here.joined(0)
    for offset in range(5):
        here.take(*records(offset, size=600))
    assert (len(client.data()), here.left) == (5, [])


def test_what_cannot_be_read_is_told_to_those_who_lack_it() -> None:
    """With where they go on; nobody else hears of it, and nobody twice."""
    here = Here()
    lacking, beyond = here.joined(0), here.joined(6)
    told = here.one.skip(6, "unreadable"), here.one.skip(6, "unreadable")
    lacking.reader.flush()
    beyond.reader.flush()
    assert (told, here.one.at) == (([lacking.reader], []), 6)
    assert ([block.id for block in lacking.heard()], beyond.data()) == ([f"v1.{EPOCH}.6"], [])


def test_what_cannot_be_read_ends_at_the_floor() -> None:
    """A batch, or what retention took, may reach beyond it; there the tail has everything."""
    here = Here(floor=4)
    client = here.joined(0)
    append(here.tail, *records(4))
    here.one.skip(9, "retention")
    client.reader.flush()
    assert (client.data(), here.one.at) == (["tailrace.reset", "4", "tailrace.live"], 4)


def test_at_its_end_everyone_is_let_go() -> None:
    """Each from where it was looked at for them: one who joined ahead of the pass from its own offset."""
    here = Here()
    here.joined(0)
    ahead = here.joined(8)
    here.take(*records(0, 1))
    everyone = here.one.dissolve()
    places = [reader.position.offsets for reader in everyone]
    assert (places, len(here.one), ahead.reader in here.left) == ([((2,),), ((8,),)], 0, True)


def test_sessions_in_a_header_are_found() -> None:
    """Where the operator says that a header names the session, the key says nothing."""
    here = Here(decoder=Decoder(session_header="session", encoding="text", max_event_bytes=1 << 20))
    client = here.joined(0)
    here.take(FakeRecord(0, b"k", b"ours", [("session", b"s")]), FakeRecord(1, b"s", b"not ours"))
    assert client.data() == ["ours"]


def test_what_was_read_is_told_to_be_charged() -> None:
    """From time to time, and before anybody leaves; a fetch counts for something, however little it brings."""
    told: list[tuple[dict[str, int], int]] = []
    shared = Shared((0, 0), 1, "")
    one = Pass(
        tail_from(10),
        DECODER,
        shared,
        lambda: MAX_BYTES,
        lambda *_: None,
        lambda one, records: told.append((dict(one.subjects), records)),
    )
    readers = [Client(tail_from(10), [[0]], owner=FakeOwner(subject)).reader for subject in ("ada", "ada", "grace")]
    for reader in readers:
        one.join(reader, 0)
    one.count(CHARGE_RECORDS - STRETCH_RECORDS - 1)
    one.count(0)
    one.count(1)
    one.count(3 * STRETCH_RECORDS)
    for reader in readers:
        one.leave(reader)
    everybody = {"ada": 2, "grace": 1}
    assert told == [(everybody, CHARGE_RECORDS - 1 + STRETCH_RECORDS), (everybody, 3 * STRETCH_RECORDS)]
    assert dict(one.subjects) == {}


def test_who_asks_again_is_served_once() -> None:
    """It has turned away, and come back; nobody is left in its name when it goes."""
    here = Here()
    client = here.joined(0)
    here.one.join(client.reader, 3)
    here.one.leave(client.reader)
    assert (len(here.one), dict(here.one.subjects), here.left) == (0, {}, [client.reader])
