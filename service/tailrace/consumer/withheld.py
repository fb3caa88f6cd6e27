"""Partitions that are not asked for just now, while the others are read on.

One in trouble is left alone for a moment. One whose topic may not be the same any more waits for a fresh identity: what
came before that, or a jump, would be told in the name of the old topic. Nothing is withheld for ever. Lives as long as
the service.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from tailrace.consumer.pace import jittered

HOLD_SECONDS = 0.5
"""How long a partition in trouble is left alone, with jitter."""

Place = tuple[str, int]
"""Topic and partition."""


class Withheld:
    """The partitions, and until when; ``clock`` gives seconds of any origin."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[Place, float] = {}
        self._doubted: dict[Place, int] = {}
        """With the number of the last identity asked for that cannot tell: it may have been answered before."""
        self._asked = 0

    def hold(self, place: Place) -> None:
        """Leave the partition alone for a moment."""
        self._until[place] = self._clock() + jittered(HOLD_SECONDS)

    def doubt(self, place: Place) -> None:
        """Leave the partition alone until an identity is known that was asked for from now on."""
        self._doubted[place] = self._asked

    def ask(self) -> int:
        """An identity is being asked for; gives the number to say when it is `known`."""
        self._asked += 1
        return self._asked

    def known(self, number: int) -> None:
        """The identity of this number has been taken up."""
        self._doubted = {place: asked for place, asked in self._doubted.items() if asked >= number}

    def now(self) -> AbstractSet[Place]:
        """Return them; none is the rule, and then this costs nothing."""
        if self._until:
            now = self._clock()
            self._until = {place: until for place, until in self._until.items() if until > now}
        return self._until.keys() | self._doubted.keys() if self._until or self._doubted else _NONE


_NONE: AbstractSet[Place] = frozenset()
