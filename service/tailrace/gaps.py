"""Where the log of a partition was passed over, and why: the newest such stretches.

Readers that come with an id from before one are told. Does no I/O. Lives as long as its `Tail`.
"""

from __future__ import annotations

from bisect import bisect_right

MAX_GAPS = 1000
"""Of one partition that are remembered, some 200 kB. A reader before an older gap is told by the replay, which finds it
again."""

Gap = tuple[int, int, str]
"""The first offset, the one after the last, and the reason."""
Place = tuple[int, int]
"""Topic and partition."""


class Gaps:
    """The gaps of all partitions."""

    def __init__(self) -> None:
        self._of: dict[Place, list[Gap]] = {}
        """In the order of their offsets, and none within another."""

    def add(self, place: Place, begin: int, end: int, reason: str) -> None:
        """Remember that reading went on at ``end`` instead of ``begin``.

        Where it went back, other records take the place of what was there, and the gaps beyond are no more. One that
        follows another of its kind at once is part of it.
        """
        gaps = self._of.setdefault(place, [])
        while gaps and gaps[-1][1] > end:
            gaps.pop()
        if gaps and gaps[-1][1:] == (begin, reason):
            begin = gaps.pop()[0]
        if begin < end:
            gaps.append((begin, end, reason))
        del gaps[:-MAX_GAPS]

    def beyond(self, place: Place, offset: int) -> tuple[int, str]:
        """Return where the gap ends that holds ``offset``, and its reason; 0 and nothing where there is none."""
        gaps = self._of.get(place, ())
        number = bisect_right(gaps, offset, key=_begin) - 1
        if number < 0 or offset >= gaps[number][1]:
            return 0, ""
        return gaps[number][1:]

    def forget(self, topic: int) -> None:
        """The topic was deleted and made again."""
        self._of = {place: gaps for place, gaps in self._of.items() if place[0] != topic}


def _begin(gap: Gap) -> int:
    return gap[0]
