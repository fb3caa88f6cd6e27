"""What scans have found for one reader: in which order it waits, how much it is, and to whom the reader listens."""

from __future__ import annotations

from builders import append, make_tail
from reading import records
from tailrace.event import Event
from tailrace.reader import Gap, Handed

HERE = (0, 0)
THERE = (0, 1)


class Scan:
    """A scan that is somewhere."""

    def __init__(self, at: int = 0) -> None:
        self.at = at


def events(*offsets: int, partition: int = 0) -> list[Event]:
    """Make events of one partition."""
    return append(make_tail(partitions=2), *records(*offsets), partition=partition)


def waiting(handed: Handed) -> list[int]:
    """Take everything, and give the offsets."""
    return [handed.pop().offset for _ in range(len(handed))]


def test_what_was_found_first_is_taken_first() -> None:
    """Events and gaps in one line, whichever scan found them."""
    handed, one, other = Handed(), Scan(), Scan()
    handed.serve(HERE, one)
    handed.serve(THERE, other)
    [first], [third] = events(7), events(5, partition=1)
    for scan, item in ((one, first), (one, Gap(HERE, 9, "unreadable")), (other, third)):
        handed.add(scan, item)
    assert waiting(handed) == [7, 9, 5]


def test_bytes_are_those_of_the_events_that_wait() -> None:
    """A gap costs nothing; what was taken is gone."""
    handed, scan = Handed(), Scan()
    handed.serve(HERE, scan)
    [event] = events(0)
    handed.add(scan, event)
    handed.add(scan, Gap(HERE, 5, "unreadable"))
    before = (len(handed), handed.bytes)
    waiting(handed)
    assert (before, len(handed), handed.bytes) == ((2, event.size), 0, 0)


def test_only_the_scan_that_serves_is_listened_to() -> None:
    """Another one, of this partition or where none was asked for, brings nothing."""
    handed, scan, other = Handed(), Scan(), Scan()
    handed.serve(HERE, scan)
    handed.add(other, events(0)[0])
    handed.add(scan, events(0, partition=1)[0])
    assert len(handed) == 0


def test_partition_is_served_until_what_was_scanned_is_noted() -> None:
    """Between the end of a scan and that, nothing is asked for twice."""
    handed, scan = Handed(), Scan(3)
    handed.serve(HERE, scan)
    seen = [handed.is_served(HERE), handed.is_served(THERE)]
    handed.leave(HERE, scan, 5)
    seen.append(handed.is_served(HERE))
    assert (seen, list(handed.scanned()), handed.is_served(HERE)) == ([True, False, True], [(HERE, 5)], False)


def test_scan_at_work_is_where_it_is() -> None:
    """It is noted again and again, while it goes on."""
    handed, scan = Handed(), Scan(3)
    handed.serve(HERE, scan)
    before = list(handed.scanned())
    scan.at = 4
    assert (before, list(handed.scanned())) == ([(HERE, 3)], [(HERE, 4)])


def test_scan_that_was_left_behind_cannot_let_go() -> None:
    """The end of an old scan says nothing about the one that serves now."""
    handed, old, new = Handed(), Scan(), Scan(3)
    handed.serve(HERE, old)
    handed.serve(HERE, new)
    handed.leave(HERE, old, 99)
    assert list(handed.scanned()) == [(HERE, 3)]


def test_forgotten_topic_leaves_the_others() -> None:
    """Its scans are not listened to any more, and what they found is gone."""
    tail = make_tail()
    handed, scan = Handed(), Scan()
    handed.serve(HERE, scan)
    handed.serve((1, 0), scan)
    [event] = append(tail, *records(0))
    handed.add(scan, event)
    handed.add(scan, Gap((1, 0), 8, "unreadable"))
    handed.forget(0)
    handed.add(scan, event)
    assert (handed.bytes, handed.is_served(HERE), handed.is_served((1, 0)), waiting(handed)) == (0, False, True, [8])


def test_cut_takes_what_was_found_beyond_it() -> None:
    """What lies before stays, of other partitions everything; the scan that has been beyond is at the cut."""
    handed, scan, other = Handed(), Scan(9), Scan(9)
    handed.serve(HERE, scan)
    handed.serve(THERE, other)
    kept, gone = events(4, 5)
    for one, item in ((scan, kept), (scan, gone), (other, events(8, partition=1)[0])):
        handed.add(one, item)
    handed.cut_back(HERE, 5)
    handed.add(scan, gone)
    assert (waiting(handed), list(handed.scanned())) == ([4, 8], [(HERE, 5), (THERE, 9)])


def test_gap_that_reaches_beyond_a_cut_ends_there() -> None:
    """What lies between its beginning and the cut is still not to be had, and the client still has to be told."""
    handed, scan = Handed(), Scan(9)
    handed.serve(HERE, scan)
    handed.add(scan, Gap(HERE, 9, "unreadable"))
    handed.cut_back(HERE, 5)
    assert waiting(handed) == [5]


def test_scan_that_has_not_come_to_a_cut_goes_on() -> None:
    """It reads what the log now holds."""
    handed, scan = Handed(), Scan(5)
    handed.serve(HERE, scan)
    handed.cut_back(HERE, 5)
    handed.add(scan, events(5)[0])
    assert waiting(handed) == [5]
