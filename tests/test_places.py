"""Who has to leave where there is no room."""

from __future__ import annotations

import pytest

from tailrace.places import Places, source_of


def filled(*names: str) -> Places[str]:
    """Give a place to each name; its first letter is the source."""
    places: Places[str] = Places()
    for name in names:
        places.add(name[0], name)
    return places


def leavers(places: Places[str]) -> list[str]:
    """Let everyone leave; give the order."""
    order = []
    while (leaver := places.evict()) is not None:
        order.append(leaver)
    return order


def test_the_oldest_leaves_first() -> None:
    """Among those of one source."""
    assert leavers(filled("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_who_takes_many_places_loses_its_own() -> None:
    """Somebody else who came first stays until all have as few."""
    assert leavers(filled("b1", "a1", "a2", "a3"))[:2] == ["a1", "a2"]


def test_there_is_nobody_to_leave_where_nobody_is() -> None:
    """And whoever has no place has none to give back."""
    places = filled()
    assert (places.evict(), places.discard("a", "a1"), len(places)) == (None, False, 0)


def test_who_has_left_is_forgotten() -> None:
    """Nothing is kept of a source that holds no place."""
    places = filled("a1", "a2", "b1")
    leavers(places)
    assert (len(places), places._holders, {n: s for n, s in places._sources.items() if s}) == (0, {}, {})


def test_the_most_is_known_through_all_changes() -> None:
    """Whatever comes and goes, in between."""
    places = filled("a1", "a2", "b1", "b2", "b3")
    assert places.discard("b", "b2")
    places.add("c", "c1")
    places.add("a", "a3")
    assert (places.evict(), len(places)) == ("a1", 5)


@pytest.mark.parametrize(
    "client,source",
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1234), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (None, ""),
    ],
)
def test_an_address_is_a_source(client: tuple[str, int] | None, source: str) -> None:
    """One of IPv4 by itself, also where it comes to a socket for both; of IPv6 a network counts as one."""
    assert source_of(client) == source
